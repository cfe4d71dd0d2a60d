"""Stores what peers attest and retract, once `federation` has verified it.

Decides which row of a feed stands for a picture, and which of the peer's pictures stand in the
near-match index. Rows of the two feeds of one issuer are kept apart; which of them counts is
settled by `decide`. A retraction frees exactly its row. Every function wants a write
transaction; applying a page twice changes nothing.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, case, delete, select

from cache.cases.arrivals import note_arrivals
from cache.memory.codes import Code, code_of, set_codes
from cache.memory.crowding import thin_out
from cache.memory.record import (
    VERDICT_COLUMNS,
    VERDICT_KEY,
    Pictures,
    picture_rows,
    pipeline_rows,
)
from cache.memory.retractions import (
    Place,
    free,
    free_provisional,
    place_of,
    remember,
    retracted_early,
)
from cache.storage.bulk import Bulk, Merge
from cache.storage.contents import content_key, key_of
from cache.storage.prepared import PreparedList
from cache.storage.rows import batches, scores_text
from cache.storage.tables import codes, issuers, label_weights, verdicts
from cache.uncollected import uncollected
from cache.verdict import Feed, Verdict

T = TypeVar("T", bound=Hashable)

__all__ = [
    "Place",
    "flags_weigh",
    "record_attestations",
    "settle_peer_codes",
    "withdraw_rows",
]


@uncollected()
def record_attestations(  # noqa: PLR0913  # all but the connection by name
    connection: Connection,
    *,
    issuer_id: int,
    feed: Feed,
    follow_id: int,
    rows: Sequence[Verdict],
    retractions: Sequence[Place] = (),
    stands: bool = False,
    now: int,
) -> None:
    """Store verified rows of one feed, each with its `epoch` and `seq`, then its retractions.

    A target that is not here is remembered, should its row still come. With `stands`, that of a
    snapshot, the rows take the place of whatever is here of the same thing. Pipelines must have
    been stored with `record.pipeline_row`; raises UnknownPipeline.
    """
    gone = retracted_early(connection, follow_id, rows)
    kept = _newest([row for row in rows if place_of(row) not in gone] if gone else rows)
    keys = [None if row.content is None else key_of(row.content) for row in kept]
    known_keys = _known_keys(connection, keys)
    pictures = picture_rows(connection, (row.sha256 for row in kept), now=now)
    _store(connection, issuer_id, feed, kept, pictures, now, _STANDING if stands else _KNOWN)
    known = pictures.ids.keys() - pictures.new
    alike = {row.sha256 for row, key in zip(kept, keys, strict=True) if key in known_keys}
    met = [pictures.ids[sha256] for sha256 in known | alike]
    note_arrivals(connection, issuer_id, feed, met, gone=False)
    freed, missing = free(connection, issuer_id, feed, retractions)
    taken_back = [row.sha256 for row in rows if place_of(row) in gone] if gone else []
    freed |= free_provisional(connection, issuer_id, feed, taken_back)
    if missing and not stands:  # what was here and gave way is not to come
        remember(connection, follow_id, missing - {place_of(row) for row in rows}, now)
    crowded = [pictures.ids[one] for one in known | _repeated(row.sha256 for row in kept)]
    crowded_keys = known_keys | _repeated(key for key in keys if key is not None)
    thinned = thin_out(connection, issuer_id, feed, crowded, list(crowded_keys))
    note_arrivals(connection, issuer_id, feed, freed | thinned, gone=True)
    if feed is Feed.FLAGGED:
        settle_peer_codes(connection, issuer_id, {*pictures.ids.values(), *freed})


def withdraw_rows(
    connection: Connection, *, issuer_id: int, feed: Feed, epoch: str | None, after_seq: int = 0
) -> int:
    """Delete a feed's rows of `epoch` past `after_seq` (all epochs for None), return how many.

    For a new epoch, a stolen key, or an end of following.
    """
    chosen = [verdicts.c.issuer_id == issuer_id, verdicts.c.feed == int(feed)]
    if epoch is not None:
        chosen += [verdicts.c.epoch == epoch, verdicts.c.seq > after_seq]
    gone = connection.execute(select(verdicts.c.image_id).where(*chosen)).scalars().all()
    connection.execute(delete(verdicts).where(*chosen))
    note_arrivals(connection, issuer_id, feed, gone, gone=True)
    if feed is Feed.FLAGGED:
        settle_peer_codes(connection, issuer_id, gone)
    return len(gone)


def settle_peer_codes(
    connection: Connection, issuer_id: int, image_ids: Iterable[int] | None = None
) -> None:
    """Let the codes of a peer's flagged-feed rows stand while its flags weigh anything.

    `image_ids` None means all of them, for when its weight changed.
    """
    weigh = flags_weigh(connection, issuer_id)
    if image_ids is None:
        image_ids = (_flagged_images if weigh else _with_codes)(connection, issuer_id)
    wanted: dict[int, Code | None] = dict.fromkeys(image_ids)
    if weigh:
        for some in batches(list(wanted)):
            wanted |= _codes_of(connection, issuer_id, some)
    set_codes(connection, issuer_id, wanted)


def flags_weigh(connection: Connection, issuer_id: int) -> bool:
    """Tell whether any flag of this peer could count, whatever the label."""
    peer = connection.execute(
        select(issuers.c.state, issuers.c.flag_weight).where(issuers.c.id == issuer_id)
    ).one()
    for_labels = connection.execute(
        select(label_weights.c.flag_weight).where(label_weights.c.issuer_id == issuer_id)
    ).scalars()
    weights = [peer.flag_weight, *(weight or 0 for weight in for_labels)]
    return bool(peer.state == "trusted" and max(weights) > 0)


def _newest(rows: Sequence[Verdict]) -> Sequence[Verdict]:
    """Return of rows about one thing the one that stands: later issued, then later in the feed."""
    if len({row.sha256 for row in rows}) == len(rows):
        return rows
    by_key = {
        (row.sha256, (row.pipeline or "").lower(), row.basis, row.rule or ""): row
        for row in sorted(rows, key=lambda row: (row.issued, row.seq or 0))
    }
    return list(by_key.values())


def _known_keys(connection: Connection, keys: Iterable[bytes | None]) -> set[bytes]:
    """Return the keys of contents, among the claimed ones, that some verdict here has already."""
    claimed = {key for key in keys if key is not None}
    return {key for (key,) in _KEYS.rows(connection, sorted(claimed))}


_KEY = content_key(verdicts.c.content)
_KEYS = PreparedList(
    lambda listed: select(_KEY).where(listed(_KEY), verdicts.c.content.is_not(None)).distinct()
)


def _repeated(values: Iterable[T]) -> set[T]:
    listed = list(values)
    if len(set(listed)) == len(listed):  # as nearly always
        return set()
    return {value for value, times in Counter(listed).items() if times > 1}


def _store(
    connection: Connection,
    issuer_id: int,
    feed: Feed,
    rows: Sequence[Verdict],
    pictures: Pictures,
    now: int,
    on_known: Bulk,
) -> None:
    """Store rows; on pictures that are new here nothing can stand yet."""
    by_id = pipeline_rows(connection, {row.pipeline for row in rows if row.pipeline})
    tuples = list(_tuples(issuer_id, feed, rows, pictures, by_id, now))
    if len(pictures.new) == len(pictures.ids):
        _NEW.store_tuples(connection, tuples)
        return
    is_new = [row.sha256 in pictures.new for row in rows]
    _NEW.store_tuples(connection, list(compress(tuples, is_new)))
    on_known.store_tuples(
        connection, [one for one, new in zip(tuples, is_new, strict=True) if not new]
    )


def _tuples(
    issuer_id: int,
    feed: Feed,
    rows: Sequence[Verdict],
    pictures: Pictures,
    by_id: Mapping[str, int],
    now: int,
) -> Iterator[tuple[object, ...]]:
    """Return rows as they are stored; made by columns, which takes a third of the time."""
    cells: dict[str, Iterable[object]] = {
        "image_id": [pictures.ids[row.sha256] for row in rows],
        "issuer_id": repeat(issuer_id),
        "feed": repeat(int(feed)),
        "pipeline_id": [by_id[row.pipeline] if row.pipeline else 0 for row in rows],
        "basis": [row.basis.value for row in rows],
        "rule": [row.rule or "" for row in rows],
        "finding": [row.finding.value if row.finding else None for row in rows],
        "scores": [scores_text(row.scores) for row in rows],
        "content": [row.content for row in rows],
        "pdq": [row.pdq for row in rows],
        "pdq_quality": [row.pdq_quality for row in rows],
        "issued": [row.issued for row in rows],
        "expires": [row.expires for row in rows],
        "frames_seen": [row.frames_seen for row in rows],
        "frames_total": [row.frames_total for row in rows],
        "epoch": [row.epoch for row in rows],
        "seq": [row.seq for row in rows],
        "received": repeat(now),
    }
    return zip(*(cells[name] for name in _NEW.columns))  # noqa: B905  # some have no end


def _is_later(new: Any, old: Any) -> ColumnElement[bool]:
    """Tell which row of a key stands; one without a seq is provisional, see `provisional`."""
    after = old.seq.is_(None) | (new.epoch != old.epoch) | (new.seq > old.seq)
    later: ColumnElement[bool] = (new.issued > old.issued) | ((new.issued == old.issued) & after)
    return later


def _received(new: Any, old: Any) -> Mapping[str, ColumnElement[Any]]:
    """Let a row that its issuer told us before its page came have come at that time.

    Only where it says the same: else what was read here in the meantime could be echoed.
    """
    same = new.scores.is_not_distinct_from(old.scores)
    was_told = old.seq.is_(None) & new.seq.is_not(None) & (new.issued == old.issued) & same
    return {"received": case((was_told, old.received), else_=new.received)}


_NEW = Bulk(verdicts, VERDICT_COLUMNS)
_KNOWN = Bulk(verdicts, VERDICT_COLUMNS, Merge(VERDICT_KEY, _is_later, _received))
_STANDING = Bulk(verdicts, VERDICT_COLUMNS, Merge(VERDICT_KEY, None, _received))


def _flagged_images(connection: Connection, issuer_id: int) -> Sequence[int]:
    return (
        connection.execute(
            select(verdicts.c.image_id).where(
                verdicts.c.issuer_id == issuer_id, verdicts.c.feed == int(Feed.FLAGGED)
            )
        )
        .scalars()
        .all()
    )


def _with_codes(connection: Connection, issuer_id: int) -> Sequence[int]:
    """Return the pictures of which a code of this peer stands: far fewer than it has rows."""
    standing = select(codes.c.image_id).where(codes.c.issuer_id == issuer_id, ~codes.c.withdrawn)
    return connection.execute(standing).scalars().all()


def _codes_of(
    connection: Connection, issuer_id: int, image_ids: Sequence[int]
) -> dict[int, Code | None]:
    rows = connection.execute(
        select(verdicts.c.image_id, verdicts.c.pdq, verdicts.c.pdq_quality)
        .where(
            verdicts.c.issuer_id == issuer_id,
            verdicts.c.feed == int(Feed.FLAGGED),
            verdicts.c.image_id.in_(image_ids),
        )
        .order_by(verdicts.c.issued, verdicts.c.id)
    )
    found = ((row.image_id, code_of(row.pdq, row.pdq_quality)) for row in rows)
    return {image_id: code for image_id, code in found if code is not None}
