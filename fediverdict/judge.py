"""A picture's way through: bytes, fingerprint, look-up, decision, and a scan only where needed.

Decides nothing itself: `cache.decide` does. This file orders the steps, shares one scan among
concurrent requests for the same bytes, and stores what was scanned before it answers.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from cache.database import Store
from cache.decide import decide
from cache.lookup import evidence, own_fingerprint
from cache.near import NearIndex
from cache.outcome import Outcome, explain
from cache.publish import is_published, publish_verdict, published_in
from cache.record import pipeline_row, record_image, record_verdict
from cache.secret import audit_throw, instance_secret
from cache.verdict import (
    SELF,
    Basis,
    Decision,
    Evidence,
    Feed,
    FingerprintLike,
    Match,
    MatchKind,
    Verdict,
)
from fediverdict.config import Share
from fediverdict.judgement import Judgements
from fediverdict.scanning import Scanner
from scanner.decode import read
from scanner.errors import ModelError, OverLimit, Undecodable
from scanner.fingerprint import sha256_of
from scanner.limits import Limits
from scanner.picture import Picture

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Answer:
    """What this instance says of one picture, and how it came to it."""

    decision: Decision
    sentence: str
    fingerprint: FingerprintLike | None = None
    outcome: Outcome | None = None
    evidence: Evidence = Evidence()
    scanned: bool = False
    seconds: float = 0.0

    @property
    def own(self) -> list[Verdict]:
        """Our own verdicts on these very bytes, by whatever pipeline."""
        return [match.verdict for match in self.evidence.matches if _is_own(match)]


@dataclass(frozen=True, slots=True)
class Look:
    """A picture that was looked up: its fingerprint, what is held on it, what follows."""

    fingerprint: FingerprintLike
    evidence: Evidence
    outcome: Outcome
    picture: Picture | None = None  # None where nothing had to be decoded

    def answer(self, *, scanned: bool = False) -> Answer:
        """Return the look as what the caller is told."""
        decision, sentence = self.outcome.decision, explain(self.outcome)
        return Answer(
            decision, sentence, self.fingerprint, self.outcome, self.evidence, scanned=scanned
        )


class Judge:
    """Answers for pictures; one for each process."""

    def __init__(
        self,
        store: Store,
        judgements: Judgements,
        scanner: Scanner | None,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        *,
        decodes: int = 2,
    ) -> None:
        self.store, self.judgements, self.scanner = store, judgements, scanner
        self.limits, self._clock = limits, clock
        self._decodes = asyncio.Semaphore(decodes)  # bounds the memory of hostile pictures
        self._near = NearIndex()
        self._secret = store.write_now(instance_secret)
        self._flights: dict[bytes, asyncio.Task[Answer]] = {}

    async def judge(self, data: bytes, share: Share = "off") -> Answer:
        """Answer for one picture; concurrent calls for the same bytes share one scan."""
        started = time.perf_counter()
        key = sha256_of(data)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._judge(data, key))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        answer = await asyncio.shield(flight)
        await self.share([answer], share)
        return replace(answer, seconds=time.perf_counter() - started)

    async def _judge(self, data: bytes, sha256: bytes) -> Answer:
        look = await self.look(data, sha256)
        if isinstance(look, Answer):
            return look
        if look.picture is not None and self.must_scan(look):
            return (await self.scan([look]))[0]
        await self.remember([look])
        return look.answer()

    async def look(self, data: bytes, sha256: bytes) -> Look | Answer:
        """Look a picture up, decoding it only where that is needed; no scan, no write.

        Gives an Answer for what could not be judged.
        """
        known = await self.look_again(sha256)
        if known is not None and not self.must_scan(known):
            return known
        try:
            async with self._decodes:
                picture = await asyncio.to_thread(read, data, self.limits)
        except Undecodable as error:
            return Answer(Decision.UNDECODABLE, str(error))
        except OverLimit as error:
            return Answer(Decision.OVER_LIMIT, str(error))
        look = await self.store.read(self._look_up, picture.fingerprint, picture.pdq_variants)
        return replace(look, picture=picture)

    async def look_again(self, sha256: bytes) -> Look | None:
        """Decide on a picture that was fingerprinted here before; None if it was not."""
        return await self.store.read(self._look_again, sha256)

    async def look_up(self, fingerprint: FingerprintLike) -> Look:
        """Decide on fingerprints alone; of a picture known here, ours count and not the given."""
        return await self.store.read(self._look_up_given, fingerprint)

    def must_scan(self, look: Look) -> bool:
        """Tell whether the look leaves the picture to the scanner, and there is one."""
        return self.scanner is not None and look.outcome.decision is Decision.UNKNOWN

    async def scan(self, looks: Sequence[Look]) -> list[Answer]:
        """Scan decoded pictures in one batch and store the verdicts before answering."""
        if self.scanner is None:
            raise ModelError("scanner.enabled is false here, so nothing can be scanned")
        to_scan = {look.fingerprint.sha256: look.picture for look in looks if look.picture}
        pictures = list(to_scan.values())  # the same bytes twice in a batch are scanned once
        classifier = await self.scanner.load()
        scores = await self.scanner.score(pictures)
        now = int(self._clock())
        verdicts = [
            self._verdict(picture, scored, classifier.pipeline_id, now)
            for picture, scored in zip(pictures, scores, strict=True)
        ]
        await self.store.write(self._record, pictures, verdicts, classifier.pipeline)
        self.judgements.forget()
        return [
            (await self.store.read(self._after_scan, look.picture)).answer(scanned=True)
            for look in looks
            if look.picture
        ]

    async def remember(self, looks: Sequence[Look]) -> None:
        """Keep the fingerprints that were computed, so the next request decodes nothing."""
        pictures = [look.picture for look in looks if look.picture is not None]
        if pictures:
            await self.store.write(self._record_images, pictures)

    async def share(self, answers: Sequence[Answer], share: Share) -> None:
        """Publish our own verdicts on these pictures, as far as the source allows."""
        if share != "all":
            return
        own = [verdict for answer in answers for verdict in answer.own]
        missing = await self.store.read(self._not_published, own)
        if missing:
            await self.store.write(self._publish, missing)

    def _look_again(self, connection: Connection, sha256: bytes) -> Look | None:
        known = own_fingerprint(connection, sha256)
        return None if known is None else self._look_up(connection, known, known.variants)

    def _look_up_given(self, connection: Connection, given: FingerprintLike) -> Look:
        known = self._look_again(connection, given.sha256)
        return known or self._look_up(connection, given, ())

    def _look_up(
        self, connection: Connection, fingerprint: FingerprintLike, variants: Sequence[bytes]
    ) -> Look:
        can_scan = self.scanner is not None
        return self._decided(connection, fingerprint, variants, can_scan=can_scan)

    def _after_scan(self, connection: Connection, picture: Picture) -> Look:
        fingerprint, variants = picture.fingerprint, picture.pdq_variants
        return self._decided(connection, fingerprint, variants, can_scan=False)

    def _decided(
        self,
        connection: Connection,
        fingerprint: FingerprintLike,
        variants: Sequence[bytes],
        *,
        can_scan: bool,
    ) -> Look:
        found = evidence(connection, self._near, fingerprint=fingerprint, variants=variants)
        outcome = decide(
            found,
            self.judgements.current(connection),
            now=int(self._clock()),
            can_scan=can_scan,
            throw=audit_throw(self._secret, found, fingerprint.sha256),
        )
        return Look(fingerprint, found, outcome)

    def _verdict(
        self, picture: Picture, scores: dict[str, int], pipeline: str, now: int
    ) -> Verdict:
        found = picture.fingerprint
        days = self.judgements.config.reuse.verdict_days
        return Verdict(
            issuer=SELF,
            sha256=found.sha256,
            feed=Feed.OWN,
            basis=Basis.MODEL,
            issued=now,
            expires=now + days * DAY_SECONDS,
            content=found.content,
            pdq=found.pdq,
            pdq_quality=found.pdq_quality,
            pipeline=pipeline,
            scores=scores,
            frames_seen=picture.frames_seen,
            frames_total=picture.frames_total,
        )

    def _record(
        self,
        connection: Connection,
        pictures: Sequence[Picture],
        verdicts: Sequence[Verdict],
        pipeline: Mapping[str, str],
    ) -> None:
        now = int(self._clock())
        judgement = self.judgements.adopt(connection, verdicts[0].pipeline or "", now)
        pipeline_row(connection, pipeline)
        self._record_images(connection, pictures)
        for verdict in verdicts:
            record_verdict(connection, verdict, judgement, now=now)
            if published_in(connection, verdict.sha256) is not None:
                publish_verdict(connection, verdict, judgement, now=now)  # what stands stays true

    def _record_images(self, connection: Connection, pictures: Sequence[Picture]) -> None:
        now = int(self._clock())
        for picture in pictures:
            found, variants = picture.fingerprint, picture.pdq_variants
            record_image(connection, found, now=now, variants=variants)

    def _not_published(self, connection: Connection, verdicts: Sequence[Verdict]) -> list[Verdict]:
        judgement, now = self.judgements.current(connection), int(self._clock())
        return [v for v in verdicts if not is_published(connection, v, judgement, now=now)]

    def _publish(self, connection: Connection, verdicts: Sequence[Verdict]) -> None:
        judgement, now = self.judgements.current(connection), int(self._clock())
        for verdict in verdicts:
            publish_verdict(connection, verdict, judgement, now=now)


def _is_own(match: Match) -> bool:
    of_model = match.verdict.issuer == SELF and match.verdict.basis is Basis.MODEL
    return of_model and match.kind is MatchKind.EXACT
