"""Watches one source without end: first what is there, then whatever appears.

A source that is away, and a database that is, are waited for, twice as long each time up to a
limit, with jitter, so that many watchers do not come back at once; then everything is listed
again, as what happened meanwhile was not told. Anything else that fails ends the watch.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from cache.errors import DatabaseUnavailable
from fediverdict.config import ScanSettings
from fediverdict.stopping import stopped_within
from scanner.errors import SourceError

Say = Callable[[str], None]


class OnePass(Protocol):
    """Watches the source once, until `stop` is set or the source is away."""

    async def __call__(self, stop: asyncio.Event) -> None: ...  # noqa: D102


class Watching:
    """Keeps one source watched."""

    def __init__(
        self,
        name: str,
        one_pass: OnePass,
        settings: ScanSettings,
        say: Say,
        throw: Callable[[], float] = random.random,  # 0..1
    ) -> None:
        self._name, self._pass, self._settings = name, one_pass, settings
        self._say, self._throw = say, throw

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set; raises what no waiting mends."""
        pause = self._settings.retry_seconds
        while not stop.is_set():
            started = time.monotonic()
            try:
                await self._pass(stop)
            except (SourceError, DatabaseUnavailable) as error:
                why = str(error)
            else:
                why = "the listing ended"
            if stop.is_set():
                return
            if time.monotonic() - started > self._settings.retry_seconds_max:
                pause = self._settings.retry_seconds  # it was there for long: a new trouble
            seconds = self.jittered(pause)
            self._say(f"{self._name}: {why}; trying again in {seconds:.0f} s")
            if await stopped_within(seconds, stop):
                return
            pause = min(pause * 2, self._settings.retry_seconds_max)

    def jittered(self, pause: float) -> float:
        """Return a pause of half to the whole of `pause`, in seconds."""
        return pause * (0.5 + self._throw() / 2)
