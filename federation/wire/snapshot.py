"""Snapshots: the rows of a feed that stood at one page, for newcomers and after dropped fronts.

A signed manifest names the parts by their digests; parts are not signed. Decides that a manifest
was made by its feed and that a part is the one it names. Page `through_page + 1` must chain to the
manifest's digest, which is decided in `chain` as for a page.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.uncollected import uncollected
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import part_url, snapshot_url
from federation.context import FEED_CONTEXT, LABEL_PREFIX, RULE_PREFIX
from federation.errors import BadPage
from federation.origin import Origin, Url
from federation.wire import columns, multibase, proof
from federation.wire.attestation import Place
from federation.wire.epoch import MAX_PAGE
from federation.wire.feed_document import check_kind, check_revoked, check_tricks, verify_signed
from federation.wire.graph import is_plain
from federation.wire.members import read_digest, read_epoch, read_number, read_published
from federation.wire.page import digest
from federation.wire.page_head import WIRE, EpochEnd
from federation.wire.page_rows import Tables, parse_rows
from federation.wire.page_tables import parse_labels, parse_pipelines, parse_rules
from federation.wire.pipeline import Pipeline
from federation.wire.row import COLUMNS, Attestation
from federation.wire.strictjson import MAX_INTEGER, JsonObject, canonical
from federation.wire.times import to_rfc3339
from federation.wire.wire_rows import RowWriter

MANIFEST_TYPES: Final = ["Document", "SnapshotManifest"]
PART_TYPES: Final = ["Document", "SnapshotPart"]
MAX_PART_ROWS: Final = 5_000
MAX_PARTS: Final = 8_192
"""Parts of a snapshot, which are over 40 million rows."""

MAX_PREVIOUS_EPOCHS: Final = 256
SEQ: Final = "seq"
"""The column of parts that pages do not have: a seq, or `[epoch, seq]` for earlier epochs."""


@dataclass(frozen=True, slots=True)
class PartName:
    """What a manifest says of one part."""

    id: str
    digest: str
    count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a manifest says: the feed stood so when page `through_page` was its last.

    `previous_epochs` are those that rows may come from, oldest first, each with its last page that
    counts; `next_seq` is the seq that page `through_page + 1` begins with.
    """

    feed_id: Url
    feed: Feed
    epoch: str
    through_page: int
    digest: str
    next_seq: int
    published: int
    parts: tuple[PartName, ...]
    previous_epochs: tuple[EpochEnd, ...] = ()

    @property
    def count(self) -> int:
        """Return how many rows all parts have."""
        return sum(part.count for part in self.parts)


@dataclass(frozen=True, slots=True)
class VerifiedManifest:
    """A manifest whose proof, issuer and form have been verified."""

    snapshot: Snapshot
    origin: Origin
    key_id: str


@dataclass(frozen=True, slots=True)
class VerifiedPart:
    """A part that a verified manifest names: `rows[i]` stands at `places[i]`, (epoch, seq)."""

    number: int
    places: tuple[Place, ...]
    rows: tuple[Attestation, ...]
    pipelines: tuple[Pipeline, ...]
    rules: Mapping[str, str]


def seal_manifest(snapshot: Snapshot, private: Ed25519PrivateKey, key_id: str) -> JsonObject:
    """Return the signed manifest; its proof is created when the snapshot is published."""
    document: JsonObject = {
        "@context": FEED_CONTEXT,
        "type": list(MANIFEST_TYPES),
        "id": snapshot_url(snapshot.feed_id),
        "attributedTo": snapshot.feed_id,
        "published": to_rfc3339(snapshot.published),
        "wire": WIRE,
        "epoch": snapshot.epoch,
        "throughPage": snapshot.through_page,
        "digestMultibase": snapshot.digest,
        "nextSeq": snapshot.next_seq,
        "count": snapshot.count,
        "previousEpochs": [[end.epoch, end.page] for end in snapshot.previous_epochs],
        "parts": [
            {"id": part.id, "digestMultibase": part.digest, "count": part.count}
            for part in snapshot.parts
        ],
    }
    return proof.sign(document, private, key_id, snapshot.published)


