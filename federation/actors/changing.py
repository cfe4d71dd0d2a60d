"""What it means here that an actor changed, or is gone for good.

Decides nothing about whether that is so: a changed actor was fetched from its own id, and one
that is gone was asked for and is not there (`actors.is_gone`).
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from cache.memory.peer_rows import withdraw_rows
from cache.storage.feed_tables import followers, follows, remote_actors
from cache.trust.notices import tell
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import FEED_NAMES
from federation.following.inboxes import REJECTED, is_needed
from federation.outbound.waiting import stop_pages

GONE_KIND = "peer-gone"
"""The kind of notice that tells the admin of a followed feed that ended."""


def is_bound(conn: Connection, actor_id: str) -> bool:
    """Tell whether an actor follows us, is followed by us, or was asked or asks to."""
    bound = (select(t.c.id).where(t.c.actor_id == actor_id) for t in (followers, follows))
    return any(conn.execute(query).first() is not None for query in bound)


def note_update(conn: Connection, actor: RemoteActor) -> None:
    """Deliver to where the actor, fetched anew, says now."""
    values = {"inbox": actor.inbox, "shared_inbox": actor.shared_inbox}
    conn.execute(update(followers).where(followers.c.actor_id == actor.id).values(**values))


def forget_actor(conn: Connection, actor_id: str, now: int) -> None:
    """End what binds us to an actor that is gone: its Follow, ours, its verdicts, its keys.

    A rejection stays, or it could be shed by ending and beginning again.
    """
    _forget_follower(conn, actor_id)
    mine = follows.c.actor_id == actor_id
    for row in conn.execute(select(follows).where(mine)).all():
        withdraw_rows(conn, issuer_id=row.issuer_id, feed=Feed(row.feed), epoch=None)
        conn.execute(delete(follows).where(follows.c.id == row.id))
        text = f"{actor_id} has ended: its {FEED_NAMES[Feed(row.feed)]} verdicts are withdrawn"
        tell(conn, GONE_KIND, text, row.issuer_id, now=now)
    conn.execute(delete(remote_actors).where(remote_actors.c.actor_id == actor_id))


def _forget_follower(conn: Connection, actor_id: str) -> None:
    mine = followers.c.actor_id == actor_id
    rows = conn.execute(select(followers).where(mine, followers.c.state != REJECTED)).all()
    _stop_pages(conn, rows)
    conn.execute(delete(followers).where(mine, followers.c.state != REJECTED))


def _stop_pages(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    for row in rows:
        feed = Feed(row.feed)
        theirs = {url for url in (row.inbox, row.shared_inbox) if url is not None}
        alone = [url for url in theirs if not is_needed(conn, feed, url, without=row.id)]
        stop_pages(conn, feed, alone)
