"""A source in memory: it counts what is read, and can be away, slow, or change under the reader."""

import asyncio

from scanner.errors import OverLimit, SourceChanged, SourceUnreachable
from scanner.sources.source import Item


class FakeSource:
    """Holds objects by key, listed in order of their keys."""

    kind = "fake"
    location = "memory"
    can_undo_delete = False

    def __init__(self, objects):
        self.objects = dict(objects)
        self.reads, self.deleted, self.forgotten = [], [], []
        self.in_flight = self.bytes_in_flight = self.most = self.most_bytes = 0
        self.away = False
        self.broken = set()  # keys that get no answer
        self.read_seconds = 0.0
        self.sizes = {}  # what the listing says, where it is wrong
        self.modified = {}
        self.events: asyncio.Queue[str] = asyncio.Queue()

    def item(self, key):
        data = self.objects[key]
        size = self.sizes.get(key, len(data))
        return Item(key, size, f"{hash(data)}", self.modified.get(key), key)

    async def list(self, cursor=None, prefix=""):
        for key in sorted(self.objects):
            if key.startswith(prefix) and (cursor is None or key > cursor):
                self._reach()
                yield self.item(key)

    async def watch(self, cursor=None, prefix=""):
        async for item in self.list(cursor, prefix):
            yield item
        while True:
            yield self.item(await self.events.get())

    def forget(self, item):
        self.forgotten.append(item.key)

    async def read(self, item, limit_bytes):
        self._reach()
        self.reads.append(item.key)
        if item.key in self.broken:
            raise SourceUnreachable(f"{item.key}: 500")
        data = self._the_one(item)
        if len(data) > limit_bytes:
            raise OverLimit(f"{item.key} has more than {limit_bytes} bytes")
        self.in_flight += 1
        self.bytes_in_flight += len(data)
        self.most = max(self.most, self.in_flight)
        self.most_bytes = max(self.most_bytes, self.bytes_in_flight)
        await asyncio.sleep(self.read_seconds)
        self.in_flight -= 1
        self.bytes_in_flight -= len(data)
        return data

    async def delete(self, item):
        self._reach()
        self._the_one(item)
        del self.objects[item.key]
        self.deleted.append(item.key)

    async def close(self):
        pass

    def _the_one(self, item):
        if item.key not in self.objects or self.item(item.key).mark != item.mark:
            raise SourceChanged(f"{item.key} is gone or has changed")
        return self.objects[item.key]

    def _reach(self):
        if self.away:
            raise SourceUnreachable("the source does not answer")
