"""Fronts of our feeds that nobody needs any more: pages whose every row has expired.

Decides what is dropped: whole blocks of 256 pages, oldest first, never the last block of an epoch,
and only what a snapshot that is served came after. The rows themselves stay in `feed_rows`: a
later retraction has to name them.
"""

from sqlalchemy import Connection, delete, select

from cache.storage.feed_tables import feed_pages, feed_rows, feed_runs
from cache.verdict import Feed
from federation.publishing import feed_log
from federation.publishing.runs import last_of_block
from federation.publishing.snapshots import newest_snapshot
from federation.wire.page_head import EpochEnd


def droppable(conn: Connection, feed: Feed, now: int) -> EpochEnd | None:
    """Return the last page of the oldest block that may go, if there is one."""
    snapshot = newest_snapshot(conn, feed)
    if snapshot is None:
        return None
    behind = False
    for end in feed_log.history(conn, feed):
        is_own = end.epoch == snapshot.epoch
        behind = behind or is_own
        first = feed_log.first_page(conn, feed, end.epoch)
        if not behind or first is None:
            continue
        last = last_of_block(first)
        covered = not is_own or last <= snapshot.through_page
        if covered and last < end.page and _is_expired(conn, feed, end.epoch, last, now):
            return EpochEnd(end.epoch, last)
    return None


def drop(conn: Connection, feed: Feed, end: EpochEnd) -> None:
    """Drop the pages of an epoch through a page, and the runs that they make up."""
    pages, runs = feed_pages.c, feed_runs.c
    conn.execute(
        delete(feed_pages).where(
            pages.feed == int(feed), pages.epoch == end.epoch, pages.page <= end.page
        )
    )
    conn.execute(
        delete(feed_runs).where(
            runs.feed == int(feed), runs.epoch == end.epoch, runs.last_page <= end.page
        )
    )


def _is_expired(conn: Connection, feed: Feed, epoch: str, last: int, now: int) -> bool:
    """Tell whether every row of the pages of an epoch through `last` has expired."""
    p, r = feed_pages.c, feed_rows.c
    next_seq = select(p.first_seq).where(p.feed == int(feed), p.epoch == epoch, p.page == last + 1)
    first_seq = (
        select(p.first_seq).where(p.feed == int(feed), p.epoch == epoch).order_by(p.page).limit(1)
    )
    alive = select(r.id).where(
        r.feed == int(feed),
        r.epoch == epoch,
        r.seq.is_not(None),
        r.seq >= first_seq.scalar_subquery(),
        r.seq < next_seq.scalar_subquery(),
        r.expires > now,
    )
    return conn.execute(alive.limit(1)).first() is None
