"""How far each followed feed is read, and how far it is: what an admin sees, and peers are told.

What an outbox says is not signed, and only shown. A signed head is kept as the newest one told, and
compared with what is here.
"""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from cache.storage.feed_tables import follow_snapshots, follows, remote_pages
from cache.verdict import Feed
from federation.reading.place import reading
from federation.reading.stories import Signed, is_one_story, note_ahead
from federation.wire.feed_head import PageName, VerifiedHead
from federation.wire.outbox import OutboxHead
from federation.wire.strictjson import to_text


@dataclass(frozen=True, slots=True)
class FeedState:
    """A followed feed: the last page read, the last one told, and how reading goes.

    Times are epoch seconds. `lag_pages` and `lag_seconds` are None where nobody can tell: before
    the outbox was read, and the pages also while another epoch is read than it names. The seconds
    are the age of the last page that is here, 0 when nothing is missing.
    """

    follow_id: int
    actor_id: str
    handle: str | None
    feed: Feed
    state: str
    epoch: str | None
    page: int
    published: int | None
    head_epoch: str | None
    head_page: int | None
    lag_pages: int | None
    lag_seconds: int | None
    pulled: int | None
    tries: int
    next_try: int
    error: str | None
    halted: str | None
    snapshot_part: int | None  # the next to be read, while a snapshot is


def feed_states(conn: Connection, now: int) -> list[FeedState]:
    """Return how reading every followed feed goes, in the order in which they were followed."""
    c = follows.c
    query = (
        select(
            *(c.id, c.actor_id, c.handle, c.feed, c.state, c.epoch, c.page, c.published),
            *(c.head_epoch, c.head_page, c.pulled, c.tries, c.next_try, c.error, c.halted),
            follow_snapshots.c.next_part,
        )
        .outerjoin(follow_snapshots, follow_snapshots.c.follow_id == c.id)
        .order_by(c.id)
    )
    states: list[FeedState] = []
    for row in conn.execute(query):
        pages = _lag_pages(row.epoch, row.page, row.head_epoch, row.head_page)
        told = FeedState(
            *(row.id, row.actor_id, row.handle, Feed(row.feed), row.state),
            *(row.epoch, row.page, row.published, row.head_epoch, row.head_page),
            *(pages, _lag_seconds(pages, row.published, row.head_epoch, now)),
            *(row.pulled, row.tries, row.next_try, row.error, row.halted, row.next_part or None),
        )
        states.append(told)
    return states


def note_outbox(conn: Connection, follow_id: int, head: OutboxHead) -> None:
    """Write down how far a feed says that it is."""
    conn.execute(
        update(follows)
        .where(follows.c.id == follow_id)
        .values(head_epoch=head.epoch, head_page=head.last_page)
    )


def note_head(conn: Connection, follow_id: int, head: VerifiedHead, now: int) -> bool:
    """Compare a signed head with what is here, and keep it; False where it is another story."""
    name = head.name
    follow = reading(conn, follow_id, name.feed_id)
    if follow is None:
        return False
    signed = Signed(name.epoch, {name.page: name.digest}, head.document)
    if not is_one_story(conn, follow, signed, now):
        return False
    if is_ahead(conn, follow, name):
        note_ahead(conn, follow_id, signed, now)
    if _is_newest(follow.signed_head, head):
        text = to_text(head.document)
        conn.execute(update(follows).where(follows.c.id == follow_id).values(signed_head=text))
    return True


def is_ahead(conn: Connection, follow: Row[Any], name: PageName) -> bool:
    """Tell whether a page is one that reading has yet to come to.

    One that is behind need not be here: it was in a snapshot, or is forgotten.
    """
    if follow.epoch == name.epoch:
        return bool(name.page > follow.page)
    c = remote_pages.c
    same = (c.follow_id == follow.id) & (c.epoch == name.epoch) & (c.page == name.page)
    if conn.execute(select(c.page).where(same)).first() is not None:
        return False
    return follow.published is None or bool(name.published >= follow.published)


def _is_newest(known: str | None, head: VerifiedHead) -> bool:
    """Tell whether a head is newer than the one kept: a later page, or of another epoch later."""
    if known is None:
        return True
    before, said = json.loads(known), head.document
    if before["epoch"] == said["epoch"]:
        return int(said["page"]) >= int(before["page"])
    return str(said["published"]) >= str(before["published"])


def _lag_pages(
    epoch: str | None, page: int, head_epoch: str | None, head_page: int | None
) -> int | None:
    if head_page is None or epoch not in (None, head_epoch):
        return None
    return max(0, head_page - page)


def _lag_seconds(
    pages: int | None, published: int | None, head_epoch: str | None, now: int
) -> int | None:
    if pages == 0:
        return 0
    return None if published is None or head_epoch is None else max(0, now - published)
