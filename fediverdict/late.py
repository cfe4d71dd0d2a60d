"""Matches pictures after they were answered for: `decide.fast_clean`.

Decides how many may be answered first: while those that wait are of so many bytes, and none waits
longer than 5 s. What is matched, and what follows, is left to the function handed in. A picture
that the process did not get to is not fingerprinted, so the next one who asks has it matched; one
that could not be matched is not answered first again, or it would pass for as long as that fails.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

LATE_SECONDS = 5.0
"""Where one has waited so long, nothing more is answered first until it is matched."""

AT_ONCE = 2
"""Pictures matched at once; the decoders serve others meanwhile."""

MAX_FAILED = 10_000
"""Pictures that could not be matched, so many of them remembered; some 1 MB."""


class Late:
    """Pictures that wait to be matched; belongs to one event loop."""

    def __init__(self, limit_bytes: int, match: Callable[[bytes, bytes], Awaitable[None]]) -> None:
        self._limit_bytes, self._match = limit_bytes, match
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting: dict[bytes, float] = {}  # sha256 -> since when, oldest first
        self._failed: dict[bytes, None] = {}  # oldest first
        self._tasks: set[asyncio.Task[None]] = set()
        self.held_bytes = 0

    def has_room(self, size: int, sha256: bytes) -> bool:
        """Tell whether a picture of so many bytes may be answered before it is matched."""
        if sha256 in self._failed:
            return False
        if sha256 in self._waiting:
            return True
        since = next(iter(self._waiting.values()), None)
        is_late = since is not None and _now() - since >= LATE_SECONDS
        return not is_late and self.held_bytes + size <= self._limit_bytes

    def put(self, data: bytes, sha256: bytes) -> None:
        """Match a picture in the background, once."""
        if sha256 in self._waiting:
            return
        self._waiting[sha256] = _now()
        self.held_bytes += len(data)
        task = asyncio.get_running_loop().create_task(self._run(data, sha256))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._let_go(done, data, sha256))

    def close(self) -> None:
        """Let go of what waits; whoever asks next has it matched."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, data: bytes, sha256: bytes) -> None:
        async with self._room:
            try:
                await self._match(data, sha256)
            except Exception:
                logger.exception("a picture answered first was not matched; the next ask does it")
                self._remember(sha256)

    def _remember(self, sha256: bytes) -> None:
        """Note that a picture could not be matched, and let go of the oldest past the limit."""
        self._failed[sha256] = None
        while len(self._failed) > MAX_FAILED:
            del self._failed[next(iter(self._failed))]

    def _let_go(self, done: "asyncio.Task[None]", data: bytes, sha256: bytes) -> None:
        self._tasks.discard(done)
        self._waiting.pop(sha256, None)
        self.held_bytes -= len(data)


def _now() -> float:
    return asyncio.get_running_loop().time()
