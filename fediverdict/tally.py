"""Counts what is answered: how it was decided, by which match, scanned or reused, by whose verdict.

Decides what counts as a reuse. Counts are held in memory and written some seconds later, and at
the end: a crash loses what was counted in those seconds, never a verdict. Nothing of a picture is
kept. The installation test card is not counted. How counts are stored is left to
`cache.memory.counts`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from enum import StrEnum

from cache.errors import CacheError
from cache.memory.counts import Counts, day_of, store_counts
from cache.storage.database import Store
from cache.testcard import is_test_card
from cache.verdict import SELF, Decision, MatchKind
from fediverdict.look import Answer

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""How long counts wait in memory; a crash loses at most those of so many seconds."""


class How(StrEnum):
    """How an answer came about."""

    SCANNED = "scanned"  # the model was run for it
    REUSED = "reused"  # settled by what was held, no inference
    OPEN = "open"  # unknown, and nothing here could scan
    FAILED = "failed"  # undecodable or over a limit


MILLISECONDS = {How.SCANNED: "milliseconds-scanned", How.REUSED: "milliseconds-reused"}
"""What the time that answers took is counted as."""

BY_PEERS = "reused-by-peers"
"""As what a reuse is counted, once more, in which the verdict of any peer had a part."""


def how(answer: Answer) -> How:
    """Tell how an answer came about."""
    if answer.scanned:
        return How.SCANNED
    match answer.decision:
        case Decision.CLEAN | Decision.REVIEW | Decision.FLAGGED:
            return How.REUSED
        case Decision.UNKNOWN:
            return How.OPEN
        case _:
            return How.FAILED


def what(answer: Answer) -> str:
    """Return as what an answer is counted: how, decision, match and reason, in this order."""
    outcome = answer.outcome
    kind = outcome.kind if outcome else MatchKind.NONE
    reason = outcome.reason if outcome else answer.decision
    return f"{how(answer)} {answer.decision} {kind} {reason}"


def count(answer: Answer) -> Counts:
    """Return what one answer adds to the counts."""
    counted = Counts()
    if _is_test_card(answer):
        return counted
    came = how(answer)
    counted.add(what(answer))
    if came in MILLISECONDS:
        counted.add(MILLISECONDS[came], round(answer.seconds * 1000))
    if came is How.REUSED and answer.outcome is not None:
        origins = {match.verdict.issuer for match in answer.outcome.matches} - {SELF}
        if origins:
            counted.add(BY_PEERS)
        for origin in origins:
            counted.add_of_peer(str(answer.decision), origin)
            if answer.decision is Decision.CLEAN:
                counted.add_clean_hit(origin)
    return counted


class CountTally:
    """Counts the answers of one process; belongs to one event loop. Fits `judge.Tally`."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.time,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._store, self._clock, self._flush_seconds = store, clock, flush_seconds
        self._waiting: dict[int, Counts] = {}  # by day
        self._flushing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def answered(self, answer: Answer) -> None:
        """Count an answer; it is written within some seconds."""
        counted = count(answer)
        if not counted or self._closing.is_set():
            return
        self._waiting.setdefault(day_of(self._clock()), Counts()).merge(counted)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_later())

    async def close(self) -> None:
        """Write what waits, and count no more; what cannot be written is lost."""
        self._closing.set()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])  # a write under way is not cut short
        await self._flush()

    async def _flush_later(self) -> None:
        """Write every few seconds until nothing waits."""
        try:
            while self._waiting and not self._closing.is_set():
                await self._pause()
                await self._flush()
        finally:
            self._flushing = None

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._flush_seconds)

    async def _flush(self) -> None:
        """Write what waits; where the database is away it goes on waiting."""
        for day in sorted(self._waiting):
            counted = self._waiting.pop(day)
            try:
                await self._store.write(store_counts, counted, day=day)
            except CacheError as error:
                self._waiting.setdefault(day, Counts()).merge(counted)
                fate = "are lost" if self._closing.is_set() else "wait"
                logger.warning("counts for `fediverdict stats` %s: %s", fate, error)
                return


def _is_test_card(answer: Answer) -> bool:
    found = answer.fingerprint
    return found is not None and is_test_card(found.sha256, found.content)
