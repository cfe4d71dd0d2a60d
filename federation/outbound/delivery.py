"""Delivers what the database says is to be delivered, in order for each host, until it arrives.

What an answer does to a row (`judge`):
    2xx                        it arrived: deleted
    no connection, 3xx, 5xx,
    401, 408, 429              later, when its host is asked again (`hosts.py`)
    404                        dropped; of a shared inbox the followers' own are told instead, once
    410                        dropped, and the follower with it (a rejection stays)
    any other, blocked         dropped

A row is tried `delivery_tries` times, and a page for `AWAY_SECONDS` at least, so that a host that
was away for weeks is told once how far the feed is (`waiting.py`); a row that is answered 401 is
tried `UNSIGNED_TRIES` times (by then a peer has fetched our key anew, and the client has knocked
with both kinds of signatures). A dropped page is not lost: the follower pulls it.

Hosts are delivered to side by side (`turns.py`), one row at a time each; the first failure ends
the turn of its host alone. Each row is read just before it is sent, so that what a rejection or
another process took away is not sent, and a page is sent only once its feed's head is noted. A row
is deleted only after the peer took it: a crash sends twice, and the receiver knows the id.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from sqlalchemy import Connection, delete, update

from cache.storage.database import Store
from cache.storage.feed_tables import deliveries
from cache.verdict import Feed
from federation.client import Client
from federation.errors import BlockedDomain, FederationError
from federation.following.inboxes import forget_gone, leave_shared
from federation.instance import Instance
from federation.outbound import hosts, waiting
from federation.outbound.hosts import Failure
from federation.outbound.waiting import Delivery
from federation.settings import FederationSettings
from federation.turns import Turns

_log = logging.getLogger(__name__)
UNSIGNED_TRIES: Final = 6
"""Tries of a row that is answered 401."""
AWAY_SECONDS: Final = 30 * 86_400
"""A page is not given up sooner, however often its host failed (one row a feed and inbox)."""

ROWS_A_TURN: Final = 50
"""Rows that one host is sent before others get their turn."""

_NOTED = 1_000  # pages whose head is known to be noted
_TIDY_ROWS = 1_000  # forgotten in one transaction


class Outcome(Enum):
    """What an inbox's answer means for what was sent."""

    ARRIVED = "arrived"
    LATER = "later"
    MISSING = "missing"  # there is no such inbox
    GONE = "gone"  # there will never be one again
    REFUSED = "refused"


def judge(status: int) -> Outcome:
    """Return what an HTTP status means."""
    if 200 <= status < 300:
        return Outcome.ARRIVED
    if status < 400 or status >= 500 or status in (401, 408, 429):
        return Outcome.LATER
    return {404: Outcome.MISSING, 410: Outcome.GONE}.get(status, Outcome.REFUSED)


