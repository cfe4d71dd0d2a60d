"""One pass over a source: looks every object up first, reads and judges what is not known.

An unchanged object is not read; the same bytes under another key are not scanned, which is the
judge's doing. At most so many objects, and so many of their bytes, are in flight. A verdict is
stored before its sighting; sightings, findings and the run's cursor are written together, and
the cursor moves only behind what is recorded without a gap: whatever is cut short is looked at
again by the next pass, and nothing that was recorded is read or scanned twice. Which source, who
asks it to stop, and what is told of it are left to others.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from cache.cases.arrivals import note_met
from cache.feeds.publish import published_in
from cache.memory.record import image_rows, own_issuer
from cache.memory.runs import Advance, Run, RunKind, advance_run, record_finding
from cache.memory.sightings import JUDGED, record_sightings, unchanged
from cache.verdict import Decision, Evidence, Feed
from fediverdict.config import ScanSettings, Share
from fediverdict.flow import ByteBudget, InOrder, Pace, Place
from fediverdict.judge import Answer, Judge
from fediverdict.seen import Seen, terms_of
from scanner.decoding.fingerprint import sha256_of
from scanner.errors import OverLimit, SourceError, SourceUnreachable
from scanner.sources.source import Item, Source

Tell = Callable[[Seen], None]
"""Is told of each object when it is recorded."""
READ_AGAIN = 4
"""Times that a watch reads what got no answer again; a scan leaves that to the next one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects of the listing a pass looks at."""

    since: float | None = None  # epoch seconds; objects whose time is unknown are looked at
    limit: int | None = None  # objects read at most

    def takes(self, item: Item) -> bool:
        """Tell whether the pass looks at this object."""
        return self.since is None or item.modified is None or item.modified >= self.since


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An object that got no answer: either it alone cannot be read, or the source is away."""

    number: int
    place: Place
    seen: Seen
    since: float  # seconds of the loop's clock
    tries: int  # how often it was read again


