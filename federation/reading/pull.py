"""Pulls what is missing of followed feeds, some of them side by side, each a turn at a time.

Decides when a feed is asked: at `next_try`, which a push or an announcement sets to now. What fails
is written to the follow (`error`, `tries`, `next_try`) and tried again, later and later and not
before the peer said (`Retry-After`); an origin that does not answer rests with all its feeds.
A feed with more than a turn takes comes back behind the others. A halted feed is not asked.
"""

import asyncio
import logging
import random
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from cache.errors import CacheError
from cache.storage.database import Store
from cache.storage.feed_tables import follows
from federation.actors.actors import Actors
from federation.client import AnsweredWith, Client
from federation.errors import FederationError, FetchFailed
from federation.following import follow
from federation.instance import Instance
from federation.origin import Origin, Url, origin_of
from federation.outbound.backoff import backoff_seconds, jittered
from federation.outbound.breaker import Breaker
from federation.reading.catching_up import CatchingUp, Turn
from federation.reading.fetching import MISSING, Budget, Fetcher
from federation.reading.probing import Dice
from federation.settings import FederationSettings
from federation.signing.verifying import Verifier

_log = logging.getLogger(__name__)
_FEEDS_AT_ONCE: Final = 4
_TURN_SECONDS: Final = 30  # after which a feed that has still more waits for the others
_LEASE_SECONDS: Final = 60  # after which a pull that a crash cut off is due again
_DUE: Final = (  # made once, for it is asked at every turn
    select(follows.c.id, follows.c.actor_id, follows.c.tries)
    .where(
        follows.c.state == follow.ACCEPTED,
        follows.c.halted.is_(None),
        follows.c.next_try <= bindparam("now"),
    )
    .order_by(follows.c.next_try)
    .limit(_FEEDS_AT_ONCE)
)


class Puller:
    """Asks followed feeds for what is missing."""

    def __init__(
        self,
        store: Store,
        client: Client,
        actors: Actors,
        verifier: Verifier,
        instance: Instance,
        settings: FederationSettings,
    ) -> None:
        self._store, self._client, self._actors = store, client, actors
        self._verifier, self._instance, self._settings = verifier, instance, settings
        self.dice: Dice = random.random
        self._breakers: dict[Origin, Breaker] = {}  # of feeds that we follow alone

    async def run_once(self) -> int:
        """Pull the feeds that are due; return how many."""
        now = self._instance.clock()
        due, lease = await self._store.read(_due, now), now + _LEASE_SECONDS
        if not due:
            return 0
        await self._store.write(_set_next, [row.id for row in due], lease)
        await asyncio.gather(*(self._pull(row, lease) for row in due))
        return len(due)

    async def _pull(self, row: Row[Any], lease: int) -> None:
        """Pull one feed and write down how that went, unless it was asked for again meanwhile."""
        breaker = self._breaker(origin_of(Url(row.actor_id)))
        if breaker.lets_through(self._instance.clock()):
            values, wait = await self._try(row, breaker)
        else:
            values, wait = {}, jittered(self._settings.breaker_seconds, random.random())  # noqa: S311
        next_try = self._instance.clock() + wait
        await self._store.write(_note, row.id, values, lease, next_try)

    async def _try(self, row: Row[Any], breaker: Breaker) -> tuple[dict[str, object], int]:
        """Give a feed its turn; return what is to be noted, and how long to wait after it."""
        now = self._instance.clock()
        try:
            turn = await self._turn(row)
        except (FederationError, CacheError) as error:
            _log.warning("%s: %s", row.actor_id, error, extra={"action": "pull_failed"})
            if _is_silence(error):
                breaker.failed(now)
            else:
                breaker.succeeded()
            return {"error": str(error), "tries": row.tries + 1}, self._wait(row.tries, error)
        except BaseException:
            breaker.gave_up()
            raise
        breaker.succeeded()
        wait = 0 if turn is Turn.MORE else self._settings.pull_seconds
        return {"pulled": now, "error": None, "tries": 0}, wait

    async def _turn(self, row: Row[Any]) -> Turn:
        settings = self._settings
        ends = asyncio.get_running_loop().time() + _TURN_SECONDS
        budget = Budget(settings.pull_documents, settings.pull_bytes, ends)
        actor = await self._actors.get(Url(row.actor_id))
        fetcher = Fetcher(actor, budget, self._client, self._verifier, self._instance, settings)
        parts = (fetcher, self._store, self._instance, settings, self.dice)
        return await CatchingUp(row.id, *parts).run()

    def _wait(self, tries: int, error: Exception) -> int:
        """Return the seconds to wait after a failure."""
        wait = backoff_seconds(tries, self._settings, random.random())  # noqa: S311
        asked = error.retry_after if isinstance(error, AnsweredWith) else None
        return max(wait, min(asked or 0, self._settings.retry_seconds_max))

    def _breaker(self, origin: Origin) -> Breaker:
        known = self._settings
        return self._breakers.setdefault(
            origin,
            Breaker(known.breaker_failures, known.breaker_seconds, known.breaker_seconds_max),
        )


def _is_silence(error: Exception) -> bool:
    """Tell whether the peer did not answer, from an answer that is no use."""
    answered = isinstance(error, AnsweredWith) and error.code in (*MISSING, 401, 403)
    return isinstance(error, FetchFailed) and not answered


def pull_all_soon(conn: Connection) -> None:
    """Let every accepted feed be asked at the next turn: what came while we were down?"""
    conn.execute(update(follows).where(follows.c.state == follow.ACCEPTED).values(next_try=0))


def _due(conn: Connection, now: int) -> list[Row[Any]]:
    return list(conn.execute(_DUE, {"now": now}))


def _set_next(conn: Connection, follow_ids: list[int], next_try: int) -> None:
    conn.execute(update(follows).where(follows.c.id.in_(follow_ids)).values(next_try=next_try))


def _note(
    conn: Connection, follow_id: int, values: dict[str, object], lease: int, next_try: int
) -> None:
    same = (follows.c.id == follow_id) & follows.c.halted.is_(None)
    if values:
        conn.execute(update(follows).where(same).values(**values))
    held = follows.c.next_try == lease
    conn.execute(update(follows).where(same, held).values(next_try=next_try))