class Deliverer:
    """Sends what waits; `before_sending` runs before a page is (it notes the feeds' heads)."""

    def __init__(
        self,
        store: Store,
        client: Client,
        settings: FederationSettings,
        instance: Instance,
        before_sending: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._instance = instance
        self._before_sending = before_sending
        self._noted: set[str] = set()
        self._noting = asyncio.Lock()
        self._turns = Turns(settings.delivery_hosts, settings.poll_seconds)

    async def run_once(self) -> int:
        """Send until nothing is due; return how many rows were tried."""
        return await self._turns.run(self._due, self._send_to)

    async def tidy(self) -> None:
        """Forget what was dropped long ago, and hosts that we have nothing to do with."""
        now = self._instance.clock()
        before, keep = now - self._settings.inbox_keep_seconds, self._settings.delivery_rows
        write = self._store.write
        while await write(waiting.forget_dropped, before, keep, _TIDY_ROWS):
            pass
        while await write(hosts.forget_hosts, now, _TIDY_ROWS):
            pass

    async def _due(self) -> list[str]:
        if await self._store.read(waiting.has_too_many, self._settings):
            await self._store.write(waiting.drop_past_limits, self._settings)
        return await self._store.read(waiting.due, self._instance.clock())

    async def _send_to(self, origin: str) -> int:
        """Send what waits for a host, in order, up to the end of its turn."""
        clock = asyncio.get_running_loop().time
        ends = clock() + self._settings.fetch_seconds
        for sent in range(ROWS_A_TURN):
            row = await self._store.read(waiting.next_of, origin)
            if row is None:
                return sent
            if not await self._send(row) or clock() >= ends:
                return sent + 1
        return ROWS_A_TURN

    async def _send(self, row: Delivery) -> bool:
        """Send one row and write down what came of it; False ends the turn of its host."""
        await self._note(row)
        try:
            answer = await self._client.post(row.inbox, row.body.encode(), self._actor(row))
        except BlockedDomain as error:
            await self._store.write(_give_up, row, str(error))
            _tell(str(error))
            return True
        except FederationError as error:
            return await self._later(row, None, str(error), None)
        return await self._answered(row, answer.status, answer.retry_after)

    async def _answered(self, row: Delivery, status: int, retry_after: int | None) -> bool:
        error, now = f"{row.inbox} answered {status}", self._instance.clock()
        match judge(status):
            case Outcome.ARRIVED:
                await self._store.write(_arrived, row, now)
                return True
            case Outcome.LATER:
                return await self._later(row, status, error, retry_after)
            case Outcome.MISSING:
                await self._store.write(_missing, row, error, now)
            case Outcome.GONE:
                await self._store.write(_gone, row, error, now)
            case Outcome.REFUSED:
                await self._store.write(_refused, row, error, now)
        _tell(error)
        return True

    async def _later(
        self, row: Delivery, status: int | None, error: str, retry_after: int | None
    ) -> bool:
        """Let the host rest; the row is given up after so many tries."""
        now, dice = self._instance.clock(), random.random()  # noqa: S311  # when, not what
        failure = Failure(error, now, retry_after, is_busy=status == 429)
        gives_up = self._gives_up(row, status, now)
        await self._store.write(_failed, row, failure, self._settings, dice, gives_up)
        if gives_up:
            _tell(error)
        return False

    def _gives_up(self, row: Delivery, status: int | None, now: int) -> bool:
        if status == 401 and row.tries + 1 >= UNSIGNED_TRIES:
            return True
        is_kept = row.feed is not None and now - row.created < AWAY_SECONDS
        return not is_kept and row.tries + 1 >= self._settings.delivery_tries

    async def _note(self, row: Delivery) -> None:
        """Have the feed's head noted before its page is sent."""
        if row.feed is None:
            return
        async with self._noting:  # the same page goes to many hosts at once
            if row.activity_id in self._noted:
                return
            await self._before_sending()
            if len(self._noted) >= _NOTED:
                self._noted.clear()
            self._noted.add(row.activity_id)

    def _actor(self, row: Delivery) -> str:
        if row.feed is not None:
            return self._instance.feed_id(row.feed)
        return str(json.loads(row.body)["actor"])


def _tell(error: str) -> None:
    _log.warning("delivery dropped", extra={"action": "delivery_dropped", "error": error})


def _arrived(conn: Connection, row: Delivery, now: int) -> None:
    conn.execute(delete(deliveries).where(waiting.same(row)))
    hosts.note_answer(conn, row.origin, now)


def _failed(
    conn: Connection,
    row: Delivery,
    failure: Failure,
    settings: FederationSettings,
    dice: float,
    gives_up: bool,
) -> None:
    host = hosts.after_failure(hosts.read_host(conn, row.origin), failure, settings, dice)
    hosts.note_failure(conn, row.origin, host, failure.error)
    values = {"tries": row.tries + 1, "next_try": host.open_until, "error": failure.error}
    conn.execute(update(deliveries).where(waiting.same(row)).values(**values))
    if gives_up:
        _give_up(conn, row, failure.error)
    if host.is_open or failure.is_busy or host.failures >= settings.host_failures:
        waiting.collapse(conn, row.origin)


def _give_up(conn: Connection, row: Delivery, error: str) -> None:
    waiting.drop(conn, waiting.same(row), error)


def _refused(conn: Connection, row: Delivery, error: str, now: int) -> None:
    _give_up(conn, row, error)
    hosts.note_answer(conn, row.origin, now)


def _missing(conn: Connection, row: Delivery, error: str, now: int) -> None:
    """Tell the own inboxes of those who named a shared one that is not there."""
    for feed, inboxes in leave_shared(conn, row.inbox).items():
        page = waiting.newest_page(conn, row.inbox, feed)
        if page is not None:
            waiting.stop_pages(conn, feed, [row.inbox])
            waiting.announce_page(conn, feed, inboxes, page, now)
    _refused(conn, row, error, now)


def _gone(conn: Connection, row: Delivery, error: str, now: int) -> None:
    _missing(conn, row, error, now)
    forget_gone(conn, row.inbox)
    for feed in Feed:
        waiting.stop_pages(conn, feed, [row.inbox])
