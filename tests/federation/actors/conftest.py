"""Two instances of ours that follow each other, as far as a test wants it."""

import pytest

import migrations
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.verdict import Feed
from tests.fakes.instance import Ours

REFETCH_SECONDS = 700  # later than this a peer's actor may be fetched again


class Pair:
    """`alpha` publishes, `beta` and `gamma` follow; both go on together."""

    def __init__(self, alpha, make):
        self.alpha, self._make = alpha, make
        self.clock = alpha.clock

    async def settle(self, *others):
        for _ in range(4):
            for one in (self.alpha, *others):
                await one.settle()

    async def reader(self, name, feed=Feed.CLEAN):
        """A new instance that follows a feed of alpha's and read it."""
        reader = await self._make(name)
        await self.follow(reader, feed)
        return reader

    async def follow(self, reader, feed=Feed.CLEAN):
        handle = f"{feed.name.lower()}@127.0.0.1:{self.alpha.port}"
        await reader.federation.follow(handle, PeerDefaults())
        await self.settle(reader)
        await self.alpha.federation.approve(f"{reader.base}/actor", feed)
        await self.settle(reader)

    async def later(self, *others, seconds=REFETCH_SECONDS):
        """Let time pass, and settle."""
        self.clock.now += seconds
        await self.settle(*others)


@pytest.fixture
async def alpha(store, clock, tmp_path):
    """An instance that publishes, on SQLite and on PostgreSQL in turn."""
    started = await Ours(store, clock, tmp_path / "alpha", "alpha").start()
    yield started
    await started.stop()


@pytest.fixture
async def pair(alpha, sqlite_url, clock, tmp_path):
    made = []

    async def make(name):
        opened = Store.open(sqlite_url.replace(".sqlite3", f"-{name}.sqlite3"))
        migrations.upgrade(opened.engine.url)
        reader = await Ours(opened, clock, tmp_path / name, name).start()
        made.append((reader, opened))
        return reader

    yield Pair(alpha, make)
    for reader, opened in made:
        await reader.stop()
        opened.close()
