"""How deliveries to a host go, for an admin to see; changes nothing."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from cache.storage.feed_tables import deliveries, followers, is_waiting
from cache.storage.peer_tables import hosts
from federation.outbound.hosts import Host, read_host


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What waits for an origin and how it answered lately; times in epoch seconds."""

    origin: str
    host: Host
    waiting: int = 0
    oldest: int | None = None  # when the first that waits was written
    dropped: int = 0
    succeeded: int | None = None
    error: str | None = None  # of the last failure; of the last drop, where none is newer


def delivery_state(conn: Connection, origin: str) -> DeliveryState:
    """Return how deliveries to an origin go."""
    c = deliveries.c
    mine = c.origin == origin
    waiting, oldest = conn.execute(
        select(func.count(), func.min(c.created)).where(is_waiting, mine)
    ).one()
    is_dropped = mine & (c.state == "dropped")
    dropped = conn.scalar(select(func.count()).where(is_dropped)) or 0
    last = conn.scalar(select(c.error).where(is_dropped).order_by(c.id.desc()).limit(1))
    known = select(hosts.c.succeeded, hosts.c.error).where(hosts.c.origin == origin)
    row = conn.execute(known).first()
    return DeliveryState(
        origin,
        read_host(conn, origin),
        waiting,
        oldest,
        dropped,
        row.succeeded if row else None,
        (row.error if row else None) or last,
    )


def delivery_states(conn: Connection) -> list[DeliveryState]:
    """Return every origin that follows us, or that something waits for."""
    mine = select(followers.c.origin)
    theirs = select(deliveries.c.origin)
    origins = conn.execute(mine.union(theirs)).scalars()
    return [delivery_state(conn, origin) for origin in sorted(origins)]
