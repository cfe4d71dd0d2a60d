"""One task for all who ask for the same at once, whoever of them leaves.

Its failure is told to all who wait, and remembered for nobody: the next who asks starts anew. A
failure of which nobody is left to be told is logged by asyncio, unless the tasks are `quiet`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class SharedTasks(Generic[K, T]):
    """The tasks under way, by what was asked for; belongs to one event loop."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __iter__(self) -> Iterator["asyncio.Task[T]"]:
        return iter(list(self._tasks.values()))

    def begin(
        self, key: K, start: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple["asyncio.Task[T]", bool]:
        """Return the task of a key, and whether it was begun by this call.

        Await it shielded (`asyncio.shield`), or whoever leaves ends it for all.
        """
        task = self._tasks.get(key)
        if task is not None:
            return task, False
        task = self._tasks[key] = asyncio.create_task(start())
        task.add_done_callback(lambda done: self._ended(key, done))
        return task, True

    def cancel(self) -> None:
        """Cut off what is under way."""
        for task in self:
            task.cancel()

    async def wait(self) -> None:
        """Wait until what is under way has ended."""
        await asyncio.gather(*self, return_exceptions=True)

    def _ended(self, key: K, task: "asyncio.Task[T]") -> None:
        self._tasks.pop(key, None)
        if self._quiet and not task.cancelled():
            task.exception()  # asyncio logs those that nobody asked for
