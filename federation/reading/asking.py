"""Asks the feeds of a followed peer what they say of one picture, before it is scanned here.

Decides whom we ask: peers that we follow and trust, and that answer. A stranger is never asked,
for it would learn what we see. An answer is hostile until it is verified exactly as a row of a page
is; anything odd is counted and left. One picture is asked of one origin once at a time, whoever
waits, and an origin that does not answer is left alone for a while. What an answer is worth is left
to the cache: it is kept as `cache.memory.provisional` says, until its page comes.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from sqlalchemy import Connection, select

from cache.judgement import PeerState
from cache.memory.provisional import record_provisional
from cache.memory.record import pipeline_row
from cache.storage.database import Store
from cache.storage.feed_tables import follows, remote_pages
from cache.storage.tables import issuers
from cache.verdict import Feed
from federation.actors.actors import Actors
from federation.addresses import question_url
from federation.client import AnsweredWith, Client
from federation.errors import BadPage, FederationError, FetchFailed
from federation.following.follow import ACCEPTED
from federation.instance import Instance
from federation.origin import Origin, Url
from federation.outbound.breaker import Breaker
from federation.outbound.media import Kind
from federation.reading.applying import verdict_of
from federation.settings import FederationSettings
from federation.shared_tasks import SharedTasks
from federation.signing.verifying import Verifier
from federation.wire.attestation import Place, VerifiedAttestation
from federation.wire.strictjson import parse

_log = logging.getLogger(__name__)


class Asked(StrEnum):
    """What came of asking one feed."""

    STORED = "stored"  # a verdict that was not here before
    KNOWN = "known"  # its page brought it already, or brought it and took it back
    NOTHING = "nothing"  # the feed says nothing of the picture
    RESTS = "rests"  # not asked: the origin did not answer lately
    SILENT = "silent"  # no answer within the time
    ODD = "odd"  # an answer that is no use: forged, foreign, malformed, too large


_NO_USE = (Asked.SILENT, Asked.ODD)


@dataclass(frozen=True, slots=True)
class FollowedFeed:
    """A feed that may be asked, and the rows that it is known by."""

    follow_id: int
    issuer_id: int
    actor_id: Url
    feed: Feed
    read_to: tuple[str | None, int]  # the last page applied before asking: its epoch and number


class Asking:
    """Asks for one process; belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        client: Client,
        actors: Actors,
        verifier: Verifier,
        instance: Instance,
        settings: FederationSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._client, self._actors = store, client, actors
        self._verifier, self._instance, self._settings = verifier, instance, settings
        self._monotonic = monotonic
        self._breakers: dict[Origin, Breaker] = {}  # of peers alone
        self._under_way = SharedTasks[tuple[Origin, bytes], bool](quiet=True)
        self.outcomes: Counter[Asked] = Counter()

    async def follows(self, origin: Origin) -> bool:
        """Tell whether the origin is a peer that may be asked: followed, trusted, not blocked."""
        return bool(await self._feeds(origin))

    async def ask(self, origin: Origin, sha256: bytes, seconds: float) -> bool:
        """Ask a peer for one picture; tell whether a verdict came that was not here before.

        Takes `seconds` at most, but for the writing; never raises for what the peer does.
        """
        work = partial(self._ask, origin, sha256, seconds)
        task, _ = self._under_way.begin((origin, sha256), work)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Let go of what is under way."""
        self._under_way.cancel()
        await self._under_way.wait()

    async def _feeds(self, origin: Origin) -> list[FollowedFeed]:
        if await self._client.blocks.blocking(origin) is not None:
            return []
        return await self._store.read(_followed, origin)

    async def _ask(self, origin: Origin, sha256: bytes, seconds: float) -> bool:
        feeds = await self._feeds(origin)
        if not feeds:
            return False
        breaker = self._breaker(origin)
        if not breaker.lets_through(self._monotonic()):
            self.outcomes[Asked.RESTS] += 1
            return False
        try:
            came = await asyncio.gather(*(self._ask_feed(f, sha256, seconds) for f in feeds))
        except BaseException:
            breaker.gave_up()
            raise
        self.outcomes.update(came)
        if any(one in _NO_USE for one in came):
            breaker.failed(self._monotonic())
        else:
            breaker.succeeded()
        return Asked.STORED in came

    def _breaker(self, origin: Origin) -> Breaker:
        known = self._settings
        return self._breakers.setdefault(
            origin,
            Breaker(known.breaker_failures, known.breaker_seconds, known.breaker_seconds_max),
        )

    async def _ask_feed(self, followed: FollowedFeed, sha256: bytes, seconds: float) -> Asked:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._fetch(followed, sha256)
        except TimeoutError:
            return Asked.SILENT
        except AnsweredWith as error:
            return Asked.NOTHING if error.code == 404 else Asked.SILENT
        except FetchFailed:
            return Asked.SILENT
        except FederationError as error:
            _log.warning("%s: %s", followed.actor_id, error, extra={"action": "odd_answer"})
            return Asked.ODD
        return await self._store.write(_store, followed, answer, self._instance.clock())

    async def _fetch(self, followed: FollowedFeed, sha256: bytes) -> VerifiedAttestation:
        actor = await self._actors.get(followed.actor_id)
        url, limit = (
            question_url(actor.origin, followed.feed, sha256),
            self._settings.document_bytes,
        )
        answer = await self._client.get(url, Kind.ACTIVITY, limit, self._instance.id)
        if answer.url != url:
            message = f"{url} redirects to {answer.url}: an attestation stands where it is asked"
            raise BadPage(message)
        document = parse(answer.body, limit)
        verified = await self._verifier.attestation_of(document, actor, sha256)
        if verified.feed is not followed.feed:
            message = f"{followed.actor_id} is another feed than the one followed"
            raise BadPage(message)
        return verified


def _followed(conn: Connection, origin: Origin) -> list[FollowedFeed]:
    c = follows.c
    rows = conn.execute(
        select(c.id, c.issuer_id, c.actor_id, c.feed, c.epoch, c.page)
        .join(issuers, issuers.c.id == c.issuer_id)
        .where(
            issuers.c.origin == origin,
            issuers.c.state == PeerState.TRUSTED.value,
            c.state == ACCEPTED,
            c.halted.is_(None),
        )
        .order_by(c.feed)
    )
    return [
        FollowedFeed(
            row.id, row.issuer_id, Url(row.actor_id), Feed(row.feed), (row.epoch, row.page)
        )
        for row in rows
    ]


def _store(
    conn: Connection, followed: FollowedFeed, answer: VerifiedAttestation, now: int
) -> Asked:
    """Store the answer unless following ended meanwhile, or its page was here already.

    One without a place may be of a page that came meanwhile, and have been taken back since.
    """
    c = follows.c
    here = select(c.actor_id, c.state, c.epoch, c.page).where(c.id == followed.follow_id)
    follow = conn.execute(here).first()
    if follow is None or (follow.actor_id, follow.state) != (followed.actor_id, ACCEPTED):
        return Asked.KNOWN
    if answer.place is None and (follow.epoch, follow.page) != followed.read_to:
        return Asked.KNOWN
    if answer.place is not None and _was_read(conn, followed.follow_id, answer.place):
        return Asked.KNOWN
    for pipeline in answer.pipelines:
        if pipeline.id == answer.row.pipeline:
            pipeline_row(conn, pipeline.description)
    is_new = record_provisional(
        conn,
        issuer_id=followed.issuer_id,
        feed=followed.feed,
        follow_id=followed.follow_id,
        row=verdict_of(answer.row, answer.origin, answer.feed),
        now=now,
    )
    return Asked.STORED if is_new else Asked.KNOWN


def _was_read(conn: Connection, follow_id: int, place: Place) -> bool:
    """Tell whether the page that holds the place was applied: what it said stands, or is gone."""
    epoch, seq = place
    c = remote_pages.c
    page = select(c.page).where(
        c.follow_id == follow_id,
        c.epoch == epoch,
        c.first_seq <= seq,
        c.first_seq + c.count > seq,
    )
    return conn.execute(page).first() is not None
