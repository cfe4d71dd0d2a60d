"""Peers' actors: fetched from their own id, checked, remembered in `remote_actors`.

Its law: an actor comes only from the URL that is its id, over TLS. Nobody makes us fetch at
will: one try per actor in `key_refetch_seconds`, whether it succeeded or not, and for actors
that nobody follows `key_fetches_per_minute` over all of them. Key ids are never fetched: the
actor that a message names must list the key. An actor is believed for a day, so that a key
which its peer took back does not count for ever. Rows that nobody follows are bounded.
"""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakValueDictionary

from sqlalchemy import Connection, bindparam, delete, func, select, update

from cache.storage.database import Store
from cache.storage.feed_tables import followers, follows, remote_actors
from cache.storage.rows import insert_into
from federation.actors.changing import is_bound, note_update
from federation.actors.remote_actor import RemoteActor, parse_actor
from federation.client import AnsweredWith, Client
from federation.errors import FederationError, FetchFailed, TooManyRequests
from federation.origin import Url
from federation.outbound.media import Kind
from federation.settings import FederationSettings
from federation.wire.strictjson import JsonObject, parse, to_text

_BELIEVED_SECONDS = 86_400  # after that an actor is fetched again, if it can be
_REMEMBERED_TRIES = 10_000  # actors whose last try is kept in memory
_PARSED_ACTORS = 128  # kept in memory as parsed
_c = remote_actors.c
_REMEMBERED = select(_c.document, _c.fetched).where(_c.actor_id == bindparam("actor_id"))


class Actors:
    """The actors of peers; all times come from `clock`, in epoch seconds.

    `react` runs in the transaction that stores a fetched actor, for whatever reason it was
    fetched: what its document says now holds here from then on.
    """

    def __init__(
        self,
        store: Store,
        client: Client,
        settings: FederationSettings,
        clock: Callable[[], int],
        instance_id: Url,
        react: Callable[[Connection, RemoteActor], object] = note_update,
    ) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._clock = clock
        self._instance_id = instance_id
        self._react = react
        self._tried: OrderedDict[str, int] = OrderedDict()
        self._strangers: deque[int] = deque()  # times of fetches for actors nobody follows
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def known(self, actor_id: str) -> RemoteActor | None:
        """Return the actor as remembered, or None; fetches nothing."""
        remembered = await self._store.read(_remembered, actor_id)
        return None if remembered is None else self._parsed(remembered, actor_id)

    async def get(self, actor_id: Url) -> RemoteActor:
        """Return the actor as remembered, else fetched within the limits, once for all askers."""
        async with self._locks.setdefault(actor_id, asyncio.Lock()):
            remembered = await self._store.read(_remembered, actor_id)
            if remembered is None:
                return await self.refetch(actor_id)
            known = self._parsed(remembered, actor_id)
            if remembered.fetched > self._clock() - _BELIEVED_SECONDS:
                return known
            return await self._renewed(known)

    async def _renewed(self, known: RemoteActor) -> RemoteActor:
        """Return the actor fetched anew, or as it was known while its peer cannot be asked."""
        try:
            return await self.refetch(known.id)
        except FederationError:
            return known

    async def refetch(self, actor_id: Url) -> RemoteActor:
        """Fetch the actor anew within the limits; raises `TooManyRequests` past them."""
        now = self._clock()
        last = await self._last_try(actor_id)
        if last is not None and now - last < self._settings.key_refetch_seconds:
            message = f"{actor_id} was fetched {now - last} s ago, it is not asked again yet"
            raise TooManyRequests(message)
        if not await self._store.read(is_bound, actor_id):
            self._count_stranger(now)
        return await self.fetch(actor_id)

    async def renew(self, actor_id: Url) -> None:
        """Fetch the actor anew; where that cannot be done now, it is done when next it is used.

        So an `Update` never holds up what its actor sends after it.
        """
        try:
            await self.refetch(actor_id)
        except FederationError:
            await self._store.write(_doubt, actor_id)

    async def is_gone(self, actor_id: Url) -> bool:
        """Tell whether the actor's own id says that it is gone, asked within the limits.

        Raises `FetchFailed` where that cannot be told, `TooManyRequests` past the limits.
        """
        try:
            await self.refetch(actor_id)
        except AnsweredWith as error:
            if error.code in (404, 410):
                return True
            raise
        return False

    async def fetch(self, actor_id: Url) -> RemoteActor:
        """Fetch the actor now, at an admin's or our own wish; raises a `FederationError`."""
        now = self._clock()
        self._note_try(actor_id, now)
        answer = await self._client.get(
            actor_id, Kind.ACTIVITY, self._settings.document_bytes, self._instance_id
        )
        if answer.url != actor_id:
            message = f"{actor_id} redirects to {answer.url}: that is not its id"
            raise FetchFailed(message)
        document = parse(answer.body, self._settings.document_bytes)
        actor = self._parse(document, actor_id)
        await self._store.write(self._take_over, actor, document, now)
        return actor

    def _take_over(
        self, conn: Connection, actor: RemoteActor, document: JsonObject, now: int
    ) -> None:
        _remember(conn, actor, document, now, self._settings.remote_actors)
        self._react(conn, actor)

    def _parse(self, document: JsonObject, actor_id: str) -> RemoteActor:
        http = self._settings.allow_private_addresses
        return parse_actor(document, actor_id, allow_http=http)

    def _parsed(self, remembered: "_Remembered", actor_id: str) -> RemoteActor:
        http = self._settings.allow_private_addresses
        return _parse_text(remembered.text, actor_id, allow_http=http)

    async def _last_try(self, actor_id: str) -> int | None:
        """Return when the actor was last asked; before this process began, when it answered."""
        if actor_id not in self._tried:
            remembered = await self._store.read(_remembered, actor_id)
            if remembered is None:
                return None
            self._note_try(actor_id, remembered.fetched)
        return self._tried[actor_id]

    def _note_try(self, actor_id: str, now: int) -> None:
        self._tried[actor_id] = now
        self._tried.move_to_end(actor_id)
        while len(self._tried) > _REMEMBERED_TRIES:
            self._tried.popitem(last=False)

    def _count_stranger(self, now: int) -> None:
        while self._strangers and self._strangers[0] <= now - 60:
            self._strangers.popleft()
        if len(self._strangers) >= self._settings.key_fetches_per_minute:
            message = "more unknown actors in a minute than we are willing to fetch"
            raise TooManyRequests(message)
        self._strangers.append(now)


