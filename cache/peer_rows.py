"""Stores what peers attest and retract, once `federation` has verified it.

Decides which row of a feed stands for a picture, and which of the peer's pictures stand in the
near-match index. Rows of the two feeds of one issuer are kept apart; which of them counts is
settled by `decide`. A retraction frees exactly its row. Every function wants a write
transaction; applying a page twice changes nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, select

from cache.arrivals import note_arrivals
from cache.codes import Code, code_of, set_codes
from cache.crowding import thin_out
from cache.record import VERDICT_KEY, image_rows, pipeline_rows, verdict_values
from cache.retractions import (
    Place,
    free,
    free_provisional,
    place_of,
    remember,
    retracted_early,
)
from cache.rows import batches, insert_into
from cache.tables import issuers, label_weights, verdicts
from cache.verdict import Feed, Verdict

__all__ = [
    "Place",
    "flags_weigh",
    "record_attestations",
    "settle_peer_codes",
    "withdraw_rows",
]


def record_attestations(
    connection: Connection,
    *,
    issuer_id: int,
    feed: Feed,
    follow_id: int,
    rows: Sequence[Verdict],
    retractions: Sequence[Place] = (),
    now: int,
) -> None:
    """Store verified rows of one feed, each with its `epoch` and `seq`, then its retractions.

    A target that is not here is remembered, should its row still come. Pipelines must have been
    stored with `record.pipeline_row`; raises UnknownPipeline.
    """
    gone = retracted_early(connection, follow_id, rows)
    kept = _newest([row for row in rows if place_of(row) not in gone])
    image_ids = image_rows(connection, (row.sha256 for row in kept), now=now)
    _upsert(connection, issuer_id, feed, kept, image_ids, now)
    note_arrivals(connection, issuer_id, feed, image_ids.values(), gone=False)
    freed, missing = free(connection, issuer_id, feed, retractions)
    taken_back = [row.sha256 for row in rows if place_of(row) in gone]
    freed |= free_provisional(connection, issuer_id, feed, taken_back)
    remember(connection, follow_id, missing, now)
    contents = {row.content for row in kept if row.content is not None}
    thinned = thin_out(connection, issuer_id, feed, list(image_ids.values()), list(contents))
    note_arrivals(connection, issuer_id, feed, freed | thinned, gone=True)
    if feed is Feed.FLAGGED:
        settle_peer_codes(connection, issuer_id, {*image_ids.values(), *freed})


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
    wanted: dict[int, Code | None] = (
        dict.fromkeys(_flagged_images(connection, issuer_id))
        if image_ids is None
        else dict.fromkeys(image_ids)
    )
    if flags_weigh(connection, issuer_id):
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


def _newest(rows: Sequence[Verdict]) -> list[Verdict]:
    """Return of rows about one thing the one that stands: later issued, then later in the feed."""
    by_key = {
        (row.sha256, row.pipeline, row.basis, row.rule): row
        for row in sorted(rows, key=lambda row: (row.issued, row.seq or 0))
    }
    return list(by_key.values())


def _upsert(
    connection: Connection,
    issuer_id: int,
    feed: Feed,
    rows: Sequence[Verdict],
    image_ids: dict[bytes, int],
    now: int,
) -> None:
    if not rows:
        return
    by_id = pipeline_rows(connection, (row.pipeline for row in rows if row.pipeline))
    statement = insert_into(connection, verdicts)
    new, old = statement.excluded, verdicts.c
    later = (new.issued > old.issued) | (
        (new.issued == old.issued)
        & (old.seq.is_(None) | (new.epoch != old.epoch) | (new.seq > old.seq))
    )  # an old one without a seq is provisional, see `provisional`
    values = [
        {
            "image_id": image_ids[row.sha256],
            "issuer_id": issuer_id,
            "pipeline_id": by_id[row.pipeline] if row.pipeline else 0,
            **verdict_values(row, feed, now=now),
        }
        for row in rows
    ]
    updated: dict[str, ColumnElement[Any]] = {
        name: new[name] for name in values[0] if name not in VERDICT_KEY
    }
    was_told = old.seq.is_(None) & new.seq.is_not(None) & (new.issued == old.issued)
    updated["received"] = case((was_told, old.received), else_=new.received)
    connection.execute(
        statement.on_conflict_do_update(index_elements=VERDICT_KEY, set_=updated, where=later),
        values,
    )


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
