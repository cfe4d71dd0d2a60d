"""Frees the rows that peers retract, and remembers retractions whose target is still to come.

Decides how many of those are remembered, and for how long. A retraction frees exactly its row.
What follows for the near-match index is left to `peer_rows`.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, func, select

from cache.storage.feed_tables import early_retractions
from cache.storage.rows import batches, insert_into
from cache.storage.tables import images, verdicts
from cache.verdict import Feed, Verdict

Place = tuple[str, int]
"""Where a row stands in a feed: (epoch, seq)."""

RETRACTION_SECONDS = 366 * 86_400
"""How long an unknown target is remembered: no row lives longer."""

MAX_EARLY_RETRACTIONS = 100_000
"""How many unknown targets of one followed feed are remembered; more are let go."""


def place_of(row: Verdict) -> Place:
    """Return where a peer's row stands in its feed."""
    return (str(row.epoch), int(row.seq or 0))


def retracted_early(connection: Connection, follow_id: int, rows: Sequence[Verdict]) -> set[Place]:
    """Return the places, among those of `rows`, that were retracted before they came."""
    found: set[Place] = set()
    of_feed = select(early_retractions.c.seq).where(early_retractions.c.follow_id == follow_id)
    if connection.execute(of_feed.limit(1)).first() is None:  # as nearly always
        return found
    for some in batches([int(row.seq or 0) for row in rows]):
        early = select(early_retractions.c.epoch, early_retractions.c.seq).where(
            early_retractions.c.follow_id == follow_id, early_retractions.c.seq.in_(some)
        )
        found |= {(row.epoch, row.seq) for row in connection.execute(early)}
    return found


def free(
    connection: Connection, issuer_id: int, feed: Feed, places: Sequence[Place]
) -> tuple[set[int], set[Place]]:
    """Delete the rows at `places`; return the ids of their pictures, and the places not here."""
    pictures: set[int] = set()
    missing = set(places)
    for epoch in sorted({epoch for epoch, _ in places}):
        for seqs in batches([seq for of_epoch, seq in places if of_epoch == epoch]):
            here = [
                verdicts.c.issuer_id == issuer_id,
                verdicts.c.feed == int(feed),
                verdicts.c.epoch == epoch,
                verdicts.c.seq.in_(seqs),
            ]
            found = connection.execute(select(verdicts.c.image_id, verdicts.c.seq).where(*here))
            for image_id, seq in found.all():
                pictures.add(image_id)
                missing.discard((epoch, seq))
            connection.execute(delete(verdicts).where(*here))
    return pictures, missing


def pictures_at(
    connection: Connection, issuer_id: int, feed: Feed, places: Sequence[Place]
) -> dict[Place, bytes]:
    """Return which picture (sha256) a row stands on, of each of the places where one does."""
    v, found = verdicts.c, dict[Place, bytes]()
    for epoch in sorted({epoch for epoch, _ in places}):
        for seqs in batches([seq for of_epoch, seq in places if of_epoch == epoch]):
            rows = select(v.seq, images.c.sha256).join(images, images.c.id == v.image_id)
            here = [v.issuer_id == issuer_id, v.feed == int(feed), v.epoch == epoch]
            standing = connection.execute(rows.where(*here, v.seq.in_(seqs)))
            found |= {(epoch, row.seq): bytes(row.sha256) for row in standing}
    return found


def free_provisional(
    connection: Connection, issuer_id: int, feed: Feed, hashes: Sequence[bytes]
) -> set[int]:
    """Delete what a peer answered on pictures before the page came; return the pictures' ids.

    For rows that were retracted before their page came: nothing else would take their place.
    """
    pictures: set[int] = set()
    for some in batches(hashes):
        here = [
            verdicts.c.issuer_id == issuer_id,
            verdicts.c.feed == int(feed),
            verdicts.c.seq.is_(None),
            verdicts.c.image_id.in_(select(images.c.id).where(images.c.sha256.in_(some))),
        ]
        pictures |= set(connection.execute(select(verdicts.c.image_id).where(*here)).scalars())
        connection.execute(delete(verdicts).where(*here))
    return pictures


def remember(connection: Connection, follow_id: int, places: Iterable[Place], now: int) -> None:
    """Remember retractions of rows that are not here, up to MAX_EARLY_RETRACTIONS of a feed."""
    wanted = sorted(places)
    if not wanted:
        return
    of_feed = early_retractions.c.follow_id == follow_id
    connection.execute(delete(early_retractions).where(of_feed, early_retractions.c.expires <= now))
    held = connection.execute(
        select(func.count()).select_from(early_retractions).where(of_feed)
    ).scalar_one()
    values = [
        {"follow_id": follow_id, "epoch": epoch, "seq": seq, "expires": now + RETRACTION_SECONDS}
        for epoch, seq in wanted[: max(0, MAX_EARLY_RETRACTIONS - held)]
    ]
    if values:
        insert = insert_into(connection, early_retractions).on_conflict_do_nothing()
        connection.execute(insert, values)
