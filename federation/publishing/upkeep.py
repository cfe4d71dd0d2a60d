"""What is done for our feeds in the background: runs signed, snapshots made, fronts dropped.

Every step is one transaction and finds what is to do in the database, so it may be cut off anywhere
and goes on at the next turn. Documents are put together in a thread, a part or run at a time.
"""

import asyncio
from typing import Final

from cache.storage.database import Store
from cache.verdict import Feed
from federation.addresses import FEED_NAMES
from federation.instance import Instance
from federation.publishing import dropping, runs, snapshots

TURN_SECONDS: Final = 60
DROP_SECONDS: Final = 3_600
"""How often fronts are looked at: it may mean to look through the rows of a block."""


class Upkeep:
    """The upkeep of the two feeds of this instance."""

    def __init__(self, store: Store, instance: Instance) -> None:
        self._store, self._instance = store, instance
        self._dropped = 0

    async def run_once(self) -> int:
        """Do what is due; return how many runs were signed, snapshots made and blocks dropped."""
        done = 0
        for feed in FEED_NAMES:
            done += await self._sign_runs(feed) + await self._make_snapshot(feed)
        if self._instance.clock() - self._dropped >= DROP_SECONDS:
            self._dropped = self._instance.clock()
            for feed in FEED_NAMES:
                done += await self._drop_fronts(feed)
        return done

    async def _sign_runs(self, feed: Feed) -> int:
        signed = 0
        while run := await self._store.read(runs.next_run, feed, self._instance.clock()):
            texts = await asyncio.to_thread(self._store.read_now, runs.page_texts, run)
            document = await asyncio.to_thread(runs.merged, texts)
            await self._store.write(runs.sign_run, run, document)
            signed += 1
        return signed

    async def _make_snapshot(self, feed: Feed) -> int:
        if not await self._store.write(snapshots.begin, feed, self._instance.clock()):
            return 0
        while made := await self._store.read(snapshots.draft, self._instance, feed):
            batch = await asyncio.to_thread(self._store.read_now, snapshots.next_rows, made)
            if not batch.rows:
                await self._store.write(snapshots.finish, made)
                return 1
            name, text = await asyncio.to_thread(snapshots.make_part, made, batch)
            await self._store.write(snapshots.store_part, made, name, text)
        await self._store.write(snapshots.forget, feed)
        return 0

    async def _drop_fronts(self, feed: Feed) -> int:
        dropped = 0
        while end := await asyncio.to_thread(
            self._store.read_now, dropping.droppable, feed, self._instance.clock()
        ):
            await self._store.write(dropping.drop, feed, end)
            dropped += 1
        return dropped
