"""Attestation pages: the sealed, signed and chained parts of a feed.

Decides what a page says and whether its issuer said it. `VerifiedPage` is the only type that
acting code takes. Whether a page continues what is already here is decided in `chain`; what
its rows are worth, in the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.verdict import Feed
from federation import multibase, proof
from federation.addresses import page_url
from federation.context import LABEL_PREFIX, PAGE_CONTEXT, RULE_PREFIX
from federation.epoch import is_epoch
from federation.errors import BadPage, BadProof, BadRequest, WrongOrigin
from federation.graph import refuse_tricks
from federation.origin import Origin, Url
from federation.page_rows import Tables, parse_rows
from federation.page_tables import parse_labels, parse_pipelines, parse_rules
from federation.pipeline import Pipeline
from federation.remote_actor import RemoteActor
from federation.row import COLUMNS, Row
from federation.strictjson import MAX_INTEGER, JsonObject, canonical
from federation.times import from_rfc3339, to_rfc3339
from federation.wire_rows import RowWriter

TYPES: Final = ["Document", "AttestationPage"]
WIRE: Final = 1
MAX_ROWS: Final = 1_000
PUBLISHED_AHEAD_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The last page of an epoch, named by the first page of the next; 0 when it had none."""

    epoch: str
    page: int


@dataclass(frozen=True, slots=True)
class PageHead:
    """Where a page stands in its feed; the first page of an epoch has no previous digest."""

    feed_id: Url
    feed: Feed
    epoch: str
    page: int
    first_seq: int
    published: int
    previous_digest: str | None = None
    previous_epoch: EpochEnd | None = None


