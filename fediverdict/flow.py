"""What bounds a pass over a source: bytes in flight, pictures a second, and order.

Pure bookkeeping for one event loop; no I/O. What flows is left to `source_scan`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Holds back whoever would take the sum of bytes in flight over `limit`, first come first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.held = 0

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Take `size` bytes (at most the limit) for the block."""
        if self._waiting or self.held + size > self._limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            await self._wait(size, turn)
        else:
            self.held += size
        try:
            yield
        finally:
            self._give_back(size)

    async def _wait(self, size: int, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(size)  # it was our turn already
            else:
                self._waiting.remove((size, turn))
                self._let_in()
            raise

    def _give_back(self, size: int) -> None:
        self.held -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.held + self._waiting[0][0] <= self._limit:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.held += size
                turn.set_result(None)


class Pace:
    """Lets at most `per_second` through a second, evenly; 0 lets everything through."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Return when it is the caller's turn."""
        if not self._gap:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + self._gap
        await asyncio.sleep(turn - now)


class Place:
    """Where an item stands in the order it was listed in."""

    __slots__ = ("cursor", "done")

    def __init__(self, cursor: str) -> None:
        self.cursor, self.done = cursor, False


class InOrder:
    """Knows how far everything is done without a gap, at most `window` items behind."""

    def __init__(self, window: int) -> None:
        self._places: deque[Place] = deque()
        self._room = asyncio.Semaphore(window)

    async def enter(self, cursor: str) -> Place:
        """Take the next place; waits while the first that is not done is `window` back."""
        await self._room.acquire()
        place = Place(cursor)
        self._places.append(place)
        return place

    def reached(self) -> str | None:
        """Return the cursor of the last item done without a gap; None if it did not move."""
        cursor = None
        while self._places and self._places[0].done:
            cursor = self._places.popleft().cursor
            self._room.release()
        return cursor
