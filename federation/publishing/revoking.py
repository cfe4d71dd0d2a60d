"""A stolen key of a feed: what it signed no longer counts, and we say it again under a new one.

Its law: pages from the named one on are void, whoever made them, and so are pages that the key
signed in any other epoch (readers cannot put epochs in order by a page alone). So a new epoch
begins, which keeps the history before the named page; where even that holds pages of the key from
another epoch, or its last page was dropped, it keeps none. Rows of pages that are not kept wait to
be sealed again, in their order, so that followers in the end hold what we say now. Merged pages and
snapshots are made anew. All of it is one transaction; the void pages stay in the database, and
nobody is sent any.
"""

from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    false,
    func,
    or_,
    select,
    update,
)

from cache.storage.feed_tables import (
    deliveries,
    feed_pages,
    feed_rows,
    feed_runs,
    feed_snapshots,
    is_waiting,
)
from cache.verdict import Feed
from federation.addresses import FEED_NAMES
from federation.errors import BadRevocation
from federation.publishing import feed_log
from federation.signing.keystore import StoredKey, mark_revoked
from federation.wire.page_head import EpochEnd


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did: the history that is kept, and how many rows are said again."""

    kept: EpochEnd | None
    rows: int


def revoke(conn: Connection, feed: Feed, key: StoredKey, first: EpochEnd, now: int) -> Revoked:
    """Revoke a key of `feed` from the page `first` on; raises `BadRevocation`."""
    counted = _counted(conn, feed)
    _check(conn, feed, key, first, counted)
    kept = _kept_before(first, counted)
    if kept is not None and (  # no outbox could end at a page that is not served any more
        feed_log.is_dropped(conn, feed, kept.epoch, kept.page)
        or _signed_elsewhere(conn, feed, key, first, kept, counted)
    ):
        kept = None
    mark_revoked(conn, key.id, (first.epoch, first.page), now)
    rows = _say_again(conn, feed, kept, counted)
    feed_log.begin_epoch_after(conn, feed, kept, now)
    conn.execute(delete(feed_snapshots).where(feed_snapshots.c.feed == int(feed)))
    conn.execute(delete(feed_runs).where(feed_runs.c.feed == int(feed)))  # signed anew
    conn.execute(delete(deliveries).where(is_waiting, deliveries.c.feed == int(feed)))
    return Revoked(kept, rows)


def _counted(conn: Connection, feed: Feed) -> list[EpochEnd]:
    """Return the history that counts, newest epoch first; that one also while it has no page."""
    newest, history = feed_log.last_page(conn, feed), feed_log.history(conn, feed)
    is_empty = newest is not None and newest.page == 0
    return [EpochEnd(newest.epoch, 0), *history] if newest and is_empty else history


def _last(conn: Connection, feed: Feed, epoch: str) -> int:
    c = feed_pages.c
    last = select(func.max(c.page)).where(c.feed == int(feed), c.epoch == epoch)
    return conn.scalar(last) or 0


def _check(
    conn: Connection, feed: Feed, key: StoredKey, first: EpochEnd, counted: list[EpochEnd]
) -> None:
    ends = {end.epoch: end.page for end in counted}
    if first.epoch not in ends:
        message = f"{first.epoch} is no epoch of the {FEED_NAMES[feed]} feed that counts now"
        raise BadRevocation(message)
    last = _last(conn, feed, first.epoch)
    if not 1 <= first.page <= last + 1:
        message = f"the pages of that epoch are 1 to {last}; name one of them, or {last + 1}"
        raise BadRevocation(message)
    if key.revoked is not None:
        before = key.revoked_from
        if before is None or before[0] != first.epoch or before[1] <= first.page:
            message = f"{key.fragment} is revoked already; only an earlier page can be named now"
            raise BadRevocation(message)


def _kept_before(first: EpochEnd, counted: list[EpochEnd]) -> EpochEnd | None:
    """Return the end of the history before a page, or None where it is the very first."""
    place = next(n for n, end in enumerate(counted) if end.epoch == first.epoch)
    page = min(first.page - 1, counted[place].page)
    if page > 0:
        return EpochEnd(first.epoch, page)
    return next((end for end in counted[place + 1 :] if end.page > 0), None)


def _signed_elsewhere(
    conn: Connection,
    feed: Feed,
    key: StoredKey,
    first: EpochEnd,
    kept: EpochEnd,
    counted: list[EpochEnd],
) -> bool:
    """Tell whether the key was in use for any kept page of another epoch than the named one."""
    c = feed_pages.c
    place = next(n for n, end in enumerate(counted) if end.epoch == kept.epoch)
    others = [end for end in counted[place:] if end.epoch != first.epoch]
    in_its_life = c.published >= key.created
    if key.expires is not None:
        in_its_life &= c.published <= key.expires
    kept_there = or_(false(), *map(_through, others))
    page = select(c.page).where(c.feed == int(feed), in_its_life, kept_there)
    return conn.execute(page.limit(1)).first() is not None


def _through(end: EpochEnd) -> ColumnElement[bool]:
    return (feed_pages.c.epoch == end.epoch) & (feed_pages.c.page <= end.page)


def _say_again(conn: Connection, feed: Feed, kept: EpochEnd | None, counted: list[EpochEnd]) -> int:
    """Let the rows of pages that are not kept wait again, as if they had never been sealed."""
    c = feed_rows.c
    place = next((n for n, end in enumerate(counted) if kept and end.epoch == kept.epoch), None)
    whole = [end.epoch for end in counted[:place]]
    void: ColumnElement[bool] = c.epoch.in_(whole)
    if kept is not None:
        void |= (c.epoch == kept.epoch) & (c.page > kept.page)
    again = update(feed_rows).where(c.feed == int(feed), c.seq.is_not(None), void)
    return conn.execute(again.values(epoch=None, page=None, seq=None)).rowcount
