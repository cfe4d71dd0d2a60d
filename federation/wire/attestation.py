"""One attestation as a signed document: a page of one row that says where the row stands.

Decides what such a document says, and whether it answers what was asked: the very picture, of
the very feed, signed lately. Its shape and rules are those of a page, read by the same code. A
row that no page holds yet has neither `epoch` nor `seq`. Whether and for how long an answer is
believed is left to `asking` and the cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import attestation_url, feed_url, question_url
from federation.context import ATTESTATION_CONTEXT, LABEL_PREFIX, RULE_PREFIX
from federation.errors import BadPage, BadProof
from federation.origin import Origin, Url
from federation.wire import proof
from federation.wire.feed_document import verify_signed
from federation.wire.members import read_epoch, read_number, read_published
from federation.wire.page_head import WIRE
from federation.wire.page_rows import Tables, parse_rows
from federation.wire.page_tables import parse_labels, parse_pipelines, parse_rules
from federation.wire.pipeline import Pipeline
from federation.wire.row import COLUMNS, Attestation
from federation.wire.strictjson import JsonObject
from federation.wire.times import to_rfc3339
from federation.wire.wire_rows import RowWriter

TYPES: Final = ["Document", "Attestation"]
FRESH_SECONDS: Final = 3_600
"""How far the signing of an answer may lie from now, either way: an older one may be taken back."""

Place = tuple[str, int]
"""(epoch, seq) of a row that a page holds."""


@dataclass(frozen=True, slots=True)
class AttestationHead:
    """Whose attestation it is, when it is signed, and where its row stands in the feed."""

    base: Origin
    feed: Feed
    published: int
    place: Place | None  # None: no page holds it yet


@dataclass(frozen=True, slots=True)
class VerifiedAttestation:
    """One attestation whose proof, issuer and form have been verified; it answers a question."""

    row: Attestation
    feed: Feed
    origin: Origin
    pipelines: tuple[Pipeline, ...]
    place: Place | None  # None: no page holds it yet
    key_id: str


def attestation_id(base: Origin, feed: Feed, sha256: bytes, place: Place | None) -> Url:
    """Return the id of an attestation: its place, or where it was asked for until it has one."""
    if place is None:
        return question_url(base, feed, sha256)
    return attestation_url(base, feed, *place)


def seal_attestation(
    head: AttestationHead,
    row: Attestation,
    pipelines: Mapping[str, Mapping[str, str]],
    rules: Mapping[str, str],
    private: Ed25519PrivateKey,
    key_id: str,
) -> JsonObject:
    """Return the signed document; `pipelines` and `rules` as in `build_page`."""
    epoch, seq = head.place or (None, None)
    writer = RowWriter(head.feed, epoch or "", [row])
    document: JsonObject = {
        "@context": ATTESTATION_CONTEXT,
        "type": list(TYPES),
        "id": attestation_id(head.base, head.feed, row.sha256, head.place),
        "attributedTo": feed_url(head.base, head.feed),
        "published": to_rfc3339(head.published),
        "wire": WIRE,
        "epoch": epoch,
        "seq": seq,
        "labels": [LABEL_PREFIX + label for label in writer.labels],
        "rules": {RULE_PREFIX + name: text for name, text in sorted(rules.items())},
        "pipelines": [dict(pipelines[name]) for name in writer.pipelines],
        "columns": list(COLUMNS[head.feed]),
        "rows": [writer.cells(row)],
    }
    return proof.sign(document, private, key_id, head.published)


def verify_attestation(
    document: JsonObject, actor: RemoteActor, sha256: bytes, now: int
) -> VerifiedAttestation:
    """Verify that `document` is what the feed `actor` says now of the picture `sha256`.

    Raises `BadProof` for a wrong, stale or revoked proof or key, `WrongOrigin` for another's
    attestation, `BadPage` for one against the rules of the wire format or on another picture.
    """
    proven, feed = verify_signed(document, actor, ATTESTATION_CONTEXT, TYPES, now)
    if proven.key.is_revoked:
        raise BadProof("the attestation is signed by a revoked key")
    return _parse(document, actor, feed, sha256, now, proven.key.id)


def _parse(
    document: JsonObject, actor: RemoteActor, feed: Feed, sha256: bytes, now: int, key_id: str
) -> VerifiedAttestation:
    place, published = _place(document), _published(document, now)
    pipelines = parse_pipelines(document.get("pipelines"))
    tables = Tables(
        feed,
        place[0] if place else "",
        published,
        parse_labels(document.get("labels")),
        parse_rules(document.get("rules")),
        pipelines,
    )
    row = _only_row(document, tables)
    if row.sha256 != sha256:
        raise BadPage("the attestation is on another picture than was asked for")
    if document.get("id") != attestation_id(actor.origin, feed, sha256, place):
        raise BadPage("the attestation's id does not follow from its feed, picture and place")
    return VerifiedAttestation(row, feed, actor.origin, pipelines, place, key_id)


def _only_row(document: JsonObject, tables: Tables) -> Attestation:
    rows = document.get("rows")
    if not isinstance(rows, list) or len(rows) != 1:
        raise BadPage("an attestation has one row")
    [row] = parse_rows(document, tables)
    if not isinstance(row, Attestation):
        raise BadPage("a retraction is no attestation")
    return row


def _place(document: JsonObject) -> Place | None:
    if "epoch" not in document or "seq" not in document:
        raise BadPage("the attestation does not say whether it has a place")
    if document["epoch"] is None and document["seq"] is None:
        return None
    return read_epoch(document), read_number(document["seq"], "seq")


def _published(document: JsonObject, now: int) -> int:
    published = read_published(document, now)
    if abs(now - published) > FRESH_SECONDS:
        raise BadPage("the attestation was not signed lately")
    return published
