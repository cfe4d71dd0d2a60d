"""What it means here that an actor changed, or is gone for good."""

from sqlalchemy import Connection, select, update

from cache.storage.feed_tables import followers, follows
from federation.actors.remote_actor import RemoteActor


def is_bound(conn: Connection, actor_id: str) -> bool:
    """Tell whether an actor follows us, is followed by us, or was asked or asks to."""
    bound = (select(t.c.id).where(t.c.actor_id == actor_id) for t in (followers, follows))
    return any(conn.execute(query).first() is not None for query in bound)


def note_update(conn: Connection, actor: RemoteActor) -> None:
    """Deliver to where the actor, fetched anew, says now."""
    values = {"inbox": actor.inbox, "shared_inbox": actor.shared_inbox}
    conn.execute(update(followers).where(followers.c.actor_id == actor.id).values(**values))


def forget_actor(conn: Connection, actor_id: str) -> None:
    """End what binds us to an actor that is gone."""
