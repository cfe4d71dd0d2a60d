"""Works for many at once, one task a key, so that whoever is slow holds up nobody but itself.

Decides who comes next: whose last turn is longest ago, at most `at_once` of them at a time. A key
whose work ends in a fault is left alone for `FAULT_SECONDS`, and the others go on. What is due
for a key, and what its work is, is left to the functions handed in; a key is never worked for
twice at once, so its work stays in order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

_log = logging.getLogger(__name__)
FAULT_SECONDS: Final = 60.0

Due = Callable[[], Awaitable[Sequence[str]]]
Work = Callable[[str], Awaitable[int]]


class Turns:
    """See the module; `poll_seconds` is how often new keys are looked for while others work."""

    def __init__(self, at_once: int, poll_seconds: float) -> None:
        self._at_once, self._poll_seconds = at_once, poll_seconds
        self._turn = 0
        self._served: dict[str, int] = {}  # key -> its last turn, of keys that are due
        self._left_alone: dict[str, float] = {}  # key -> until when, by the loop's clock

    async def run(self, due: Due, work: Work) -> int:
        """Work for whoever is due until nobody is; return the sum of what `work` returned."""
        running: dict[str, asyncio.Task[int]] = {}
        done = 0
        try:
            while (waiting := self._in_order(await due(), running)) or running:
                done += await self._serve(waiting, running, work)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)
        return done

    def _in_order(self, due: Sequence[str], running: dict[str, asyncio.Task[int]]) -> deque[str]:
        """Return who waits for a turn, the one that waits longest first."""
        now = asyncio.get_running_loop().time()
        self._left_alone = {key: end for key, end in self._left_alone.items() if end > now}
        self._served = {key: self._served.get(key, 0) for key in due}
        free = [key for key in due if key not in running and key not in self._left_alone]
        return deque(sorted(free, key=self._served.__getitem__))

    async def _serve(
        self, waiting: deque[str], running: dict[str, asyncio.Task[int]], work: Work
    ) -> int:
        """Give turns to those who wait until one is served who may be due again, or for a while."""
        loop = asyncio.get_running_loop()
        ends, done = loop.time() + self._poll_seconds, 0
        while True:
            while waiting and len(running) < self._at_once:
                key = waiting.popleft()
                self._turn += 1
                self._served[key] = self._turn
                running[key] = loop.create_task(self._guarded(work, key))
            await asyncio.wait(
                running.values(),
                timeout=max(0.0, ends - loop.time()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for key in [key for key, task in running.items() if task.done()]:
                done += running.pop(key).result()
            if not waiting or loop.time() >= ends:
                return done

    async def _guarded(self, work: Work, key: str) -> int:
        try:
            return await work(key)
        except Exception:  # noqa: BLE001  # a fault with one holds up nobody else
            _log.exception("a turn failed", extra={"action": "turn_failed", "key": key})
            self._left_alone[key] = asyncio.get_running_loop().time() + FAULT_SECONDS
            return 0
