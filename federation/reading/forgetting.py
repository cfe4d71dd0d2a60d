"""Forgets read pages of which nothing can stand any more, so that they do not add up for ever.

A row lives 366 days at most from when it was issued, and a page is read when it is sealed or
later. The page a feed stands at is kept however old: the next one must chain to it.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, exists, select

from cache.storage.feed_tables import follows, remote_pages
from federation.wire.page_rows import MAX_LIFETIME_SECONDS

PAGE_SECONDS: Final = MAX_LIFETIME_SECONDS + 86_400
"""After so long since it was read a page is forgotten; the day is for clocks that differ."""

PageKey = tuple[int, str, int]
"""Which follow, epoch and number."""

_page = remote_pages.c
_IS_CURSOR = exists().where(
    follows.c.id == _page.follow_id,
    follows.c.epoch == _page.epoch,
    follows.c.page == _page.page,
)


def old_pages(conn: Connection, now: int, limit: int) -> Sequence[PageKey]:
    """Return up to `limit` pages that are to be forgotten."""
    old = select(_page.follow_id, _page.epoch, _page.page).where(
        _page.received < now - PAGE_SECONDS, ~_IS_CURSOR
    )
    return [(row.follow_id, row.epoch, row.page) for row in conn.execute(old.limit(limit))]


def forget_pages(conn: Connection, pages: Sequence[PageKey]) -> None:
    """Forget these pages, but for what became a cursor meanwhile."""
    gone = delete(remote_pages).where(
        _page.follow_id == bindparam("of_follow"),
        _page.epoch == bindparam("of_epoch"),
        _page.page == bindparam("number"),
        ~_IS_CURSOR,
    )
    names = ("of_follow", "of_epoch", "number")
    conn.execute(gone, [dict(zip(names, page, strict=True)) for page in pages])
