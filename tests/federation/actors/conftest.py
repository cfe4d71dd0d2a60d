"""Two instances of ours that follow each other, as far as a test wants it."""

import shutil

import pytest

from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.verdict import Feed
from tests.fakes.instance import Ours

BOTH = pytest.mark.parametrize("alpha", ["sqlite_url", "postgres_url"], indirect=True)
"""Marks a test that runs on both databases."""

REFETCH_SECONDS = 700  # later than this a peer's actor may be fetched again


class Pair:
    """`alpha` publishes, `beta` and `gamma` follow; both go on together."""

    def __init__(self, alpha, make):
        self.alpha, self._make = alpha, make
        self.clock = alpha.clock

    async def settle(self, *others):
        for _ in range(2):
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
async def alpha(request, clock, tmp_path):
    """An instance that publishes, on SQLite unless the test is marked with `BOTH`."""
    url = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    store = Store.open(url)
    started = await Ours(store, clock, tmp_path / "alpha", "alpha").start()
    yield started
    await started.stop()
    store.close()


@pytest.fixture
async def pair(alpha, _sqlite_template, clock, tmp_path):
    made = []

    async def make(name):
        path = shutil.copy(_sqlite_template, tmp_path / f"{name}.sqlite3")
        opened = Store.open(f"sqlite:///{path}")
        reader = await Ours(opened, clock, tmp_path / name, name).start()
        made.append((reader, opened))
        return reader

    yield Pair(alpha, make)
    for reader, opened in made:
        await reader.stop()
        opened.close()
