"""Small things every source's test needs."""

import asyncio
from pathlib import Path

from tests.waiting import PATIENCE


def descriptors():
    """Return how many files this process holds open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def collect(items, count=None):
    """Return the items of a listing; with `count`, the first so many of a watch."""
    found = []
    async with asyncio.timeout(PATIENCE):
        try:
            async for item in items:
                found.append(item)
                if len(found) == count:
                    break
        finally:
            await items.aclose()
    return found


async def keys(items, count=None):
    return [item.key for item in await collect(items, count)]


async def one(source, key):
    """Return the item of one key."""
    return next(item for item in await collect(source.list()) if item.key == key)


class Watching:
    """Takes from a watch in the background, one item at a time."""

    def __init__(self, items, source=None):
        self._items, self.source = items, source

    async def next(self):
        async with asyncio.timeout(PATIENCE):
            return await anext(self._items)

    async def nothing(self, seconds=0.5):
        """Whether nothing comes for a while; the watch goes on."""
        waiting = asyncio.ensure_future(anext(self._items))
        done, _ = await asyncio.wait({waiting}, timeout=seconds)
        if done:
            return False
        waiting.cancel()
        await asyncio.wait({waiting})
        return True

    async def stop(self):
        await self._items.aclose()


def deep(root, length):
    """Write a file whose key has so many bytes below `root`; returns the key."""
    folders = "/".join(["d" * 199] * (length // 200))
    key = f"{folders}/{'x' * (length - len(folders) - 1)}"
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"deep")
    return key