@dataclass(frozen=True, slots=True)
class _Remembered:
    text: str  # of the document
    fetched: int


@lru_cache(_PARSED_ACTORS)
def _parse_text(text: str, actor_id: str, *, allow_http: bool) -> RemoteActor:
    """Return the actor of a document as it is stored; parsing takes longer than verifying."""
    return parse_actor(json.loads(text), actor_id, allow_http=allow_http)


def _remembered(conn: Connection, actor_id: str) -> _Remembered | None:
    row = conn.execute(_REMEMBERED, {"actor_id": actor_id}).first()
    return None if row is None else _Remembered(*row)


def _doubt(conn: Connection, actor_id: str) -> None:
    """Believe what is remembered of an actor no longer than until it can be fetched."""
    mine = remote_actors.c.actor_id == actor_id
    conn.execute(update(remote_actors).where(mine).values(fetched=0))


def _remember(
    conn: Connection, actor: RemoteActor, document: JsonObject, now: int, limit: int
) -> None:
    """Store the actor, and drop the oldest of those that nobody follows past `limit` rows."""
    values = {"document": to_text(document), "fetched": now}
    upsert = insert_into(conn, remote_actors).values(
        actor_id=actor.id, origin=actor.origin, **values
    )
    conn.execute(upsert.on_conflict_do_update(index_elements=["actor_id"], set_=values))
    count = conn.scalar(select(func.count()).select_from(remote_actors)) or 0
    if count > limit:
        _drop_oldest(conn, count - limit, actor.id)


def _drop_oldest(conn: Connection, count: int, keep: str) -> None:
    oldest = (
        select(remote_actors.c.id)
        .where(
            remote_actors.c.actor_id != keep,
            remote_actors.c.actor_id.not_in(select(followers.c.actor_id)),
            remote_actors.c.actor_id.not_in(select(follows.c.actor_id)),
        )
        .order_by(remote_actors.c.fetched)
        .limit(count)
    )
    conn.execute(delete(remote_actors).where(remote_actors.c.id.in_(oldest)))
