"""Attestation pages: the sealed, signed and chained parts of a feed.

Decides what a page says and whether its issuer said it. `VerifiedPage` is the only type that
acting code takes. Whether a page continues what is already here is decided in `chain`; what
its rows are worth, in the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.uncollected import uncollected
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.context import LABEL_PREFIX, PAGE_CONTEXT, RULE_PREFIX
from federation.errors import BadPage
from federation.origin import Origin
from federation.wire import multibase, proof
from federation.wire.feed_document import check_revoked, verify_signed
from federation.wire.page_head import TYPES, EpochEnd, PageHead, parse_head, write_head
from federation.wire.page_rows import Tables, parse_rows
from federation.wire.page_tables import parse_labels, parse_pipelines, parse_rules
from federation.wire.pipeline import Pipeline
from federation.wire.row import COLUMNS, Row
from federation.wire.strictjson import JsonObject, canonical
from federation.wire.wire_rows import RowWriter

__all__ = [
    "TYPES",
    "AttestationPage",
    "EpochEnd",
    "PageHead",
    "VerifiedPage",
    "build_page",
    "digest",
    "seal_page",
    "verify_page",
]

MAX_ROWS: Final = 1_000
MAX_PAGE_BYTES: Final = 2_097_152
"""Bytes of a page, of merged pages and of a part or manifest of a snapshot, not compressed."""


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
    document: JsonObject


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
        **write_head(head),
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


@uncollected()
def verify_page(document: JsonObject, actor: RemoteActor, now: int) -> VerifiedPage:
    """Verify that `document` is a page of the feed `actor`, in all its parts.

    Raises `BadProof` for a wrong proof or key, `WrongOrigin` for another's page, `BadPage` for
    a page against the rules of the wire format.
    """
    proven, feed = verify_signed(document, actor, PAGE_CONTEXT, TYPES, now)
    page = _parse(document, feed, now, proven.digest)
    check_revoked(proven.key, page.head.epoch, page.head.page)
    return VerifiedPage(page, actor.origin, proven.key.id, document)


def _parse(document: JsonObject, feed: Feed, now: int, name: str) -> AttestationPage:
    head = parse_head(document, feed, now)
    labels = parse_labels(document.get("labels"))
    rules = parse_rules(document.get("rules"))
    pipelines = parse_pipelines(document.get("pipelines"))
    rows = document.get("rows")
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_ROWS:
        raise BadPage(f"a page has 1 to {MAX_ROWS} rows")
    if type(document.get("count")) is not int or document["count"] != len(rows):
        raise BadPage("the page has another count of rows than it says")
    tables = Tables(feed, head.epoch, head.published, labels, rules, pipelines)
    return AttestationPage(head, pipelines, rules, parse_rows(document, tables), name)