def build_part(
    snapshot: Snapshot,
    number: int,
    rows: Sequence[tuple[Place, Attestation]],
    pipelines: Mapping[str, Mapping[str, str]],
    rules: Mapping[str, str],
) -> JsonObject:
    """Return part `number` (from 1) of a snapshot, whose own `parts` are not looked at.

    `rows` come in the order of the feed; `pipelines` and `rules` as in `build_page`.
    """
    if not 0 < len(rows) <= MAX_PART_ROWS:
        raise ValueError(f"a part has 1 to {MAX_PART_ROWS} rows, not {len(rows)}")
    writer = RowWriter(snapshot.feed, snapshot.epoch, [row for _, row in rows])
    return {
        "@context": FEED_CONTEXT,
        "type": list(PART_TYPES),
        "id": part_url(snapshot.feed_id, snapshot.epoch, snapshot.through_page, number),
        "attributedTo": snapshot.feed_id,
        "wire": WIRE,
        "epoch": snapshot.epoch,
        "throughPage": snapshot.through_page,
        "part": number,
        "count": len(rows),
        "labels": [LABEL_PREFIX + label for label in writer.labels],
        "rules": {RULE_PREFIX + name: text for name, text in sorted(rules.items())},
        "pipelines": [dict(pipelines[name]) for name in writer.pipelines],
        "columns": [SEQ, *COLUMNS[snapshot.feed]],
        "rows": [[_seq_cell(place, snapshot.epoch), *writer.cells(row)] for place, row in rows],
    }


def name_part(part: JsonObject) -> PartName:
    """Return what a manifest says of a part."""
    return PartName(part["id"], digest(part), part["count"])


def verify_manifest(document: JsonObject, actor: RemoteActor, now: int) -> VerifiedManifest:
    """Verify that `document` is the manifest of a snapshot of the feed `actor`.

    Raises `BadProof` for a wrong or revoked key, `WrongOrigin` for another's manifest, `BadPage`
    for one against the rules of the wire format.
    """
    proven, feed = verify_signed(document, actor, FEED_CONTEXT, MANIFEST_TYPES, now)
    if document.get("id") != snapshot_url(actor.id):
        raise BadPage("the manifest's id is not that of its feed's snapshot")
    epoch = read_epoch(document)
    through = read_number(document.get("throughPage"), "throughPage", 1, MAX_PAGE)
    check_revoked(proven.key, epoch, through)
    snapshot = Snapshot(
        actor.id,
        feed,
        epoch,
        through,
        read_digest(document.get("digestMultibase"), "digestMultibase"),
        read_number(document.get("nextSeq"), "nextSeq", through + 1),
        read_published(document, now),
        _parts(document, actor.id, epoch, through),
        _previous_epochs(document, epoch),
    )
    read_number(document.get("count"), "count", snapshot.count, snapshot.count)
    return VerifiedManifest(snapshot, actor.origin, proven.key.id)


@uncollected()
def parse_part(document: JsonObject, manifest: VerifiedManifest, number: int) -> VerifiedPart:
    """Return part `number` (from 1) of a snapshot; raises `BadPage` if it is not the named one."""
    snapshot = manifest.snapshot
    named = snapshot.parts[number - 1]
    check_kind(document, FEED_CONTEXT, PART_TYPES)
    form = canonical(document, is_strict=True)
    if "proof" in document or multibase.digest(form) != named.digest:
        raise BadPage("the part is not the one that its manifest names")
    if not is_plain(form):
        check_tricks(document)
    _check_place(document, snapshot, named, number)
    rows = document.get("rows")
    if not isinstance(rows, list) or len(rows) != named.count or document.get("count") != len(rows):
        raise BadPage("the part has another count of rows than it says")
    labels, rules = parse_labels(document.get("labels")), parse_rules(document.get("rules"))
    pipelines = parse_pipelines(document.get("pipelines"))
    tables = Tables(snapshot.feed, snapshot.epoch, snapshot.published, labels, rules, pipelines)
    parsed = parse_rows(document, tables)
    attested = tuple(row for row in parsed if isinstance(row, Attestation))
    if len(attested) != len(parsed):
        raise BadPage("a snapshot holds no retractions")
    seqs = columns.by_name(document.get("columns"), rows, [SEQ])[SEQ]
    return VerifiedPart(number, _places(seqs, snapshot), attested, pipelines, rules)


