"""Whether a verified activity was asked for: follow accepted, Follow sent, exchange mutual.

Reads only; what was asked for is taken down by `inbox.py` and acted on by `queue.py`.
"""

from sqlalchemy import Connection, select

from cache.storage.feed_tables import inbox, is_received
from federation.actors.changing import is_bound
from federation.errors import NotAsked
from federation.following import follow
from federation.following.followers import check_limits, is_follower, own_feed
from federation.instance import Instance
from federation.origin import Url, origin_of
from federation.reading.heads import is_mutual
from federation.receiving.disputes import may_dispute
from federation.receiving.signed import SignedActivity
from federation.settings import FederationSettings
from federation.wire.activity import (
    AnnounceHeads,
    AnnouncePage,
    Answer,
    CreatePage,
    DeleteActor,
    Flag,
    Follow,
    Ignored,
    UndoFollow,
    UpdateActor,
)


def is_expected(
    conn: Connection, instance: Instance, settings: FederationSettings, signed: SignedActivity
) -> bool:
    """Tell whether a verified activity asks for work.

    Raises `NotAsked` for one that nobody here asked for, `TooManyRequests` for a Follow past the
    followers that there may be.
    """
    activity = signed.activity
    match activity:
        case Follow():
            is_wanted = _has_room(conn, instance, settings, activity)
        case UndoFollow():
            is_wanted = is_follower(conn, activity.actor) or _asks(conn, activity.actor)
        case Answer() | CreatePage() | AnnouncePage() | AnnounceHeads():
            is_wanted = _was_asked(conn, activity)
        case UpdateActor() | DeleteActor():
            is_wanted = is_bound(conn, activity.actor)
        case Flag():
            is_wanted = may_dispute(conn, instance, settings, activity)
        case Ignored():
            is_wanted = False
    return is_wanted


def _has_room(
    conn: Connection, instance: Instance, settings: FederationSettings, asked: Follow
) -> bool:
    feed = own_feed(instance, asked.object)
    if not is_follower(conn, asked.actor):
        check_limits(conn, settings, feed, origin_of(asked.actor))
    return True


def _asks(conn: Connection, actor_id: Url) -> bool:
    """Tell whether a Follow of the actor waits to be acted on: its Undo must not be lost."""
    c = inbox.c
    theirs = (c.origin == origin_of(actor_id)) & (c.actor_id == actor_id)
    asked = select(c.id).where(is_received, theirs, c.kind == Follow.__name__).limit(1)
    return conn.execute(asked).first() is not None


def _was_asked(
    conn: Connection, activity: Answer | CreatePage | AnnouncePage | AnnounceHeads
) -> bool:
    match activity:
        case Answer():
            was_asked = follow.was_asked(conn, activity)
        case CreatePage() | AnnouncePage():
            row = follow.by_actor(conn, activity.actor)
            was_asked = row is not None and row.state == follow.ACCEPTED
        case AnnounceHeads():
            was_asked = is_mutual(conn, origin_of(activity.actor))
    if not was_asked:
        message = f"{activity.actor} sends what nobody here asked it for"
        raise NotAsked(message)
    return True