@dataclass(frozen=True, slots=True)
class AttestationPage:
    """What a page says; row i has seq `head.first_seq + i`."""

    head: PageHead
    pipelines: tuple[Pipeline, ...]
    rules: Mapping[str, str]
    rows: tuple[Row, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class VerifiedPage:
    """A page whose proof, issuer and form have been verified."""

    page: AttestationPage
    origin: Origin
    key_id: str


def seal_page(
    head: PageHead,
    rows: Sequence[Row],
    pipelines: Mapping[str, Mapping[str, str]],
    rules: Mapping[str, str],
    private: Ed25519PrivateKey,
    key_id: str,
) -> JsonObject:
    """Return the signed page; its proof is created when the page is published."""
    document = build_page(head, rows, pipelines, rules)
    return proof.sign(document, private, key_id, head.published)


def build_page(
    head: PageHead,
    rows: Sequence[Row],
    pipelines: Mapping[str, Mapping[str, str]],
    rules: Mapping[str, str],
) -> JsonObject:
    """Return the unsigned page of 1 to 1,000 rows.

    `pipelines` gives the description of each pipeline id that the rows name, `rules` the
    expression of each rule of this instance; both may hold more than the rows need.
    """
    if not 0 < len(rows) <= MAX_ROWS:
        raise ValueError(f"a page has 1 to {MAX_ROWS} rows, not {len(rows)}")
    writer = RowWriter(head.feed, head.epoch, rows)
    return {
        "@context": PAGE_CONTEXT,
        "type": list(TYPES),
        **_head(head),
        "count": len(rows),
        "labels": [LABEL_PREFIX + label for label in writer.labels],
        "rules": {RULE_PREFIX + name: text for name, text in sorted(rules.items())},
        "pipelines": [dict(pipelines[name]) for name in writer.pipelines],
        "columns": list(COLUMNS[head.feed]),
        "rows": [writer.cells(row) for row in rows],
    }


def digest(document: JsonObject) -> str:
    """Return the digest that names a page: of its RFC 8785 form without `proof`."""
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    return multibase.digest(canonical(unsecured))


def verify_page(
    document: JsonObject, actor: RemoteActor, now: int, max_rows: int = MAX_ROWS
) -> VerifiedPage:
    """Verify that `document` is a page of the feed `actor`, in all its parts.

    Raises `BadProof` for a wrong proof or key, `WrongOrigin` for another's page, `BadPage` for
    a page against the rules of the wire format.
    """
    if actor.feed is None:
        raise WrongOrigin(f"{actor.id} is not a feed")
    if document.get("attributedTo") != actor.id:
        raise WrongOrigin(f"the page is not attributed to {actor.id}")
    if document.get("@context") != PAGE_CONTEXT:
        raise BadPage("the page's @context is not the one that pages have")
    proven = proof.verify(document, actor.proof_keys, now)
    page = parse_page(document, actor.feed, now, max_rows)
    _check_revoked(proven.key, page.head)
    return VerifiedPage(page, actor.origin, proven.key.id)


def parse_page(
    document: JsonObject, feed: Feed, now: int, max_rows: int = MAX_ROWS
) -> AttestationPage:
    """Return what a page of `feed` says, its proof not looked at; raises `BadPage`."""
    _refuse_tricks(document)
    head = _parse_head(document, feed, now)
    labels = parse_labels(document.get("labels"))
    rules = parse_rules(document.get("rules"))
    pipelines = parse_pipelines(document.get("pipelines"))
    rows = document.get("rows")
    if not isinstance(rows, list) or not 0 < len(rows) <= max_rows:
        raise BadPage(f"a page has 1 to {max_rows} rows")
    if type(document.get("count")) is not int or document["count"] != len(rows):
        raise BadPage("the page has another count of rows than it says")
    tables = Tables(feed, head.epoch, head.published, labels, rules, pipelines)
    return AttestationPage(
        head, pipelines, rules, parse_rows(document, tables), _digest_of(document)
    )


def _head(head: PageHead) -> dict[str, Any]:
    members: dict[str, Any] = {
        "id": page_url(head.feed_id, head.epoch, head.page),
        "attributedTo": head.feed_id,
        "published": to_rfc3339(head.published),
        "wire": WIRE,
        "epoch": head.epoch,
        "page": head.page,
        "firstSeq": head.first_seq,
    }
    if head.previous_digest is not None:
        members["previousDigest"] = head.previous_digest
    if head.previous_epoch is not None:
        end = head.previous_epoch
        members["previousEpoch"] = {"epoch": end.epoch, "page": end.page}
    return members


def _parse_head(document: JsonObject, feed: Feed, now: int) -> PageHead:
    if document.get("type") != TYPES or document.get("wire") != WIRE:
        raise BadPage("the document is not an attestation page of wire format 1")
    epoch, page = document.get("epoch"), _positive(document, "page")
    if not isinstance(epoch, str) or not is_epoch(epoch):
        raise BadPage("the page's epoch is not 32 hexadecimal digits")
    feed_id = document.get("attributedTo")
    if not isinstance(feed_id, str) or document.get("id") != page_url(Url(feed_id), epoch, page):
        raise BadPage("the page's id does not follow from its feed, epoch and number")
    return PageHead(
        Url(feed_id),
        feed,
        epoch,
        page,
        _first_seq(document, page),
        _published(document, now),
        _previous_digest(document, page),
        _previous_epoch(document, epoch, page),
    )


def _positive(document: JsonObject, name: str) -> int:
    value = document.get(name)
    if type(value) is not int or not 1 <= value <= MAX_INTEGER:
        raise BadPage(f"{name} is not a number from 1")
    return value


def _first_seq(document: JsonObject, page: int) -> int:
    first = _positive(document, "firstSeq")
    if first < page or (page == 1 and first != 1):
        raise BadPage("firstSeq does not fit the number of the page")
    return first


def _published(document: JsonObject, now: int) -> int:
    try:
        published = from_rfc3339(document.get("published"))
    except BadRequest as error:
        raise BadPage("the page does not say when it was published") from error
    if not 0 <= published <= now + PUBLISHED_AHEAD_SECONDS:
        raise BadPage("the page was published in the future")
    return published


def _previous_digest(document: JsonObject, page: int) -> str | None:
    if page == 1:
        if "previousDigest" in document:
            raise BadPage("the first page of an epoch has no previousDigest")
        return None
    value = document.get("previousDigest")
    if not isinstance(value, str) or not multibase.is_digest(value):
        raise BadPage("previousDigest is missing, or not the digest of a page")
    return value


def _previous_epoch(document: JsonObject, epoch: str, page: int) -> EpochEnd | None:
    value = document.get("previousEpoch")
    if "previousEpoch" not in document:
        return None
    if page != 1 or not isinstance(value, dict) or value.keys() != {"epoch", "page"}:
        raise BadPage("previousEpoch stands on a later page, or is not an epoch and a page")
    name, last = value["epoch"], value["page"]
    if not is_epoch(name) or name == epoch or type(last) is not int or last < 0:
        raise BadPage("previousEpoch is not another epoch and its last page")
    return EpochEnd(name, last)


def _refuse_tricks(document: JsonObject) -> None:
    try:
        refuse_tricks(document)
    except BadRequest as error:
        raise BadPage(str(error)) from error


def _digest_of(document: JsonObject) -> str:
    try:
        return digest(document)
    except BadRequest as error:
        raise BadPage(str(error)) from error


def _check_revoked(key: proof.ProofKey, head: PageHead) -> None:
    """A revoked key counts only for pages of the named epoch before the named page."""
    if key.revoked is None and key.revoked_from is None:
        return
    if key.revoked_from is None or key.revoked_from[0] != head.epoch:
        raise BadProof("the page is signed by a revoked key")
    if head.page >= key.revoked_from[1]:
        raise BadProof("the page is signed by a key revoked before it")
