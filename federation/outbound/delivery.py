"""Delivers what the database says is to be delivered, in order, until it arrives.

A row's life:  waiting -> (2xx) deleted
               waiting -> (no connection, 401, 408, 429, 5xx) waiting, later
               waiting -> (other 4xx, blocked, or too many tries) dropped, kept with its error

A dropped row loses its body, and goes after the time that ids are kept. Once
`MAX_WAITING` rows wait for one inbox, further pages are not written down; answers always are.

Rows of one origin go out one after another; the first failure stops that origin until the
row's next try, so a host that is down is asked once per wait and not once per row; a host that
is slow has its turn cut short. Each row is read just before it is sent, so that what a rejection
or another process took away is not sent. A row is deleted only after the peer took it: a crash
sends twice, and the receiver knows the id. 410 also removes the follower. A dropped page is not
lost: the follower pulls it.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, followers
from federation.client import Client, Posted
from federation.errors import BlockedDomain, FederationError
from federation.origin import Url, origin_of
from federation.settings import FederationSettings

_log = logging.getLogger(__name__)
MAX_WAITING = 100  # rows for one inbox; a follower pulls the pages it was not sent
_ROWS_A_TURN = 50  # of one origin before others get their turn
_ORIGINS_A_TURN = 50


@dataclass(frozen=True, slots=True)
class Delivery:
    """One activity on its way to one inbox."""

    id: int
    activity_id: str
    inbox: Url
    body: str
    tries: int


def enqueue(conn: Connection, inbox: Url, activity: dict[str, object], now: int) -> None:
    """Write an activity down for delivery, in the caller's transaction; once per id and inbox.

    Where `MAX_WAITING` rows wait for the inbox already, a page is not written down.
    """
    to_inbox = deliveries.c.inbox == inbox
    known = select(deliveries.c.id).where(to_inbox, deliveries.c.activity_id == activity["id"])
    waiting = select(func.count()).where(to_inbox, deliveries.c.state == "waiting")
    has_room = activity["type"] != "Create" or (conn.scalar(waiting) or 0) < MAX_WAITING
    if conn.execute(known).first() is None and has_room:
        conn.execute(
            deliveries.insert().values(
                inbox=inbox,
                origin=origin_of(inbox),
                activity_id=activity["id"],
                body=json.dumps(activity, separators=(",", ":"), ensure_ascii=False),
                created=now,
                next_try=now,
            )
        )


class Deliverer:
    """Sends due rows; `before_sending` runs first (it notes the feeds' heads)."""

    def __init__(
        self,
        store: Store,
        client: Client,
        settings: FederationSettings,
        clock: Callable[[], int],
        before_sending: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._clock = clock
        self._before_sending = before_sending

    async def run_once(self) -> int:
        """Send what is due now, each origin in order; return how many rows were tried."""
        origins = await self._store.read(_due_origins, self._clock())
        if not origins:
            return 0
        await self._before_sending()
        return sum(await asyncio.gather(*(self._send_to(origin) for origin in origins)))

    async def _send_to(self, origin: str) -> int:
        clock = asyncio.get_running_loop().time
        ends = clock() + self._settings.fetch_seconds
        for sent in range(_ROWS_A_TURN):
            row = await self._store.read(_next_of, origin, self._clock())
            if row is None:
                return sent
            if not await self._send(row) or clock() >= ends:
                return sent + 1
        return _ROWS_A_TURN

    async def tidy(self) -> None:
        """Forget what was dropped long ago."""
        before = self._clock() - self._settings.inbox_keep_seconds
        await self._store.write(_forget, before)

    async def _send(self, row: Delivery) -> bool:
        """Send one row and write down what came of it; False stops its origin for now."""
        actor = str(json.loads(row.body)["actor"])
        try:
            answer = await self._client.post(row.inbox, row.body.encode(), actor)
        except BlockedDomain as error:
            await self._store.write(_dropped, row, str(error), False)
            return True
        except FederationError as error:
            return await self._again(row, str(error), None)
        if 200 <= answer.status < 300:
            await self._store.write(_delivered, row)
            return True
        return await self._refused(row, answer)

    async def _refused(self, row: Delivery, answer: Posted) -> bool:
        error = f"{row.inbox} answered {answer.status}"
        if answer.status in (401, 408, 429) or answer.status >= 500 or answer.status < 400:
            return await self._again(row, error, answer.retry_after)
        await self._store.write(_dropped, row, error, answer.status == 410)
        _log.warning("delivery dropped", extra={"action": "delivery_dropped", "error": error})
        return True

    async def _again(self, row: Delivery, error: str, retry_after: int | None) -> bool:
        if row.tries + 1 >= self._settings.delivery_tries:
            await self._store.write(_dropped, row, error, False)
            return True
        wait = backoff_seconds(row.tries, self._settings, random.random())  # noqa: S311
        wait = max(wait, min(retry_after or 0, self._settings.retry_seconds_max))
        await self._store.write(_postponed, row, self._clock() + wait, error)
        return False


def backoff_seconds(tries: int, settings: FederationSettings, dice: float) -> int:
    """Return the wait after failure number `tries` (from 0): doubling, +-25 % by `dice` 0..1."""
    wait: int = min(settings.retry_seconds * 2 ** min(tries, 32), settings.retry_seconds_max)
    return max(1, round(wait * (0.75 + dice / 2)))


def _due_origins(conn: Connection, now: int) -> list[str]:
    """Return the origins whose oldest waiting row is due."""
    first = (
        select(func.min(deliveries.c.id))
        .where(deliveries.c.state == "waiting")
        .group_by(deliveries.c.origin)
    )
    due = (
        select(deliveries.c.origin)
        .where(deliveries.c.id.in_(first), deliveries.c.next_try <= now)
        .order_by(deliveries.c.next_try)
        .limit(_ORIGINS_A_TURN)
    )
    return list(conn.execute(due).scalars())


def _next_of(conn: Connection, origin: str, now: int) -> Delivery | None:
    """Return the oldest waiting row of one origin, if it is due."""
    oldest = (
        select(deliveries)
        .where(deliveries.c.origin == origin, deliveries.c.state == "waiting")
        .order_by(deliveries.c.id)
        .limit(1)
    )
    row = conn.execute(oldest).first()
    if row is None or row.next_try > now:
        return None
    return Delivery(row.id, row.activity_id, row.inbox, row.body, row.tries)


def _same(row: Delivery) -> ColumnElement[bool]:
    """Name the row that was read: SQLite gives the id of a deleted last row to the next one."""
    return (deliveries.c.id == row.id) & (deliveries.c.activity_id == row.activity_id)


def _delivered(conn: Connection, row: Delivery) -> None:
    conn.execute(delete(deliveries).where(_same(row)))


def _postponed(conn: Connection, row: Delivery, next_try: int, error: str) -> None:
    conn.execute(
        update(deliveries)
        .where(_same(row))
        .values(tries=row.tries + 1, next_try=next_try, error=error)
    )


def _dropped(conn: Connection, row: Delivery, error: str, gone: bool) -> None:
    """Keep the row as dropped; where the inbox is gone for good, forget its followers."""
    conn.execute(
        update(deliveries)
        .where(_same(row))
        .values(state="dropped", tries=row.tries + 1, error=error, body="")
    )
    if gone:  # a rejection stays, or it could be shed by an inbox that says 410
        mine = (followers.c.inbox == row.inbox) & (followers.c.state != "rejected")
        conn.execute(delete(followers).where(mine))


def _forget(conn: Connection, before: int) -> None:
    dropped = deliveries.c.state == "dropped"
    conn.execute(delete(deliveries).where(dropped, deliveries.c.created < before))
