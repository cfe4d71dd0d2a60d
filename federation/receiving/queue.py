"""Acts on what the inbox took down: actors side by side, each one's rows in the order they came.

A row's life:  received -> done | failed (kept with its error, its body dropped)

Each row is acted on in one transaction with its effects (`effects.py`), so a crash anywhere loses
nothing, and one in between acts again, which does no harm. What cannot be done now (the actor
cannot be asked) is tried again later, and what the same actor sent after it waits for it: an Undo
must not overtake its Follow. What will never work is marked failed. Ids of rows acted on are kept
for `inbox_keep_seconds` to know a replay by, the newest `inbox_kept_rows` of them at most.
"""

import json
import logging
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from cache.errors import CacheError
from cache.storage.database import Store
from cache.storage.feed_tables import early_retractions, inbox, is_received
from cache.storage.rows import batches
from federation.errors import FederationError, FetchFailed, TooManyRequests
from federation.instance import Instance
from federation.origin import Url, origin_of
from federation.outbound.backoff import backoff_seconds
from federation.receiving.effects import Effect, Effects
from federation.receiving.inbox import RECEIVED
from federation.settings import FederationSettings
from federation.turns import Turns
from federation.wire.activity import parse_activity

_log = logging.getLogger(__name__)
ROWS_A_TURN: Final = 50
"""Rows of one actor that are acted on before others get their turn."""

_MAX_DUE = 1_000  # actors looked at in one turn
_TIDY_ROWS = 1_000  # forgotten in one transaction
_c = inbox.c
# Statements are made once, for that takes longer than running them.
_NEXT = (
    select(_c.id, _c.activity_id, _c.body, _c.tries, _c.next_try)
    .where(is_received, _c.origin == bindparam("origin"), _c.actor_id == bindparam("actor_id"))
    .order_by(_c.id)
    .limit(1)
)
_OLDEST = (
    select(func.min(_c.id).label("id"))
    .where(is_received)
    .group_by(_c.origin, _c.actor_id)
    .subquery()
)
_DUE = (
    select(_c.actor_id)
    .join(_OLDEST, _OLDEST.c.id == _c.id)
    .where(_c.next_try <= bindparam("now"))
    .order_by(_c.id)
    .limit(_MAX_DUE)
)


@dataclass(frozen=True, slots=True)
class Received:
    """A row of the inbox that waits to be acted on."""

    id: int
    activity_id: str
    body: str
    tries: int


class Queue:
    """Acts on received rows; `effects` say what each does."""

    def __init__(
        self, store: Store, effects: Effects, instance: Instance, settings: FederationSettings
    ) -> None:
        self._store = store
        self._effects = effects
        self._instance = instance
        self._settings = settings
        self._turns = Turns(settings.acting_at_once, settings.poll_seconds)

    async def run_once(self) -> int:
        """Act until nothing is due; return how many rows were acted on."""
        return await self._turns.run(self._due, self._act_for)

    async def tidy(self) -> None:
        """Forget ids that no replay can use any more, and retractions of what has expired."""
        now, settings = self._instance.clock(), self._settings
        before, keep = now - settings.inbox_keep_seconds, settings.inbox_kept_rows
        while await self._store.write(_forget, before, keep, _TIDY_ROWS):
            pass
        await self._store.write(_forget_retractions, now)

    async def _due(self) -> list[str]:
        return await self._store.read(_due_actors, self._instance.clock())

    async def _act_for(self, actor_id: str) -> int:
        """Act on what an actor sent, in order, up to the end of its turn."""
        for acted in range(ROWS_A_TURN):
            row = await self._store.read(_next_of, actor_id, self._instance.clock())
            if row is None:
                return acted
            await self._act(row)
        return ROWS_A_TURN

    async def _act(self, row: Received) -> None:
        """Act on one row and write down what came of it."""
        http = self._settings.allow_private_addresses
        try:
            effect = await self._effects.of(parse_activity(json.loads(row.body), allow_http=http))
            await self._store.write(_do, row, effect)
        except (FetchFailed, TooManyRequests, CacheError) as error:
            await self._later(row, str(error))
        except FederationError as error:
            _log.warning("failed: %s", error, extra={"action": "inbox_failed", "row": row.id})
            await self._store.write(_end, row, "failed", str(error))
        except Exception as error:  # noqa: BLE001  # a fault of ours must not stop the queue
            _log.exception("inbox row %s", row.id, extra={"action": "inbox_fault"})
            await self._later(row, type(error).__name__)

    async def _later(self, row: Received, error: str) -> None:
        if row.tries + 1 >= self._settings.inbox_tries:
            await self._store.write(_end, row, "failed", error)
            return
        wait = backoff_seconds(row.tries, self._settings, 0.5)
        await self._store.write(_postpone, row, self._instance.clock() + wait, error)


def _due_actors(conn: Connection, now: int) -> list[str]:
    """Return whose oldest row is due, the oldest of all first."""
    return list(conn.execute(_DUE, {"now": now}).scalars())


def _next_of(conn: Connection, actor_id: str, now: int) -> Received | None:
    """Return the oldest row of an actor, if it is due."""
    named = {"origin": origin_of(Url(actor_id)), "actor_id": actor_id}
    row = conn.execute(_NEXT, named).first()
    if row is None or row.next_try > now:
        return None
    return Received(row.id, row.activity_id, row.body, row.tries)


def _do(conn: Connection, row: Received, effect: Effect) -> None:
    """Act on a row, unless another process did so since it was read."""
    state = select(inbox.c.state).where(_same(row)).with_for_update()
    if conn.scalar(state) != RECEIVED:
        return
    effect(conn)
    _end(conn, row, "done", None)


def _end(conn: Connection, row: Received, state: str, error: str | None) -> None:
    values = {"state": state, "error": error, "body": ""}
    conn.execute(update(inbox).where(is_received, _same(row)).values(**values))


def _postpone(conn: Connection, row: Received, next_try: int, error: str) -> None:
    values = {"tries": row.tries + 1, "next_try": next_try, "error": error}
    conn.execute(update(inbox).where(is_received, _same(row)).values(**values))


def _same(row: Received) -> ColumnElement[bool]:
    """Name the row that was read: SQLite gives the id of a deleted last row to the next one."""
    return (inbox.c.id == row.id) & (inbox.c.activity_id == row.activity_id)


def _forget(conn: Connection, before: int, keep: int, limit: int) -> int:
    """Forget at most `limit` ended rows that are older, or beyond the newest `keep`."""
    c = inbox.c
    ended = select(c.id).where(c.state != RECEIVED)
    beyond = ended.order_by(c.id.desc()).limit(limit).offset(keep)
    ids = set(conn.execute(beyond).scalars())
    ids |= set(conn.execute(ended.where(c.received < before).limit(limit)).scalars())
    for some in batches(sorted(ids)):
        conn.execute(delete(inbox).where(c.id.in_(some)))
    return len(ids)


def _forget_retractions(conn: Connection, now: int) -> None:
    conn.execute(delete(early_retractions).where(early_retractions.c.expires < now))
