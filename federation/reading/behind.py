"""Stores one document while the next is fetched and verified.

Writes are done in the order they were given, and at most one is under way; what came of it is told
when the next is given, or at `settle`. So a turn knows of a document that did not fit one document
later, and has fetched one in vain. Leaving the block waits for the write, whatever else went wrong.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Behind(Generic[T]):
    """At most one write that is under way; use it as an asynchronous context."""

    def __init__(self) -> None:
        self._writing: asyncio.Task[T] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            await self.settle()
        elif self._writing is not None:
            await asyncio.wait([self._writing])
            if not self._writing.cancelled() and (fault := self._writing.exception()):
                error.add_note(f"and what was being stored failed: {fault}")

    async def put(self, write: Coroutine[Any, Any, T]) -> T | None:
        """Begin a write once the one before is done; return what came of that one, if any."""
        try:
            before = await self.settle()
        except BaseException:
            write.close()
            raise
        self._writing = asyncio.create_task(write)
        return before

    async def settle(self) -> T | None:
        """Wait for the write under way; return what came of it, None where there is none."""
        if self._writing is None:
            return None
        writing, self._writing = self._writing, None
        return await writing
