"""A picture's way through: bytes, fingerprint, look-up, decision, and a scan only where needed.

Decides nothing itself: `cache.decide` does. This file orders the steps, shares one scan among
concurrent requests for the same bytes, and stores what was scanned before it answers. A picture
is decoded once, in a process of the pool, which keeps it until the look-up has said whether it
must be scanned. Scoring is left to `scoring`, what is written to `recording`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from sqlalchemy import Connection

from cache.database import Store
from cache.decide import decide
from cache.lookup import Guards, evidence, own_fingerprint
from cache.near import NearIndex
from cache.secret import audit_throw, frame_seed, instance_secret
from cache.twins import PrintedTwins
from cache.verdict import Decision, FingerprintLike
from fediverdict.config import Share
from fediverdict.judgement import Judgements
from fediverdict.look import Answer, Look, Query, could_not, own_verdicts
from fediverdict.recording import Recorder, Scan
from fediverdict.scanning import Scanner
from fediverdict.scoring import Scorer
from scanner.decoding.facts import Facts
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool, Opened
from scanner.errors import OverLimit, Undecodable

__all__ = ["Answer", "Judge", "Look", "Tally"]


class Tally(Protocol):
    """Counts what is answered."""

    def answered(self, answer: Answer) -> None:
        """Count one answer; takes no time."""


class Judge:
    """Answers for pictures; one for each process."""

    def __init__(  # noqa: PLR0913  # one a part
        self,
        store: Store,
        judgements: Judgements,
        pool: DecodePool,
        scanner: Scanner | None,
        shadow: Scanner | None = None,
        clock: Callable[[], float] = time.time,
        *,
        near: NearIndex | None = None,
        guards: Guards | None = None,
        twins: PrintedTwins | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.store, self.judgements, self.scanner = store, judgements, scanner
        self.limits, self._pool, self._clock = pool.limits, pool, clock
        self._shadow = shadow
        self._scorer = Scorer(scanner, shadow, judgements.breaks_a_rule) if scanner else None
        self._recorder = Recorder(judgements, clock)
        self._near = near or NearIndex()
        self._guards, self._twins, self._tally = guards, twins, tally
        self._secret = store.write_now(instance_secret)
        self._flights: dict[bytes, asyncio.Task[Answer]] = {}

    async def judge(self, data: bytes, share: Share = "off", *, name: str | None = None) -> Answer:
        """Answer for one picture; concurrent calls for the same bytes share one scan.

        `name` is that of its file, or its media type.
        """
        started = time.perf_counter()
        key = sha256_of(data)
        known = await self.look_again(key)
        if known is not None and not self.must_scan(known):
            answer = known.answer()
        else:
            answer = await self._joined(data, key)
        await self.share([answer], share)
        answer = replace(answer.named(name), seconds=time.perf_counter() - started)
        if self._tally is not None:
            self._tally.answered(answer)
        return answer

    async def look(self, data: bytes, sha256: bytes) -> Look | Answer:
        """Look a picture up, decoding it only where that is needed; no scan, no write.

        Gives an Answer for what could not be judged.
        """
        known = await self.look_again(sha256)
        if known is not None and not self.must_scan(known):
            return known
        try:
            async with self._open(data, sha256) as opened:
                return await self._look_at(opened.facts)
        except (Undecodable, OverLimit) as error:
            return could_not(error)

    async def look_again(self, sha256: bytes) -> Look | None:
        """Decide on a picture that was fingerprinted here before; None if it was not."""
        return await self.store.read(self._look_again, sha256)

    async def look_up(self, fingerprint: FingerprintLike) -> Look:
        """Decide on fingerprints alone; of a picture known here, ours count and not the given."""
        return await self.store.read(self._look_up_given, fingerprint)

    def must_scan(self, look: Look) -> bool:
        """Tell whether the look leaves the picture to the scanner, and there is one."""
        return self.scanner is not None and look.outcome.decision is Decision.UNKNOWN

    async def share(self, answers: Sequence[Answer], share: Share) -> None:
        """Publish our own verdicts on these pictures, as far as the source allows."""
        if share != "all":
            return
        missing = await self.store.read(self._recorder.not_published, own_verdicts(answers))
        if missing:
            await self.store.write(self._recorder.publish, missing)

    @property
    def decoder_processes(self) -> list[int]:
        """The process ids of the decoders."""
        return self._pool.processes

    def close(self) -> None:
        """Let go of what is under way, end the decoders and the scanners' threads."""
        for flight in self._flights.values():
            flight.cancel()
        self._pool.close()
        for scanner in (self.scanner, self._shadow):
            if scanner is not None:
                scanner.close()

    async def _joined(self, data: bytes, sha256: bytes) -> Answer:
        """Wait for the one task that judges these bytes now; who joins it causes no scan."""
        flight = self._flights.get(sha256)
        if flight is not None:
            return replace(await asyncio.shield(flight), scanned=False)
        flight = self._flights[sha256] = asyncio.create_task(self._judge(data, sha256))
        flight.add_done_callback(lambda _: self._landed(sha256, flight))
        return await asyncio.shield(flight)

    def _landed(self, sha256: bytes, flight: "asyncio.Task[Answer]") -> None:
        """Let a flight go; where all who waited left before it failed, nobody is told."""
        self._flights.pop(sha256, None)
        if not flight.cancelled():
            flight.exception()

    async def _judge(self, data: bytes, sha256: bytes) -> Answer:
        try:
            while (answer := await self._read(data, sha256)) is None:
                await self._loaded()
        except (Undecodable, OverLimit) as error:
            return could_not(error)
        return answer

    async def _read(self, data: bytes, sha256: bytes) -> Answer | None:
        """Decode and look up, and scan if need be; None where the model is not loaded yet.

        No decoder waits for a model: others need it to answer by what is known.
        """
        async with self._open(data, sha256) as opened:
            look = await self._look_at(opened.facts)
            if self._scorer is None or not self.must_scan(look):
                await self.store.write_together(self._recorder.remember, opened.facts)
                return look.answer()
            if not self._scorer.is_loaded:
                return None
            return await self._scan(opened, self._scorer)

    async def _loaded(self) -> None:
        if self._scorer is not None:
            await self._scorer.load()

    async def _scan(self, opened: Opened, scorer: Scorer) -> Answer:
        """Score a picture and store the verdict before answering."""
        scored = await scorer.score(opened)
        shadow = await scorer.score_in_shadow(opened)
        opened.give_back()
        scan = Scan(opened.facts, scored, shadow)
        await self.store.write_together(self._recorder.record, scan)
        self.judgements.forget_unless_known(scored.classifier.pipeline_id)
        look = await self.store.read(self._after_scan, Query.of_facts(opened.facts))
        return look.answer(scanned=True)

    def _open(self, data: bytes, sha256: bytes) -> AbstractAsyncContextManager[Opened]:
        return self._pool.open(data, sha256, seed=frame_seed(self._secret, sha256))

    async def _look_at(self, facts: Facts) -> Look:
        return await self.store.read(self._look_up, Query.of_facts(facts))

    def _look_again(self, connection: Connection, sha256: bytes) -> Look | None:
        known = own_fingerprint(connection, sha256)
        return None if known is None else self._look_up(connection, Query.of_known(known))

    def _look_up_given(self, connection: Connection, given: FingerprintLike) -> Look:
        known = self._look_again(connection, given.sha256)
        return known or self._look_up(connection, Query(given))

    def _look_up(self, connection: Connection, query: Query) -> Look:
        return self._decided(connection, query, can_scan=self.scanner is not None)

    def _after_scan(self, connection: Connection, query: Query) -> Look:
        return self._decided(connection, query, can_scan=False)

    def _decided(self, connection: Connection, query: Query, *, can_scan: bool) -> Look:
        found = evidence(
            connection,
            self._near,
            fingerprint=query.fingerprint,
            variants=query.variants,
            guards=self._guards,
            twins=None if self._twins is None else self._twins.seeing(query.shape),
        )
        outcome = decide(
            found,
            self.judgements.current(connection),
            now=int(self._clock()),
            can_scan=can_scan,
            throw=audit_throw(self._secret, found, query.fingerprint.sha256),
        )
        return Look(query.fingerprint, found, outcome, query.media_type, query.inside)
