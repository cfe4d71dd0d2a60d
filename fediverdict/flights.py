"""One task for all who ask the judge for the same at once, and what its end means for them.

Decides nothing of what the task does. A task that is cut off because the program ends is no answer,
and no cancelling of those who wait for it: they are told that nothing was decided.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from federation.shared_tasks import SharedTasks
from fediverdict.errors import NotDecided

K = TypeVar("K")
T = TypeVar("T")


class Flights(Generic[K, T]):
    """The tasks under way, by what was asked for; belongs to one event loop."""

    def __init__(self) -> None:
        self._tasks = SharedTasks[K, T](quiet=True)
        self._closed = False

    def __iter__(self) -> Iterator["asyncio.Task[T]"]:
        return iter(self._tasks)

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Return what the task gives, and whether it was begun for this caller.

        Raises what the task raises, and NotDecided where it was cut off.
        """
        if self._closed:
            raise NotDecided("The instance is stopping; ask again.")
        flight, is_first = self._tasks.begin(key, start)
        return await self._outcome(flight), is_first

    def close(self) -> None:
        """Cut off what is under way, and begin nothing more."""
        self._closed = True
        self._tasks.cancel()

    async def _outcome(self, flight: "asyncio.Task[T]") -> T:
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if flight.cancelled() and not (asker and asker.cancelling()):
                raise NotDecided("The instance is stopping; ask again.") from None
            raise
