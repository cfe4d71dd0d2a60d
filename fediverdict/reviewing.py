"""Reviews stored pictures when things change: what peers' rows, codes and expiries mean for them.

Decides nothing of a picture itself: `cache.decide` does, asked anew through the judge; what follows
for cases is `cache.cases.case_opening`'s. This file takes what waits in small batches: rows of
peers that came or went and findings of our own scans (`arrivals`), changes of codes (`retro`), and
cases that are due. What is decided is read; one write then holds what follows, together with the
end of its queue rows or the move of the cursor, so that a process killed anywhere loses nothing,
and two that do the same at once double nothing. The event loop is given back after each picture;
the pass over the sighted codes runs in threads of its own.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from cache.cases.arrivals import Arrival, forget_arrivals, waiting_arrivals
from cache.cases.case_evidence import Decided, decided
from cache.cases.case_opening import Noted, Terms, note_decisions
from cache.cases.cases import Due, due_cases, movable_pictures, settle_due
from cache.cases.retro import (
    Pictures,
    changed_codes,
    move_cursor,
    pictures_of_arrivals,
    pictures_resting_on,
    stored,
)
from cache.cases.retro_codes import SightedCodes
from cache.errors import CacheError
from cache.index.near import NEAR_BITS
from cache.judgement import Judgement
from cache.storage.pruning import prune
from cache.storage.rows import batches
from cache.trust.comparing import compare
from cache.verdict import Feed
from fediverdict.config import Config, ReviewSettings
from fediverdict.judge import Judge

logger = logging.getLogger(__name__)

CODES_FILE = "sighted-codes"
"""Name of the flat column in `instance.state_dir`."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What a write ends: queue rows, a stretch of changed codes, or requests to look again."""

    arrivals: Sequence[Arrival] = ()
    changed: int | None = None
    due: Sequence[Due] = ()


class Reviewer:
    """Reviews for one process; belongs to one event loop, as its judge does."""

    def __init__(
        self,
        judge: Judge,
        settings: ReviewSettings,
        terms: Terms,
        codes: SightedCodes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._judge, self._store = judge, judge.store
        self._settings, self._terms, self._codes = settings, terms, codes
        self._clock = clock
        self._steps = (self._arrivals, self._changed_codes, self.due)
        self._pruned_at = float("-inf")

    async def run(self) -> None:
        """Review without end; a fault is logged, and tried again after a pause."""
        while True:
            for step in (*self._steps, self._prune):
                try:
                    while await step() is not None:
                        pass
                except (CacheError, OSError) as error:
                    logger.warning("reviewing stored pictures failed: %s", error)
                except Exception:
                    logger.exception("reviewing failed", extra={"action": "loop_failed"})
            await asyncio.sleep(self._settings.pause_seconds)

    async def drain(self, stop: asyncio.Event | None = None) -> Noted:
        """Review until nothing waits, or `stop` is set; return what came of it."""
        noted = Noted()
        while stop is None or not stop.is_set():
            came_of = [await step() for step in self._steps]
            noted = sum((one for one in came_of if one is not None), noted)
            if all(one is None for one in came_of):
                break
        return noted

    def stop(self) -> None:
        """End a pass over the sighted codes that a thread may be at; for when the process ends."""
        self._codes.stop()

    async def due(self) -> Noted | None:
        """Look again at a batch of cases that are due; None where none is."""
        due = await self._store.read(due_cases, self._settings.cases_batch, now=self._now)
        if not due:
            return None
        pictures = await self._store.read(movable_pictures, [one.case_id for one in due])
        return await self._review(pictures, _Done(due=due))

    async def _arrivals(self) -> Noted | None:
        came = await self._store.read(waiting_arrivals, self._settings.arrivals_batch)
        if not came:
            return None
        judgement = await self._judgement()
        pictures = await self._store.read(pictures_of_arrivals, came, judgement)
        return await self._review(pictures, _Done(arrivals=came))

    async def _changed_codes(self) -> Noted | None:
        """Match a batch of changed codes against all sighted pictures."""
        changed = await self._store.read(changed_codes, self._settings.codes_batch)
        if not changed:
            return None
        while await asyncio.to_thread(self._store.read_now, self._codes.refresh):
            pass
        new = list({one.pdq for one in changed if one.stands})
        near = await asyncio.to_thread(self._codes.maybe_near, new, NEAR_BITS)
        pictures = await self._store.read(pictures_resting_on, changed)
        for some in batches(near.tolist()):
            pictures |= await self._store.read(stored, some)
            await asyncio.sleep(0)
        return await self._review(pictures, _Done(changed=changed[-1].changed))

    async def _prune(self) -> int | None:
        """Forget a batch of what can matter no more, now and then; None where it is not time."""
        seconds, rows = self._settings.prune_seconds, self._settings.prune_rows
        if time.monotonic() - self._pruned_at < seconds:
            return None
        gone = await self._store.write(prune, self._now, rows)
        if gone < rows:
            self._pruned_at = time.monotonic()
        return gone

    async def _review(self, pictures: Pictures, done: _Done) -> Noted:
        """Decide anew on pictures, a batch a write; the last one ends what asked for it."""
        noted = Noted()
        parts = list(batches(list(pictures.values()), self._settings.pictures_batch)) or [[]]
        for number, some in enumerate(parts, 1):
            made = await self._decided(some)
            ends = done if number == len(parts) else _Done()
            noted += await self._store.write(self._note, made, ends, self._now)
        if noted.opened or noted.reopened:
            logger.info("cases: %d opened, %d reopened", noted.opened, noted.reopened)
        return noted

    async def _decided(self, hashes: Iterable[bytes]) -> list[Decided]:
        made: list[Decided] = []
        self._judge.judgements.forget()  # trust of a second ago would miss what asked for this
        judgement = await self._judgement()
        for sha256 in hashes:
            look = await self._judge.look_again(sha256)
            if look is not None:
                now = self._now
                made.append(decided(sha256, look.evidence, look.outcome, judgement, now=now))
            await asyncio.sleep(0)  # on SQLite a read does not give the loop back
        return made

    def _note(
        self, connection: Connection, made: Sequence[Decided], done: _Done, now: int
    ) -> Noted:
        noted = note_decisions(connection, made, self._terms, now=now)
        theirs = [a.image_id for a in done.arrivals if a.feed is not Feed.OWN and not a.gone]
        if theirs:
            judgement = self._judge.judgements.current(connection)
            compare(connection, theirs, judgement, now=now)
        forget_arrivals(connection, done.arrivals)
        if done.changed is not None:
            move_cursor(connection, done.changed)
        settle_due(connection, done.due, now=now)
        return noted

    async def _judgement(self) -> Judgement:
        return await self._store.read(self._judge.judgements.current)

    @property
    def _now(self) -> int:
        return int(self._clock())


@contextlib.asynccontextmanager
async def reviewing(reviewer: Reviewer) -> AsyncIterator[None]:
    """Review in the background for the block."""
    task = asyncio.create_task(reviewer.run(), name="review")
    try:
        yield
    finally:
        task.cancel()
        reviewer.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def build_reviewer(config: Config, judge: Judge) -> Reviewer:
    """Return the reviewer of a process over its judge."""
    terms = Terms(config.cases.near_pictures, config.undo.auto)
    return Reviewer(judge, config.review, terms, SightedCodes(codes_file(config)))


def codes_file(config: Config) -> Path:
    """Return where the flat column of sighted codes stands."""
    return config.instance.state_dir / CODES_FILE
