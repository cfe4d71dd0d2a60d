"""Which inboxes the pages of a feed go to.

A page goes once to a shared inbox where two or more approved followers of that very feed name it,
else to the follower's own. A shared inbox is of its actors' origin (`remote_actor` refuses any
other), so it hands the page to a server that an approved follower lives on, and that reads its
pages anyway; whether it shows them to others of its actors is that server's word, as it is with
every post to followers. An origin without an approved follower of the feed is sent nothing.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from cache.storage.feed_tables import followers
from cache.verdict import Feed
from federation.origin import Url

APPROVED = "approved"
REJECTED = "rejected"
_Inboxes = Row[Any, Any, Any]  # id, inbox, shared_inbox


def page_inboxes(conn: Connection, feed: Feed) -> list[Url]:
    """Return where a page of `feed` is sent, each inbox once."""
    rows = _approved(conn, feed)
    shared = Counter(row.shared_inbox for row in rows if row.shared_inbox)
    return list(dict.fromkeys(_inbox(row, shared) for row in rows))


def is_needed(conn: Connection, feed: Feed, inbox: str, *, without: int) -> bool:
    """Tell whether an approved follower other than row `without` has pages sent to `inbox`."""
    rows = _approved(conn, feed)
    return any(inbox in (row.inbox, row.shared_inbox) for row in rows if row.id != without)


def leave_shared(conn: Connection, shared_inbox: str) -> dict[Feed, list[Url]]:
    """Use a shared inbox that is not there no more; return the own inboxes of its followers."""
    mine = followers.c.shared_inbox == shared_inbox
    rows = conn.execute(select(followers).where(mine, followers.c.state == APPROVED)).all()
    conn.execute(update(followers).where(mine).values(shared_inbox=None))
    found: dict[Feed, list[Url]] = {}
    for row in rows:
        found.setdefault(Feed(row.feed), []).append(Url(row.inbox))
    return found


def forget_gone(conn: Connection, inbox: str) -> None:
    """Forget the followers whose own inbox is gone for good.

    A rejection stays, or it could be shed by an inbox that says so.
    """
    mine = (followers.c.inbox == inbox) & (followers.c.state != REJECTED)
    conn.execute(delete(followers).where(mine))


def _approved(conn: Connection, feed: Feed) -> Sequence[_Inboxes]:
    c = followers.c
    query = select(c.id, c.inbox, c.shared_inbox).order_by(c.id)
    return conn.execute(query.where(c.feed == int(feed), c.state == APPROVED)).all()


def _inbox(row: _Inboxes, shared: Counter[str]) -> Url:
    return Url(row.shared_inbox if shared[row.shared_inbox] > 1 else row.inbox)
