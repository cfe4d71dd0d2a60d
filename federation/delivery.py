"""Delivers what the database says is to be delivered, in order, until it arrives.

A row's life:  waiting -> (2xx) deleted
               waiting -> (no connection, 401, 408, 429, 5xx) waiting, later
               waiting -> (other 4xx, or too many tries) dropped, kept with its error

Rows of one origin go out one after another; the first failure stops that origin until the
row's next try, so a host that is down is asked once per wait and not once per row. A row is
deleted only after the peer took it: a crash sends twice, and the receiver knows the id.
410 also removes the follower. A dropped page is not lost: the follower pulls it.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from cache.database import Store
from cache.feed_tables import deliveries, followers
from federation.client import Client, Posted
from federation.errors import FederationError
from federation.origin import Url, origin_of
from federation.settings import FederationSettings

_log = logging.getLogger(__name__)
_ROWS_A_TURN = 50  # of one origin before others get their turn
_ORIGINS_A_TURN = 50


@dataclass(frozen=True, slots=True)
class Delivery:
    """One activity on its way to one inbox."""

    id: int
    inbox: Url
    body: str
    tries: int


def enqueue(conn: Connection, inbox: Url, activity: dict[str, object], now: int) -> None:
    """Write an activity down for delivery, in the caller's transaction; once per id and inbox."""
    known = select(deliveries.c.id).where(
        deliveries.c.inbox == inbox, deliveries.c.activity_id == activity["id"]
    )
    if conn.execute(known).first() is None:
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
        rows = await self._store.read(_waiting, origin)
        for sent, row in enumerate(rows, start=1):
            if not await self._send(row):
                return sent
        return len(rows)

    async def _send(self, row: Delivery) -> bool:
        """Send one row and write down what came of it; False stops its origin for now."""
        actor = str(json.loads(row.body)["actor"])
        try:
            answer = await self._client.post(row.inbox, row.body.encode(), actor)
        except FederationError as error:
            return await self._again(row, str(error), None)
        if 200 <= answer.status < 300:
            await self._store.write(_delivered, row.id)
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


def _waiting(conn: Connection, origin: str) -> list[Delivery]:
    """Return the oldest waiting rows of one origin, in the order they were written."""
    rows = (
        select(deliveries.c.id, deliveries.c.inbox, deliveries.c.body, deliveries.c.tries)
        .where(deliveries.c.origin == origin, deliveries.c.state == "waiting")
        .order_by(deliveries.c.id)
        .limit(_ROWS_A_TURN)
    )
    return [Delivery(*row) for row in conn.execute(rows)]


def _delivered(conn: Connection, row_id: int) -> None:
    conn.execute(delete(deliveries).where(deliveries.c.id == row_id))


def _postponed(conn: Connection, row: Delivery, next_try: int, error: str) -> None:
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(tries=row.tries + 1, next_try=next_try, error=error)
    )


def _dropped(conn: Connection, row: Delivery, error: str, gone: bool) -> None:
    """Keep the row as dropped; where the inbox is gone for good, forget its followers."""
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(state="dropped", tries=row.tries + 1, error=error)
    )
    if gone:
        conn.execute(delete(followers).where(followers.c.inbox == row.inbox))
