"""Watches one folder: a full listing, then what the kernel says, and a listing now and then.

Finished files come before the rest of a listing, so that a new picture does not wait for a
backlog. Lost events, and the end of `relist_seconds`, lead to another full listing; where not
every folder could be watched, one every `poll_seconds`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial

from scanner.errors import SourceError
from scanner.sources import files
from scanner.sources.inotify import FolderEvents
from scanner.sources.seen import Seen
from scanner.sources.settings import FolderSettings
from scanner.sources.source import Item, Report
from scanner.sources.walk import OnFolder
from scanner.sources.wanted import Wanted

AT_ONCE = 100
"""Items of a listing between two looks at what the kernel says."""

Walk = Callable[[Wanted, OnFolder], AsyncIterator[Item]]


class FolderWatch:
    """One watch over one folder; raises OSError where the system has no more room for one."""

    def __init__(
        self, settings: FolderSettings, seen: Seen, report: Report, walk: Walk, prefix: str
    ) -> None:
        self._settings, self._seen, self._report = settings, seen, report
        self._walk, self._prefix = walk, prefix
        self._told: str | None = None
        self._events = FolderEvents(
            settings.path,
            settle_seconds=settings.settle_seconds,
            pending_items=settings.pending_items,
            watch_folders=settings.watch_folders,
        )

    async def items(self, cursor: str | None) -> AsyncGenerator[Item, None]:
        """Yield what is there, then what appears, without end; raises if it cannot begin."""
        settings, events = self._settings, self._events
        try:
            async for item in self._listed(events, Wanted(cursor, self._prefix)):
                yield item
            while True:
                async for item in self._until(events, time.monotonic() + self._pause(events)):
                    yield item
                try:
                    async for item in self._listed(events, Wanted(None, self._prefix)):
                        yield item
                except SourceError as error:
                    self._report(f"{error}; trying again in {settings.poll_seconds:g} s")
                    events.incomplete = str(error)
        finally:
            events.close()

    def _pause(self, events: FolderEvents) -> float:
        """Return the seconds until the next full listing."""
        if events.incomplete is None:
            return self._settings.relist_seconds
        if events.incomplete != self._told:
            self._report(f"{events.incomplete}; listing every {self._settings.poll_seconds:g} s")
        self._told = events.incomplete
        return self._settings.poll_seconds

    async def _listed(self, events: FolderEvents, wanted: Wanted) -> AsyncGenerator[Item, None]:
        """Yield what a full listing holds, and between its items what has appeared."""
        events.lost, events.incomplete = False, None
        count = 0
        async for item in self._walk(wanted, events.watch_folder):
            if self._seen.is_new(item):
                yield item
            count += 1
            if count % AT_ONCE == 0:
                async for appeared in self._appeared(events):
                    yield appeared
        self._seen.turn()

    async def _until(self, events: FolderEvents, end: float) -> AsyncGenerator[Item, None]:
        """Yield what appears until a full listing is due."""
        while not events.lost and time.monotonic() < end:
            async for item in self._appeared(events):
                yield item
            now = time.monotonic()
            if not (events.pending or events.lost):
                await events.wait(events.seconds_to_settle(now, max(0.0, end - now)))

    async def _appeared(self, events: FolderEvents) -> AsyncGenerator[Item, None]:
        """Yield what has been completed since the last look."""
        now = time.monotonic()
        events.drain(now)
        await asyncio.to_thread(events.settle, now, self._mark)
        while (folder := events.take_folder()) is not None:
            try:
                async for item in self._walk(Wanted(None, f"{folder}/"), events.watch_folder):
                    if item.key.startswith(self._prefix) and self._seen.is_new(item):
                        yield item
            except SourceError:
                events.lost = True  # the root itself went; the next listing says so
        for key in events.take_ready(AT_ONCE):
            found = await asyncio.to_thread(partial(files.find, self._settings.path, key))
            if found and key.startswith(self._prefix) and self._seen.is_new(found):
                yield found

    def _mark(self, key: str) -> str | None:
        found = files.find(self._settings.path, key)
        return found.mark if found else None
