"""Stores documents while the next ones are fetched and verified.

They are stored in the order they were given, those that wait for the ones before them together, up
to MOST; what came of them is told when a later one is given, or at `settle`. So a turn knows of a
document that did not fit a little late, and has fetched some in vain: whether a document comes next
must be decided where it is stored. Where storing several fails, they are stored one by one, so that
what is before the faulty one is kept: `store` must raise only where it stored nothing. Leaving the
block waits until all are stored, whatever else went wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

Item = TypeVar("Item")
T = TypeVar("T")

MOST: Final = 2
"""Documents that are stored together; as many may wait meanwhile.

More of them share a page of an index only where that is small, and other writes wait longer.
"""


class Behind(Generic[Item, T]):
    """Stores by `store`, which tells what came of each; use it as an asynchronous context."""

    def __init__(self, store: Callable[[Sequence[Item]], Awaitable[Sequence[T]]]) -> None:
        self._store = store
        self._waiting: list[Item] = []
        self._storing: asyncio.Task[list[T]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            await self.settle()
            return
        try:
            await self.settle()
        except Exception as fault:  # noqa: BLE001  # what is raised already goes first
            error.add_note(f"and what was being stored failed: {fault}")

    async def put(self, item: Item) -> list[T]:
        """Store one more; return what came of earlier ones, as far as it was not told yet."""
        self._waiting.append(item)
        if self._storing is None or self._storing.done() or len(self._waiting) == MOST:
            return await self._next()
        return []

    async def settle(self) -> list[T]:
        """Wait until all are stored; return what came of those of which it was not told yet."""
        told: list[T] = []
        while self._storing is not None or self._waiting:
            told += await self._next()
        return told

    async def _next(self) -> list[T]:
        """Wait for what is being stored, and begin to store what waits."""
        told = await self._stored()
        if self._waiting:
            self._storing = asyncio.create_task(self._store_all(self._waiting))
            self._waiting = []
        return told

    async def _stored(self) -> list[T]:
        if self._storing is None:
            return []
        try:
            told = await asyncio.shield(self._storing)  # whoever is cancelled, it goes on
        except Exception:
            self._waiting = []  # what comes after it would not fit
            self._storing = None
            raise
        self._storing = None
        return told

    async def _store_all(self, items: Sequence[Item]) -> list[T]:
        try:
            return list(await self._store(items))
        except Exception:
            if len(items) == 1:
                raise
        return [result for one in items for result in await self._store([one])]
