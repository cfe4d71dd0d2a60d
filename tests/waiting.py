"""How tests wait: for what happens, and so long that a busy machine fails none of them.

Machines that run tests may leave a process without a processor for ten seconds and more. A test
waits for what it needs, never for a time in which that should have happened; the patience is
there so that a failing test ends.
"""

import asyncio
import time

PATIENCE = 120
"""Seconds after which what did not happen is a failure."""
HELD = 2 * PATIENCE
"""Seconds that a thread waits at most for a test to let it go on: past it the process can end."""


async def until(condition):
    """Wait until a condition holds, while the loop does its work."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def wait_until(condition, said="it did not come to be", seconds=PATIENCE):
    """Wait in a test without a loop; `said` is what its failure says."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def happens(awaitable):
    """Return what something awaited gives, within the patience."""
    return asyncio.wait_for(awaitable, PATIENCE)
