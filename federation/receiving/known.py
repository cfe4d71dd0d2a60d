"""Whom we know, kept in memory: a flood in made-up names reads no database.

Known is whose actor is remembered (`remote_actors`, which is bounded), so that verifying it needs
no fetch. Other processes remember actors too: the ids are read anew when their count or the
newest row changed, which is looked at once in `seconds`. Somebody who is not found is looked up
in the database itself `LOOKUPS_PER_SECOND` times, so that who became known just now is let in at
once, and past that counts as unknown until the ids are read anew.
"""

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, func, select, union_all

from cache.storage.database import Store
from cache.storage.feed_tables import followers, follows, remote_actors
from cache.storage.tables import issuers
from federation.following.inboxes import APPROVED

LOOKUPS_PER_SECOND: Final = 20
PEERS: Final = union_all(
    select(followers.c.origin).where(followers.c.state == APPROVED),
    select(issuers.c.origin).join(follows, follows.c.issuer_id == issuers.c.id),
)
"""The origins that the admin said yes to: of approved followers, and of feeds that we follow."""

_Stamp = tuple[int, int | None]  # how many rows there are, and the id of the newest


class KnownActors:
    """The ids of remembered actors, for one process."""

    def __init__(
        self, store: Store, seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._monotonic = monotonic
        self._ids: set[str] = set()
        self._stamp: _Stamp = (0, None)
        self._looked = float("-inf")
        self._second, self._lookups = 0, 0

    async def has(self, actor_id: str) -> bool:
        """Tell whether an actor is remembered."""
        await self._renew()
        if actor_id in self._ids:
            return True
        if not self._may_look_up() or not await self._store.read(_is_remembered, actor_id):
            return False
        self._ids.add(actor_id)
        return True

    async def _renew(self) -> None:
        now = self._monotonic()
        if now - self._looked < self._seconds:
            return
        self._looked = now
        stamp = await self._store.read(_stamp)
        if stamp != self._stamp:
            self._ids, self._stamp = await self._store.read(_read_ids), stamp

    def _may_look_up(self) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._lookups = second, 0
        self._lookups += 1
        return self._lookups <= LOOKUPS_PER_SECOND


def is_peer(conn: Connection, origin: str) -> bool:
    """Tell whether an origin is one of `PEERS`."""
    named = PEERS.subquery()
    return conn.execute(select(named.c.origin).where(named.c.origin == origin)).first() is not None


def _stamp(conn: Connection) -> _Stamp:
    count, newest = conn.execute(select(func.count(), func.max(remote_actors.c.id))).one()
    return count, newest


def _read_ids(conn: Connection) -> set[str]:
    return set(conn.execute(select(remote_actors.c.actor_id)).scalars())


def _is_remembered(conn: Connection, actor_id: str) -> bool:
    known = select(remote_actors.c.id).where(remote_actors.c.actor_id == actor_id)
    return conn.execute(known).first() is not None
