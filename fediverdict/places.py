"""How many pictures are judged at once through the API, and how many may wait for that.

Pure bookkeeping for one event loop. Whoever finds no room is told so at once: a queue without an
end would only answer when nobody listens any more.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fediverdict.errors import NotDecided


class Places:
    """So many places, and so many more callers that wait for one, first come first."""

    def __init__(self, places: int, waiting: int) -> None:
        self._places, self._limit = asyncio.Semaphore(places), waiting
        self._waiting = 0

    @asynccontextmanager
    async def take(self, *, first: bool = False) -> AsyncIterator[None]:
        """Hold a place for the block; raises NotDecided when too many wait.

        `first` is for those who were let in before: they are not sent away.
        """
        if not first and self._places.locked() and self._waiting >= self._limit:
            raise NotDecided(f"{self._limit} pictures wait already; ask again.")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


class ByteRoom:
    """Room for pictures of so many bytes in all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def has(self, size: int) -> bool:
        """Tell whether a picture of so many bytes still fits."""
        return self.held + size <= self._limit

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Take room for the block."""
        self.held += size
        try:
            yield
        finally:
            self.held -= size
