"""A picture's way through: bytes, fingerprint, look-up, decision, and a scan only where needed.

Decides nothing itself: `cache.decide` does. This file orders the steps, shares one scan among
concurrent requests for the same bytes, and stores what was scanned before it answers. A picture
is decoded once, in a process of the pool, which keeps it until the look-up has said whether it
must be scanned; one that its origin is asked for is decoded again should it be scanned after all,
so that no decoder waits for a peer. What fails is an error, and never an answer. Scoring is left
to `scoring`, what is written to `recording`, asking and waiting to `asking`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from sqlalchemy import Connection

from cache.decide import decide
from cache.index.near import NearIndex
from cache.index.twins import PrintedTwins
from cache.memory.lookup import Guards, evidence, own_fingerprint
from cache.memory.lookup_many import evidence_many, own_fingerprints
from cache.secret import audit_throw, frame_seed, instance_secret
from cache.storage.database import Store
from cache.storage.rows import batches
from cache.verdict import Decision, Evidence, FingerprintLike
from fediverdict.asking import Asker, Patience
from fediverdict.config import Share
from fediverdict.errors import NotDecided, ScanFailed
from fediverdict.flights import Flights
from fediverdict.judgement import Judgements
from fediverdict.late import Late
from fediverdict.look import Answer, Bare, Look, Query, could_not, own_verdicts
from fediverdict.recording import Recorder, Scan
from fediverdict.scanning import Scanner
from fediverdict.scoring import Scored, Scorer
from scanner.decoding.facts import Facts
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool, Opened
from scanner.errors import OverLimit, ScannerError, Undecodable

__all__ = ["Answer", "Judge", "Look", "Tally"]

LOOK_BATCH = 32
"""Fingerprints looked up at once; on SQLite nobody else is served meanwhile, some milliseconds."""


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
        asker: Asker | None = None,
    ) -> None:
        self.store, self.judgements, self.scanner = store, judgements, scanner
        self.limits, self._pool, self._clock = pool.limits, pool, clock
        self._shadow = shadow
        self._scorer = Scorer(scanner, shadow, judgements.breaks_a_rule) if scanner else None
        self._recorder = Recorder(judgements, clock)
        self._near = NearIndex() if near is None else near
        self._guards, self._twins, self._tally = guards, twins, tally
        self._secret = store.write_now(instance_secret)
        self._flights: Flights[bytes, Answer] = Flights()
        self._asked: Flights[tuple[bytes, str, bool], None] = Flights()
        config = judgements.config
        grace = config.reuse.grace_seconds
        self._patience = None if asker is None else Patience(asker, grace, self.look_again)
        self._late = Late(config.decide.fast_clean_bytes, self._match_late)

    async def judge(
        self,
        data: bytes,
        share: Share = "off",
        *,
        name: str | None = None,
        origin: str | None = None,
        background: bool = False,
        hasty: bool = False,
    ) -> Answer:
        """Answer for one picture; concurrent calls for the same bytes share one scan.

        `name` is that of its file, or its media type; `origin` that of the host it came from, which
        is asked as `ask_origin` says; `hasty` lets a peer's exact clean count before the picture is
        matched (`decide.fast_clean`). Raises NotDecided, CacheError or ScannerError where nothing
        can be decided now.
        """
        started = time.perf_counter()
        key = sha256_of(data)
        if origin is not None:
            await self.ask_origin(data, origin, background=background)
        known = await self.look_again(key)
        if known is not None and not self.must_scan(known):
            answer = known.answer()
        elif known is None and hasty and (early := await self._early(data, key)) is not None:
            answer = early
        else:
            answer = await self._joined(data, key)
        await self.share([answer], share)
        answer = replace(answer.named(name), seconds=time.perf_counter() - started)
        if self._tally is not None:
            self._tally.answered(answer)
        return answer

    async def ask_origin(self, data: bytes, origin: str, *, background: bool = False) -> None:
        """Ask the host that a picture came from, if it is a trusted peer, where that could help.

        In the background the picture also waits for the page that holds it. What came stands in
        the store when this returns. A host that we do not follow is never asked.
        """
        if self._patience is None or not await self._patience.follows(origin):
            return
        sha256 = sha256_of(data)
        await self._asked.join(
            (sha256, origin, background),
            lambda: self._ask(data, sha256, origin, background=background),
        )

    def stop_waiting(self) -> None:
        """Let no picture wait for a page any longer: the program is about to end."""
        if self._patience is not None:
            self._patience.stop()

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

    async def look_up_many(self, given: Sequence[FingerprintLike]) -> list[Look]:
        """Do as `look_up` for each, in order; others are let in after every few."""
        looks: list[Look] = []
        for some in batches(given, LOOK_BATCH):
            looks += await self.store.read(self._look_up_all, some)
            await asyncio.sleep(0)  # on SQLite a read does not give the loop back
        return looks

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
        self._flights.close()
        self._asked.close()
        self._late.close()
        self._pool.close()
        for scanner in (self.scanner, self._shadow):
            if scanner is not None:
                scanner.close()

    async def _joined(self, data: bytes, sha256: bytes) -> Answer:
        """Wait for the one task that judges these bytes now; who joins it causes no scan."""
        answer, is_first = await self._flights.join(sha256, lambda: self._judge(data, sha256))
        return answer if is_first else replace(answer, scanned=False)

    async def _ask(self, data: bytes, sha256: bytes, origin: str, *, background: bool) -> None:
        """Fingerprint the picture, then ask and wait where a verdict of the origin could help."""
        look = await self.look_again(sha256)
        try:
            if look is None:
                async with self._open(data, sha256) as opened:
                    facts = opened.facts
                look = await self._look_at(facts)
                await self.store.write_together(self._recorder.remember, facts)
        except (Undecodable, OverLimit):
            return  # whoever judges it says so
        if self._patience is not None:
            await self._patience.wait(look, origin, background=background)

    async def _early(self, data: bytes, sha256: bytes) -> Answer | None:
        """Answer by peers' exact clean verdicts alone, and match the picture afterwards."""
        if not self._late.has_room(len(data), sha256):
            return None
        look = await self.store.read(self._look_exactly, sha256)
        if look.outcome.decision is not Decision.CLEAN:
            return None
        self._late.put(data, sha256)
        return look.answer()

    async def _match_late(self, data: bytes, sha256: bytes) -> None:
        """Do what was put off, and let somebody look at what is not clean after all."""
        facts = None
        try:
            async with self._open(data, sha256) as opened:
                facts = opened.facts
            look = await self._look_at(facts)
            answer = await self._joined(data, sha256) if self.must_scan(look) else look.answer()
        except (Undecodable, OverLimit) as error:
            answer = could_not(error)
        known = [] if facts is None else [facts]
        if answer.decision is Decision.CLEAN:
            await self.store.write(self._recorder.remember, known)
        else:
            await self.store.write(self._recorder.note_late, known, sha256, answer)

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
        scored = await _scored(scorer, opened)
        shadow = await scorer.score_in_shadow(opened)
        opened.give_back()
        scan = Scan(opened.facts, scored, shadow)
        await self.store.write_together(self._recorder.record, scan)
        self.judgements.forget_unless_known(scored.classifier.pipeline_id)
        pipeline = scored.classifier.pipeline_id
        look = await self.store.read(self._after_scan, Query.of_facts(opened.facts), pipeline)
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

    def _look_up_all(self, connection: Connection, given: Sequence[FingerprintLike]) -> list[Look]:
        known = own_fingerprints(connection, [one.sha256 for one in given])
        queries = [
            Query.of_known(known[one.sha256]) if one.sha256 in known else Query(one)
            for one in given
        ]
        found = evidence_many(
            connection,
            self._near,
            [(query.fingerprint, query.variants) for query in queries],
            guards=self._guards,
            twins=None if self._twins is None else self._twins.seeing(None),
        )
        can_scan = self.scanner is not None
        return [
            self._concluded(connection, query, of_it, can_scan=can_scan)
            for query, of_it in zip(queries, found, strict=True)
        ]

    def _look_up(self, connection: Connection, query: Query) -> Look:
        return self._decided(connection, query, can_scan=self.scanner is not None)

    def _after_scan(self, connection: Connection, query: Query, pipeline: str) -> Look:
        return self._decided(connection, query, can_scan=False, knowing=pipeline)

    def _look_exactly(self, connection: Connection, sha256: bytes) -> Look:
        """Decide by equal bytes alone; nothing is near."""
        query = Query(Bare(sha256))
        found = evidence(connection, None, fingerprint=query.fingerprint)
        return self._concluded(connection, query, found, can_scan=True)

    def _decided(
        self, connection: Connection, query: Query, *, can_scan: bool, knowing: str | None = None
    ) -> Look:
        found = evidence(
            connection,
            self._near,
            fingerprint=query.fingerprint,
            variants=query.variants,
            guards=self._guards,
            twins=None if self._twins is None else self._twins.seeing(query.shape),
        )
        return self._concluded(connection, query, found, can_scan=can_scan, knowing=knowing)

    def _concluded(
        self,
        connection: Connection,
        query: Query,
        found: Evidence,
        *,
        can_scan: bool,
        knowing: str | None = None,
    ) -> Look:
        judgement = self.judgements.current(connection, knowing=knowing)
        outcome = decide(
            found,
            judgement,
            now=int(self._clock()),
            can_scan=can_scan,
            throw=audit_throw(
                self._secret,
                found,
                query.fingerprint.sha256,
                judgement,
                content=query.fingerprint.content,
            ),
        )
        return Look(query.fingerprint, found, outcome, query.media_type, query.inside)


async def _scored(scorer: Scorer, opened: Opened) -> Scored:
    """Score a picture; whatever the classifier fails with, nothing is decided."""
    try:
        return await scorer.score(opened)
    except (ScannerError, NotDecided):
        raise
    except Exception as error:
        raise ScanFailed(
            "The scanner failed; nothing was decided, and the log says why."
        ) from error
