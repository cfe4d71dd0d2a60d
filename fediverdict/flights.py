"""Shares one task among all who ask for the same thing at once, whoever of them leaves.

Decides nothing of what the task does. Its failure is told to all who wait, and remembered for
nobody: the next who asks starts anew. A task that is cut off because the program ends is no answer,
and no cancelling of those who wait for it: they are told that nothing was decided.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from fediverdict.errors import NotDecided

K = TypeVar("K")
T = TypeVar("T")


class Flights(Generic[K, T]):
    """The tasks under way, by what was asked for; belongs to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[T]] = {}
        self._closed = False

    def __iter__(self) -> Iterator["asyncio.Task[T]"]:
        return iter(self._flights.values())

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Return what the task gives, and whether it was begun for this caller.

        Raises what the task raises, and NotDecided where it was cut off.
        """
        if self._closed:
            raise NotDecided("The instance is stopping; ask again.")
        flight = self._flights.get(key)
        is_first = flight is None
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(start())
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await self._outcome(flight), is_first

    def close(self) -> None:
        """Cut off what is under way, and begin nothing more."""
        self._closed = True
        for flight in list(self._flights.values()):
            flight.cancel()

    async def _outcome(self, flight: "asyncio.Task[T]") -> T:
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if flight.cancelled() and not (asker and asker.cancelling()):
                raise NotDecided("The instance is stopping; ask again.") from None
            raise

    def _landed(self, key: K, flight: "asyncio.Task[T]") -> None:
        """Let a flight go; where all who waited left before it failed, nobody is told."""
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()