def _seq_cell(place: Place, epoch: str) -> int | list[str | int]:
    return place[1] if place[0] == epoch else list(place)


def _parts(document: JsonObject, feed_id: Url, epoch: str, through: int) -> tuple[PartName, ...]:
    parts = document.get("parts")
    if not isinstance(parts, list) or len(parts) > MAX_PARTS:
        raise BadPage(f"parts is not a list of at most {MAX_PARTS}")
    return tuple(
        _part(part, part_url(feed_id, epoch, through, number))
        for number, part in enumerate(parts, start=1)
    )


def _part(part: object, url: Url) -> PartName:
    if not isinstance(part, dict) or part.get("id") != url:
        raise BadPage("the id of a part does not follow from its feed, epoch, page and number")
    return PartName(
        url,
        read_digest(part.get("digestMultibase"), "the digest of a part"),
        read_number(part.get("count"), "the count of a part", 1, MAX_PART_ROWS),
    )


def _previous_epochs(document: JsonObject, epoch: str) -> tuple[EpochEnd, ...]:
    listed = document.get("previousEpochs")
    if not isinstance(listed, list) or len(listed) > MAX_PREVIOUS_EPOCHS:
        raise BadPage(f"previousEpochs is not a list of at most {MAX_PREVIOUS_EPOCHS}")
    ends = tuple(_end(item) for item in listed)
    if len({epoch, *(end.epoch for end in ends)}) != len(ends) + 1:
        raise BadPage("an epoch stands there twice")
    return ends


def _end(item: object) -> EpochEnd:
    if not isinstance(item, list) or len(item) != 2:
        raise BadPage("a previous epoch is not an epoch and its last page")
    return EpochEnd(
        read_epoch({"epoch": item[0]}), read_number(item[1], "the last page", 1, MAX_PAGE)
    )


def _check_place(document: JsonObject, snapshot: Snapshot, named: PartName, number: int) -> None:
    said = ("id", "attributedTo", "epoch", "throughPage", "part")
    wanted = [named.id, snapshot.feed_id, snapshot.epoch, snapshot.through_page, number]
    if [document.get(name) for name in said] != wanted:
        raise BadPage("the part says that it is another one")


def _places(cells: Sequence[Any], snapshot: Snapshot) -> tuple[Place, ...]:
    """Return where each row stands; raises `BadPage` unless they are in the order of the feed."""
    if set(map(type, cells)) == {int}:
        order: Sequence[Any] = cells
        places = tuple((snapshot.epoch, cell) for cell in cells)
        if min(cells) < 1 or max(cells) >= snapshot.next_seq:
            raise BadPage("a seq is not that of a row before the snapshot")
    else:
        ages = {end.epoch: age for age, end in enumerate(snapshot.previous_epochs)}
        ages[snapshot.epoch] = len(ages)
        places = tuple(_place(cell, snapshot, ages) for cell in cells)
        order = [(ages[epoch], seq) for epoch, seq in places]
    if not all(map(operator.lt, order, order[1:])):
        raise BadPage("the rows of a part are not in the order of the feed")
    return places


def _place(cell: object, snapshot: Snapshot, ages: Mapping[str, int]) -> Place:
    if type(cell) is int and 1 <= cell < snapshot.next_seq:
        return snapshot.epoch, cell
    if not isinstance(cell, list) or len(cell) != 2:
        raise BadPage("seq is neither a seq nor an epoch and a seq")
    epoch, seq = cell
    if not isinstance(epoch, str) or epoch == snapshot.epoch or epoch not in ages:
        raise BadPage("seq names an epoch that the manifest does not")
    return epoch, read_number(seq, "seq", 1, MAX_INTEGER)
