"""Pulls what is missing of followed feeds, page by page from the cursor.

Decides what to fetch: the outbox names epoch and last page, the cursor says how far we are, and
the signed first page of each epoch names the epoch before it. Each page is verified and applied
in a transaction of its own with the cursor, so a crash repeats at most one fetch. What fails is
written to the follow (`error`, `next_try`) and tried again; nothing is skipped.
"""

import asyncio
import logging
import random
from typing import Any

from sqlalchemy import Connection, Row, select, update

from cache.errors import CacheError
from cache.storage.database import Store
from cache.storage.feed_tables import follows
from federation.actors.actors import Actors
from federation.actors.remote_actor import RemoteActor
from federation.addresses import page_url
from federation.client import Client
from federation.errors import BadActor, BadPage, FederationError
from federation.following import follow
from federation.instance import Instance
from federation.origin import Url
from federation.outbound.backoff import backoff_seconds
from federation.outbound.media import Kind
from federation.reading.applying import apply_page, cursor, restart
from federation.settings import FederationSettings
from federation.signing.verifying import Verifier
from federation.wire.chain import Cursor, Step
from federation.wire.outbox import OutboxHead, parse_outbox
from federation.wire.page import EpochEnd, VerifiedPage
from federation.wire.strictjson import parse

_log = logging.getLogger(__name__)
_FEEDS_AT_ONCE = 4
_MAX_EPOCHS = 16  # walked back from the newest one
_TURN_SECONDS = 30  # after which a feed that has still more waits for the others
_LEASE_SECONDS = 60  # after which a pull that a crash cut off is due again


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
        self._store = store
        self._client = client
        self._actors = actors
        self._verifier = verifier
        self._instance = instance
        self._settings = settings

    async def run_once(self) -> int:
        """Pull the feeds that are due; return how many."""
        lease = self._instance.clock() + _LEASE_SECONDS
        due = await self._store.read(_due, self._instance.clock())
        if not due:
            return 0
        await self._store.write(_set_next, [row.id for row in due], lease)
        await asyncio.gather(*(self._pull(row, lease) for row in due))
        return len(due)

    async def _pull(self, row: Row[Any], lease: int) -> None:
        """Pull one feed and write down how that went, unless it was asked for again meanwhile."""
        values: dict[str, object] = {"pulled": self._instance.clock(), "error": None, "tries": 0}
        wait = self._settings.pull_seconds
        try:
            if not await self._catch_up(row):
                wait = 0
        except (FederationError, CacheError) as error:
            _log.warning("%s: %s", row.actor_id, error, extra={"action": "pull_failed"})
            values = {"error": str(error), "tries": row.tries + 1}
            wait = backoff_seconds(row.tries, self._settings, random.random())  # noqa: S311
        next_try = self._instance.clock() + wait
        await self._store.write(_note, row.id, values, lease, next_try)

    async def _catch_up(self, row: Row[Any]) -> bool:
        """Take the pages that are missing, and tell whether that was all within the turn."""
        ends = asyncio.get_running_loop().time() + _TURN_SECONDS
        actor = await self._actors.get(Url(row.actor_id))
        head = await self._outbox(actor)
        if head is None:
            return True
        at = await self._store.read(cursor, row)
        segments = await self._segments(actor, head, at)
        if at is not None and not _continues(segments, at):
            await self._store.write(restart, row.id)
            at = None
        for place, segment in enumerate(segments):
            first = at.page + 1 if at is not None and place == 0 else 1
            for page in range(first, segment.page + 1):
                is_oldest = place == 0 and page == 1
                await self._take(row.id, actor, segment.epoch, page, is_oldest=is_oldest)
                if asyncio.get_running_loop().time() >= ends:
                    return False
        await self._store.read(_check_end, row.id, head)
        return True

    async def _outbox(self, actor: RemoteActor) -> OutboxHead | None:
        if actor.outbox is None:
            message = f"{actor.id} has no outbox"
            raise BadActor(message)
        limit = self._settings.document_bytes
        answer = await self._client.get(actor.outbox, Kind.ACTIVITY, limit, self._instance.id)
        return parse_outbox(parse(answer.body, limit), actor.id, actor.outbox)

    async def _segments(
        self, actor: RemoteActor, head: OutboxHead, at: Cursor | None
    ) -> list[EpochEnd]:
        """Return the epochs to read, oldest first, each through the page that counts of it."""
        segments = [EpochEnd(head.epoch, head.last_page)]
        while at is None or segments[0].epoch != at.epoch:
            first = await self._fetch(actor, segments[0].epoch, 1)
            end = first.page.head.previous_epoch
            walked = end is not None and end.epoch in {one.epoch for one in segments}
            if end is None or end.page == 0 or walked or len(segments) == _MAX_EPOCHS:
                break
            segments.insert(0, end)
        return segments

    async def _take(
        self, follow_id: int, actor: RemoteActor, epoch: str, page: int, *, is_oldest: bool
    ) -> None:
        verified = await self._fetch(actor, epoch, page)
        now = self._instance.clock()
        what = await self._store.write(apply_page, follow_id, verified, now, is_oldest=is_oldest)
        if what not in (Step.NEXT, Step.NEW_EPOCH, Step.KNOWN):
            message = f"page {page} of {actor.id} does not continue what is here: {what}"
            raise BadPage(message)

    async def _fetch(self, actor: RemoteActor, epoch: str, page: int) -> VerifiedPage:
        url, limit = page_url(actor.id, epoch, page), self._settings.page_bytes
        answer = await self._client.get(url, Kind.ACTIVITY, limit, self._instance.id)
        document = await asyncio.to_thread(parse, answer.body, limit)
        if document.get("id") != url:
            message = f"{url} answers with another document"
            raise BadPage(message)
        return await self._verifier.page_of(document, actor)


def _continues(segments: list[EpochEnd], at: Cursor) -> bool:
    """Tell whether all that is here of a feed still counts in the history that it tells now."""
    is_current = len(segments) == 1
    return segments[0].epoch == at.epoch and (is_current or at.page <= segments[0].page)


def pull_all_soon(conn: Connection) -> None:
    """Let every accepted feed be asked at the next turn: what came while we were down?"""
    conn.execute(update(follows).where(follows.c.state == follow.ACCEPTED).values(next_try=0))


def _due(conn: Connection, now: int) -> list[Row[Any]]:
    accepted = (follows.c.state == follow.ACCEPTED) & (follows.c.next_try <= now)
    rows = select(follows).where(accepted).order_by(follows.c.next_try).limit(_FEEDS_AT_ONCE)
    return list(conn.execute(rows))


def _set_next(conn: Connection, follow_ids: list[int], next_try: int) -> None:
    conn.execute(update(follows).where(follows.c.id.in_(follow_ids)).values(next_try=next_try))


def _note(
    conn: Connection, follow_id: int, values: dict[str, object], lease: int, next_try: int
) -> None:
    same = follows.c.id == follow_id
    conn.execute(update(follows).where(same).values(**values))
    held = follows.c.next_try == lease
    conn.execute(update(follows).where(same, held).values(next_try=next_try))


def _check_end(conn: Connection, follow_id: int, head: OutboxHead) -> None:
    """Raise `BadPage` when the outbox names another digest for the page that we have."""
    row = conn.execute(select(follows).where(follows.c.id == follow_id)).first()
    if row is None or (row.epoch, row.page) != (head.epoch, head.last_page):
        return
    if row.digest != head.digest:
        message = f"page {row.page} is told in two ways: here {row.digest}, now {head.digest}"
        raise BadPage(message)
