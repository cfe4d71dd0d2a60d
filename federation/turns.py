"""Works for many at once, one task a key, so that whoever is slow holds up nobody but itself.

Decides who comes next: whose last turn is longest ago, at most `at_once` of them at a time. A key
whose work ends in a fault is left alone for `FAULT_SECONDS`, and the others go on. What is due
for a key, and what its work is, is left to the functions handed in; a key is never worked for
twice at once, so its work stays in order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

_log = logging.getLogger(__name__)
FAULT_SECONDS: Final = 60.0

Due = Callable[[], Awaitable[Sequence[str]]]
Work = Callable[[str], Awaitable[int]]


class Turns:
    """See the module; `poll_seconds` is how often new keys are looked for while slow ones run."""

    def __init__(self, at_once: int, poll_seconds: float) -> None:
        self._at_once, self._poll_seconds = at_once, poll_seconds
        self._turn = 0
        self._served: dict[str, int] = {}  # key -> its last turn, of keys that are due
        self._left_alone: dict[str, float] = {}  # key -> until when, by the loop's clock

    async def run(self, due: Due, work: Work) -> int:
        """Work for whoever is due until nobody is; return the sum of what `work` returned."""
        running: dict[asyncio.Task[int], str] = {}
        done = 0
        try:
            while True:
                for key in self._next(await due(), set(running.values())):
                    running[asyncio.create_task(self._guarded(work, key))] = key
                if not running:
                    return done
                ended, _ = await asyncio.wait(
                    running, timeout=self._poll_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                for task in ended:
                    del running[task]
                    done += task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _next(self, due: Sequence[str], running: set[str]) -> list[str]:
        """Return who gets a turn now, of those that are due and have none."""
        now = asyncio.get_running_loop().time()
        self._left_alone = {key: end for key, end in self._left_alone.items() if end > now}
        self._served = {key: self._served.get(key, 0) for key in due}
        free = [key for key in due if key not in running and key not in self._left_alone]
        chosen = sorted(free, key=self._served.__getitem__)[: self._at_once - len(running)]
        for key in chosen:
            self._turn += 1
            self._served[key] = self._turn
        return chosen

    async def _guarded(self, work: Work, key: str) -> int:
        try:
            return await work(key)
        except Exception:  # noqa: BLE001  # a fault with one holds up nobody else
            _log.exception("a turn failed", extra={"action": "turn_failed", "key": key})
            self._left_alone[key] = asyncio.get_running_loop().time() + FAULT_SECONDS
            return 0