class SourceScan:
    """One pass, or a watch without end, over the items of one source; used once."""

    def __init__(
        self,
        judge: Judge,
        source: Source,
        run: Run,
        settings: ScanSettings,
        share: Share,
        tell: Tell,
        wanted: Wanted = Wanted(),
    ) -> None:
        self._judge, self._source, self._run = judge, source, run
        self._settings, self._share, self._tell, self._wanted = settings, share, tell, wanted
        self._terms = terms_of(judge.limits)
        self._slots = asyncio.Semaphore(settings.pictures_in_flight)
        self._bytes = ByteBudget(settings.bytes_in_flight)
        self._pace = Pace(settings.rate_pictures_per_second)
        self._order = InOrder(settings.window)
        self._pictures: set[asyncio.Task[None]] = set()
        self._done: list[tuple[Place, Seen]] = []
        self._doubtful: list[_Doubt] = []
        self._doubts = 0
        self._read = 0  # objects read, or about to be
        self._cut = False  # more would have been read, but for the limit
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._wake = asyncio.Event()
        self._closing = False

    async def run(self, items: AsyncIterator[Item], stop: asyncio.Event) -> bool:
        """Look at every item until they end or `stop` is set; tell whether they ended.

        What is in flight at a stop has `stop_seconds` to finish. Raises what ended the pass
        early: SourceError, ModelError, CacheError. What was done by then is recorded.
        """
        taking = asyncio.create_task(self._take(items))
        writing = asyncio.create_task(self._write())
        halting = [asyncio.create_task(event.wait()) for event in (stop, self._failed)]
        try:
            await _first(taking, writing, *halting)
            complete = _succeeded(taking)
            if not complete:
                await _cancel(taking)
            await self._finish(writing, halting, complete=complete)
            complete = complete and not (self._pictures or self._cut or self._failure)
            await _cancel(*self._pictures)
            if complete:
                self._believe(self._doubts)  # it was listed to its end
            self._closing = True
            self._wake.set()
            await writing
        finally:
            await _cancel(taking, writing, *halting, *self._pictures)
        self._raise(taking)
        return complete

    async def _finish(
        self, writing: asyncio.Task[None], halting: Sequence[asyncio.Task[Any]], *, complete: bool
    ) -> None:
        """Wait for the pictures in flight: till the end, or only so long after a halt."""
        while self._pictures and complete and not any(task.done() for task in halting):
            await _first(writing, *halting, *self._pictures)
            if writing.done():
                return
        if self._pictures and self._failure is None:
            await asyncio.wait(self._pictures, timeout=self._settings.stop_seconds)

    async def _take(self, items: AsyncIterator[Item]) -> None:
        try:
            async for item in items:
                if self._wanted.takes(item):
                    await self._slots.acquire()
                    if self._cut:
                        return
                    await self._begin(item)
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    async def _begin(self, item: Item) -> None:
        place = await self._order.enter(item.cursor)
        self._start(item, place)

    def _start(self, item: Item, place: Place, tries: int = 0) -> None:
        picture = asyncio.create_task(self._one(item, place, tries))
        self._pictures.add(picture)
        picture.add_done_callback(self._ended)

    def _ended(self, picture: asyncio.Task[None]) -> None:
        self._pictures.discard(picture)
        self._slots.release()
        if not picture.cancelled() and (error := picture.exception()) is not None:
            self._failure = self._failure or error
            self._failed.set()

    async def _one(self, item: Item, place: Place, tries: int) -> None:
        seen = None if self._run.reads_all else await self._unchanged(item)
        if seen is None:
            if self._read == self._wanted.limit:
                self._cut = True  # its place stays open: the next pass begins before it
                return
            self._read += 1
            try:
                seen = await self._judged(item)
            except SourceUnreachable as error:
                self._doubt(place, Seen(item, problem=str(error)), error, tries)
                return
        self._settle(place, seen)

    def _settle(self, place: Place, seen: Seen) -> None:
        """Let an object be recorded."""
        if seen.answer is None:
            self._source.forget(seen.item)
        self._done.append((place, seen))
        if len(self._done) >= self._settings.write_batch:
            self._wake.set()

    def _doubt(self, place: Place, seen: Seen, error: SourceUnreachable, tries: int) -> None:
        """Hold an object back: either it alone cannot be read, or the source is away.

        The next that is read tells; after too many in a row it is taken to be away, and the next
        pass begins before the first of them.
        """
        self._doubts += 1
        since = asyncio.get_running_loop().time()
        self._doubtful.append(_Doubt(self._doubts, place, seen, since, tries))
        if len(self._doubtful) > self._settings.unreachable_in_a_row:
            raise error

    def _believe(self, doubts: int) -> None:
        """The source answered after the first `doubts`: those are unreadable by themselves."""
        settled = [one for one in self._doubtful if one.number <= doubts]
        self._doubtful = [one for one in self._doubtful if one.number > doubts]
        for one in settled:
            self._settle(one.place, one.seen)

    async def _read_again(self) -> None:
        """Read what got no answer for a while: in a watch there may be no next one that tells."""
        now, first = asyncio.get_running_loop().time(), self._settings.retry_seconds
        for one in [one for one in self._doubtful if now - one.since >= first * 2**one.tries]:
            if self._slots.locked():
                return
            self._doubtful.remove(one)
            if one.tries == READ_AGAIN:
                self._settle(one.place, one.seen)
            else:
                await self._slots.acquire()
                self._start(one.seen.item, one.place, one.tries + 1)

    async def _unchanged(self, item: Item) -> Seen | None:
        """Return what is known of an unchanged object; None if it has to be read or scanned."""
        sighting = await self._judge.store.read(
            unchanged, source_id=self._run.source_id, key=item.key, size=item.size, mark=item.mark
        )
        if sighting is None:
            return None
        if sighting.outcome != JUDGED:
            if sighting.terms != self._terms:
                return None
            answer = Answer(Decision(sighting.outcome), sighting.reason)
            return Seen(item, answer, sighting.sha256, was_read=False)
        look = await self._judge.look_again(sighting.sha256) if sighting.sha256 else None
        if look is None or self._judge.must_scan(look):
            return None
        answer = look.answer().named(item.key)
        await self._judge.share([answer], self._share)
        return Seen(item, _lean(answer), sighting.sha256, was_read=False)

    async def _judged(self, item: Item) -> Seen:
        """Read an object and judge it."""
        limit = self._judge.limits.image_bytes
        if item.size > limit:
            said = f"it has {item.size} bytes, more than limits.image_bytes = {limit}"
            return Seen(item, Answer(Decision.OVER_LIMIT, said))
        await self._pace.wait()
        async with self._bytes.hold(item.size):
            doubts = self._doubts
            try:
                data = await self._source.read(item, item.size)
            except SourceUnreachable:
                raise
            except SourceError as error:
                return Seen(item, problem=str(error))
            except OverLimit:
                return Seen(item, problem="it grew since it was listed; the next pass reads it")
            self._believe(doubts)
            answer = await self._judge.judge(data, self._share, name=item.key)
            sha256 = answer.fingerprint.sha256 if answer.fingerprint else sha256_of(data)
        return Seen(item, _lean(answer), sha256)

    async def _write(self) -> None:
        """Record what is done, a batch at a time, until the pass closes."""
        while not self._closing or self._done:
            if not self._closing and len(self._done) < self._settings.write_batch:
                await _within(self._settings.write_seconds, self._wake)
            self._wake.clear()
            if self._run.kind is RunKind.WATCH and not self._closing:
                await self._read_again()
            batch, self._done = self._done, []
            if batch:
                await self._record(batch)

    async def _record(self, batch: list[tuple[Place, Seen]]) -> None:
        for place, _ in batch:
            place.done = True
        seen = [one for _, one in batch]
        cursor = self._order.reached()
        feeds = await self._judge.store.write(self._store, seen, cursor)
        for one, feed in zip(seen, feeds, strict=True):
            self._tell(replace(one, feed=feed))

    def _store(
        self, connection: Connection, batch: Sequence[Seen], cursor: str | None
    ) -> list[Feed | None]:
        now = int(time.time())
        read = [seen for seen in batch if seen.answer is not None and seen.was_read]
        met = [seen.sighting(self._run.source_id, self._terms, now) for seen in read]
        rows = image_rows(connection, (seen.sha256 for seen in batch if seen.sha256), now=now)
        record_sightings(connection, met, [rows.get(seen.sha256 or b"") for seen in read])
        decided = {rows[s.sha256]: s.decision for s in batch if s.sha256 and s.decision}
        note_met(connection, decided, own_issuer_id=own_issuer(connection, now=now))
        for seen in batch:
            if seen.is_finding:
                record_finding(connection, self._run.id, seen.finding())
        scanned = sum(seen.answer is not None and seen.answer.scanned for seen in batch)
        advance_run(connection, self._run.id, Advance(cursor, len(batch), scanned), now=now)
        return [published_in(connection, one.sha256) if one.sha256 else None for one in batch]

    def _raise(self, taking: asyncio.Task[None]) -> None:
        if self._failure is not None:
            raise self._failure
        if taking.done() and not taking.cancelled() and (error := taking.exception()):
            raise error


def _lean(answer: Answer) -> Answer:
    """Return an answer without its evidence, which may be large."""
    return replace(answer, evidence=Evidence())


async def _first(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs and wait until it has ended; what it raised is kept in the task."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # so that nobody calls it overlooked


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, or so long."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
