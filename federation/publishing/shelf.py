"""Documents as they are served, kept in memory for whoever asks next.

Decides how much is kept (the oldest go first), that one that several ask for at a time is made
once, whoever of them goes away, and how many are made at a time. They never change, so that none
can be stale. What is made, and who may read it, is the caller's.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from federation.errors import NotFound
from federation.shared_tasks import SharedTasks

MAKERS: Final = 2
"""Documents that are made at a time, each in a thread."""


class Shelf:
    """Keeps documents by their names, at most `max_bytes` of them all together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._making = SharedTasks[str, bytes | None]()
        self._makers = asyncio.Semaphore(MAKERS)

    async def get(self, name: str, make: Callable[[], bytes | None]) -> bytes:
        """Return the document `name`; where it is not kept, `make` is called in a thread.

        Raises `NotFound` where `make` returns None.
        """
        body = self._kept.get(name)
        if body is not None:
            self._kept.move_to_end(name)
            return body
        task, _ = self._making.begin(name, lambda: self._make(name, make))
        made = await asyncio.shield(task)
        if made is None:
            raise NotFound("there is no such document")
        return made

    async def close(self) -> None:
        """Wait for what is being made."""
        await self._making.wait()

    async def _make(self, name: str, make: Callable[[], bytes | None]) -> bytes | None:
        async with self._makers:
            body = await asyncio.to_thread(make)
        if body is not None and len(body) <= self._max_bytes:
            self._kept[name] = body
            self._bytes += len(body)
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return body
