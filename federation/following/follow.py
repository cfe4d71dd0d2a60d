"""The feeds that we follow: pending -> accepted | rejected; unfollowing deletes the row.

Decides what a peer's answer does to a follow: only the feed that was asked answers, only to the
Follow that was sent last, as often as it changes its mind. One that ends what it had accepted is
read no more, its verdicts stay until they expire, and the admin is told. Everything here writes
rows and deliveries in the caller's transaction and sends nothing itself, so the CLI may call it
while `serve` runs: the loops there send what was written, and pull a feed once it accepts.
"""

import secrets
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from cache.memory.peer_rows import withdraw_rows
from cache.settings import PeerDefaults
from cache.storage.feed_tables import follows
from cache.trust import trust
from cache.trust.notices import tell
from cache.verdict import Feed
from federation.actors.discover import FoundFeed
from federation.errors import BadHandle
from federation.instance import Instance
from federation.origin import Url
from federation.outbound.waiting import enqueue
from federation.wire.activity import Answer, Follow
from federation.wire.composing import build_follow, build_undo

PENDING = "pending"
ACCEPTED = "accepted"
REJECTED = "rejected"
ENDED = "follow-ended"
"""The kind of notice that tells of a feed which ended what it had accepted."""


def request_follow(
    conn: Connection, instance: Instance, found: FoundFeed, defaults: PeerDefaults
) -> str:
    """Ask to follow a feed and return the follow's state; asking again sends a new Follow."""
    known = by_actor(conn, found.actor.id)
    if known is not None and known.state == ACCEPTED:
        return ACCEPTED
    now = instance.clock()
    follow_id = f"{instance.id}/follows/{secrets.token_hex(16)}"
    values: dict[str, object] = {
        "state": PENDING,
        "follow_id": follow_id,
        "handle": found.handle,
        "error": None,
    }
    if known is None:
        issuer_id = trust.add_peer(conn, found.actor.origin, defaults, now=now)
        values |= {"actor_id": found.actor.id, "issuer_id": issuer_id, "created": now}
        conn.execute(insert(follows).values(feed=int(found.feed), **values))
    else:
        conn.execute(update(follows).where(follows.c.id == known.id).values(**values))
    activity = build_follow(follow_id, instance.id, found.actor.id)
    enqueue(conn, found.actor.inbox, activity, now)
    return PENDING


def unfollow(conn: Connection, instance: Instance, name: str, inbox: Url) -> None:
    """End following the feed `name` (handle or actor id): send an Undo, drop its verdicts."""
    row = named(conn, name)
    sent = Follow(Url(row.follow_id), instance.id, row.actor_id)
    enqueue(conn, inbox, build_undo(f"{row.follow_id}/undo", sent), instance.clock())
    withdraw_rows(conn, issuer_id=row.issuer_id, feed=Feed(row.feed), epoch=None)
    conn.execute(delete(follows).where(follows.c.id == row.id))


def was_asked(conn: Connection, answer: Answer) -> bool:
    """Tell whether the answer's actor is a feed that we sent this very Follow."""
    row = by_actor(conn, answer.actor)
    return row is not None and row.follow_id == answer.follow_id


def note_answer(conn: Connection, answer: Answer, now: int) -> None:
    """Write down what a feed answered to our Follow; an accepted feed is due to be pulled."""
    row = by_actor(conn, answer.actor)
    state = ACCEPTED if answer.accepted else REJECTED
    if row is None or row.follow_id != answer.follow_id or row.state == state:
        return
    values = {"state": state, "next_try": 0, "tries": 0, "error": None}
    conn.execute(update(follows).where(follows.c.id == row.id).values(**values))
    if row.state == ACCEPTED:
        text = (
            f"{answer.actor} lets us read it no more. Its verdicts here stay until they expire; "
            "`fediverdict peers unfollow` drops them."
        )
        tell(conn, ENDED, text, row.issuer_id, now=now)


def by_actor(conn: Connection, actor_id: str) -> Row[Any] | None:
    """Return the row of `follows` of a feed actor."""
    return conn.execute(select(follows).where(follows.c.actor_id == actor_id)).first()


def named(conn: Connection, name: str) -> Row[Any]:
    """Return the row of `follows` of a feed, by its handle or actor id; raises `BadHandle`."""
    handle = name.removeprefix("@")
    same = or_(follows.c.actor_id == name, follows.c.handle == handle)
    row = conn.execute(select(follows).where(same)).first()
    if row is None:
        message = f"{name} is not followed here; see `fediverdict peers list`"
        raise BadHandle(message)
    return row
