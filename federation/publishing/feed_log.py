"""What the database holds of our own feeds: epochs, pages, and rows that wait to be sealed.

Only reads and the beginning of an epoch stand here; pages are made in `sealing.py`.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, insert, select

from cache.feeds.publish import is_held_back
from cache.storage.feed_tables import feed_epochs, feed_pages, feed_rows
from cache.storage.rows import batches
from cache.storage.tables import pipelines
from cache.verdict import Feed
from federation.publishing.head import FeedHead
from federation.wire.page_head import EpochEnd

_UNSEALED = (  # made once, for that takes longer than running it
    select(feed_rows)
    .where(
        feed_rows.c.feed == bindparam("of"),
        feed_rows.c.seq.is_(None),
        ~is_held_back(feed_rows.c.sha256),
    )
    .order_by(feed_rows.c.id)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class ServedEnd:
    """How far a feed is served: its newest epoch that has pages, and the first and last of them."""

    epoch: str
    first_page: int
    last_page: int
    digest: str
    next_seq: int
    published: int  # of the last page


@dataclass(frozen=True, slots=True)
class LastPage:
    """The end of an epoch; page 0, no digest and `next_seq` 1 before its first page."""

    epoch: str
    page: int
    digest: str
    next_seq: int
    previous: EpochEnd | None

    @property
    def head(self) -> FeedHead:
        """What is noted of it before it is served."""
        return FeedHead(self.epoch, self.page, self.digest)


def last_page(conn: Connection, feed: Feed) -> LastPage | None:
    """Return the end of the current epoch of `feed`, or None before the first epoch."""
    newest = (
        select(feed_epochs)
        .where(feed_epochs.c.feed == int(feed))
        .order_by(feed_epochs.c.id.desc())
        .limit(1)
    )
    epoch = conn.execute(newest).first()
    if epoch is None:
        return None
    page = conn.execute(
        select(feed_pages.c.page, feed_pages.c.digest, feed_pages.c.first_seq, feed_pages.c.count)
        .where(feed_pages.c.feed == int(feed), feed_pages.c.epoch == epoch.epoch)
        .order_by(feed_pages.c.page.desc())
        .limit(1)
    ).first()
    previous = epoch.previous_epoch and EpochEnd(epoch.previous_epoch, epoch.previous_page)
    if page is None:
        return LastPage(epoch.epoch, 0, "", 1, previous or None)
    return LastPage(
        epoch.epoch, page.page, page.digest, page.first_seq + page.count, previous or None
    )


def begin_epoch(conn: Connection, feed: Feed, now: int) -> None:
    """Begin a new history of `feed` that names the last one with pages, and its last page."""
    before = last_page(conn, feed)
    end = None
    if before is not None:
        end = EpochEnd(before.epoch, before.page) if before.page else before.previous
    begin_epoch_after(conn, feed, end, now)


def begin_epoch_after(conn: Connection, feed: Feed, end: EpochEnd | None, now: int) -> None:
    """Begin a new history of `feed` that keeps what came before through `end`, None for nothing."""
    conn.execute(
        insert(feed_epochs).values(
            feed=int(feed),
            epoch=secrets.token_hex(16),
            previous_epoch=end.epoch if end else None,
            previous_page=end.page if end else None,
            started=now,
        )
    )


def holds(conn: Connection, feed: Feed, head: FeedHead) -> bool:
    """Tell whether the database holds the very page that was noted as served."""
    if head.page == 0:
        known = select(feed_epochs.c.id).where(feed_epochs.c.epoch == head.epoch)
        return conn.execute(known).first() is not None
    digest = select(feed_pages.c.digest).where(
        feed_pages.c.feed == int(feed),
        feed_pages.c.epoch == head.epoch,
        feed_pages.c.page == head.page,
    )
    return conn.scalar(digest) == head.digest


def page_text(conn: Connection, feed: Feed, epoch: str, page: int) -> str | None:
    """Return a signed page as it is served, or None when there is none."""
    return conn.scalar(
        select(feed_pages.c.document).where(
            feed_pages.c.feed == int(feed),
            feed_pages.c.epoch == epoch,
            feed_pages.c.page == page,
        )
    )


def served_end(conn: Connection, feed: Feed) -> ServedEnd | None:
    """Return the last page of the newest epoch that has pages, or None before the first page."""
    now = last_page(conn, feed)
    if now is None:
        return None
    end = EpochEnd(now.epoch, now.page) if now.page else now.previous
    if end is None or end.page == 0:
        return None
    c = feed_pages.c
    page = conn.execute(
        select(c.first_seq, c.count, c.digest, c.published).where(
            c.feed == int(feed), c.epoch == end.epoch, c.page == end.page
        )
    ).one()
    first = first_page(conn, feed, end.epoch) or end.page
    next_seq = page.first_seq + page.count
    return ServedEnd(end.epoch, first, end.page, page.digest, next_seq, page.published)


def first_page(conn: Connection, feed: Feed, epoch: str) -> int | None:
    """Return the first page of an epoch that was not dropped, None for an epoch without pages."""
    c = feed_pages.c
    pages = select(c.page).where(c.feed == int(feed), c.epoch == epoch)
    found: int | None = conn.scalar(pages.order_by(c.page).limit(1))
    return found


def is_dropped(conn: Connection, feed: Feed, epoch: str, page: int) -> bool:
    """Tell whether a page was dropped from the front of its epoch."""
    first = first_page(conn, feed, epoch)
    return first is not None and 1 <= page < first


def history(conn: Connection, feed: Feed) -> list[EpochEnd]:
    """Return the epochs that count and have pages, newest first, each with its last page."""
    c = feed_epochs.c
    rows = conn.execute(select(feed_epochs).where(c.feed == int(feed)).order_by(c.id.desc())).all()
    known = {row.epoch: row for row in rows}
    newest = last_page(conn, feed)
    end = None if newest is None else EpochEnd(newest.epoch, newest.page)
    found: list[EpochEnd] = []
    while end is not None:
        found += [end] if end.page else []
        row = known.pop(end.epoch, None)
        named = row is not None and row.previous_epoch is not None
        end = EpochEnd(row.previous_epoch, row.previous_page) if row and named else None
    return found


def unsealed(conn: Connection, feed: Feed, limit: int) -> Sequence[Row[tuple[int, ...]]]:
    """Return the oldest rows that no page holds yet and no embargo holds back, in order."""
    return conn.execute(_UNSEALED, {"of": int(feed), "most": limit}).all()


def places(conn: Connection, row_ids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Return (epoch, seq) of sealed rows by row id."""
    found: dict[int, tuple[str, int]] = {}
    for some in batches(row_ids):
        rows = conn.execute(
            select(feed_rows.c.id, feed_rows.c.epoch, feed_rows.c.seq).where(
                feed_rows.c.id.in_(some), feed_rows.c.seq.is_not(None)
            )
        )
        found |= {row.id: (row.epoch, row.seq) for row in rows}
    return found


def descriptions(conn: Connection, pipeline_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Return the descriptions of pipelines by row id."""
    rows = conn.execute(
        select(pipelines.c.id, pipelines.c.description).where(pipelines.c.id.in_(pipeline_ids))
    )
    return {row.id: json.loads(row.description) for row in rows}
