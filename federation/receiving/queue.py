"""Acts on what the inbox took down, oldest first, each row in one transaction with its effects.

A row's life:  received -> done | failed (kept with its error, its body dropped)

Acting twice does no harm, and a crash in between acts again. What cannot be done now (the
actor cannot be asked) is tried again later; what will never work is marked failed.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from cache.errors import CacheError
from cache.storage.database import Store
from cache.storage.feed_tables import early_retractions, follows, inbox
from federation.actors.actors import Actors
from federation.actors.changing import forget_actor, note_update
from federation.errors import FederationError, FetchFailed, TooManyRequests
from federation.following import follow
from federation.following.followers import forget_follower, note_follow
from federation.instance import Instance
from federation.outbound.backoff import backoff_seconds
from federation.reading.applying import apply_page
from federation.reading.heads import Heads
from federation.receiving.disputes import note_dispute
from federation.receiving.inbox import RECEIVED
from federation.settings import FederationSettings
from federation.signing.verifying import Verifier
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
    parse_activity,
)
from federation.wire.chain import Step
from federation.wire.page import VerifiedPage

_log = logging.getLogger(__name__)
_ROWS_A_TURN = 100

Effect = Callable[[Connection], object]


@dataclass(frozen=True, slots=True)
class Received:
    """A row of the inbox that waits to be acted on."""

    id: int
    body: str
    tries: int


class Queue:
    """Acts on received rows."""

    def __init__(
        self,
        store: Store,
        actors: Actors,
        verifier: Verifier,
        heads: Heads,
        instance: Instance,
        settings: FederationSettings,
    ) -> None:
        self._store = store
        self._actors = actors
        self._heads = heads
        self._verifier = verifier
        self._instance = instance
        self._settings = settings

    async def run_once(self) -> int:
        """Act on the rows that are due; return how many."""
        rows = await self._store.read(_due, self._instance.clock())
        for row in rows:
            await self._act(row)
        return len(rows)

    async def tidy(self) -> None:
        """Forget ids that no replay can use any more, and retractions of what has expired."""
        now = self._instance.clock()
        await self._store.write(_forget, now - self._settings.inbox_keep_seconds, now)

    async def _act(self, row: Received) -> None:
        try:
            effect = await self._effect(row.body)
            await self._store.write(_do, row.id, effect)
        except (FetchFailed, TooManyRequests, CacheError) as error:
            await self._later(row, str(error))
        except FederationError as error:
            _log.warning("failed: %s", error, extra={"action": "inbox_failed", "row": row.id})
            await self._store.write(_fail, row.id, str(error))
        except Exception as error:  # noqa: BLE001  # a fault of ours must not stop the queue
            _log.exception("inbox row %s", row.id, extra={"action": "inbox_fault"})
            await self._later(row, type(error).__name__)

    async def _effect(self, body: str) -> Effect:
        http = self._settings.allow_private_addresses
        activity = parse_activity(json.loads(body), allow_http=http)
        match activity:
            case Follow():
                actor = await self._actors.get(activity.actor)
                return lambda conn: note_follow(
                    conn, self._instance, self._settings, activity, actor
                )
            case Answer():
                return lambda conn: follow.note_answer(conn, activity)
            case UndoFollow():
                return lambda conn: forget_follower(conn, activity)
            case CreatePage():
                actor = await self._actors.get(activity.actor)
                page = await self._verifier.page_of(activity.page, actor)
                return lambda conn: _take_page(conn, page, self._instance.clock())
            case AnnouncePage():
                return lambda conn: pull_soon(conn, activity.actor)
            case AnnounceHeads():
                return await self._heads.compare(activity)
            case UpdateActor():
                actor = await self._actors.refetch(activity.actor)
                return lambda conn: note_update(conn, actor)
            case DeleteActor():
                return lambda conn: forget_actor(conn, activity.actor)
            case Flag():
                return lambda conn: note_dispute(conn, self._instance, activity)
            case Ignored():
                return lambda _: None

    async def _later(self, row: Received, error: str) -> None:
        if row.tries + 1 >= self._settings.inbox_tries:
            await self._store.write(_fail, row.id, error)
            return
        wait = backoff_seconds(row.tries, self._settings, 0.5)
        await self._store.write(_postpone, row, self._instance.clock() + wait, error)


def pull_soon(conn: Connection, actor_id: str) -> None:
    """Let the pull loop ask a followed feed at its next turn."""
    conn.execute(update(follows).where(follows.c.actor_id == actor_id).values(next_try=0))


def _take_page(conn: Connection, page: VerifiedPage, now: int) -> None:
    """Apply a page that comes next; one that does not makes us pull what is missing."""
    feed_id = page.page.head.feed_id
    row = follow.by_actor(conn, feed_id)
    if row is None:
        return
    if apply_page(conn, row.id, page, now) not in (Step.NEXT, Step.NEW_EPOCH, Step.KNOWN):
        pull_soon(conn, feed_id)


def _due(conn: Connection, now: int) -> list[Received]:
    rows = (
        select(inbox.c.id, inbox.c.body, inbox.c.tries)
        .where(inbox.c.state == RECEIVED, inbox.c.next_try <= now)
        .order_by(inbox.c.id)
        .limit(_ROWS_A_TURN)
    )
    return [Received(*row) for row in conn.execute(rows)]


def _do(conn: Connection, row_id: int, effect: Effect) -> None:
    """Act on a row, unless another process did so since it was read."""
    state = conn.scalar(select(inbox.c.state).where(inbox.c.id == row_id))
    if state != RECEIVED:
        return
    effect(conn)
    _end(conn, row_id, "done", None)


def _fail(conn: Connection, row_id: int, error: str) -> None:
    _end(conn, row_id, "failed", error)


def _end(conn: Connection, row_id: int, state: str, error: str | None) -> None:
    values = {"state": state, "error": error, "body": ""}
    conn.execute(update(inbox).where(inbox.c.id == row_id).values(**values))


def _postpone(conn: Connection, row: Received, next_try: int, error: str) -> None:
    values = {"tries": row.tries + 1, "next_try": next_try, "error": error}
    conn.execute(update(inbox).where(inbox.c.id == row.id).values(**values))


def _forget(conn: Connection, before: int, now: int) -> None:
    ended = inbox.c.state != RECEIVED
    conn.execute(delete(inbox).where(ended, inbox.c.received < before))
    conn.execute(delete(early_retractions).where(early_retractions.c.expires < now))
