"""Our own feeds while `serve` runs: begins epochs, seals pages, notes what was served.

Decides when a new epoch begins: at the start, when a feed has none, or when the note in
`state/feed-head.json` is missing while pages exist or names a page the database does not hold
(it was restored, cloned or moved). A page is noted before it is first served or delivered.
"""

import asyncio
from collections.abc import Mapping

from sqlalchemy import Connection

from cache.storage.database import Store
from cache.verdict import Feed
from federation.addresses import FEED_NAMES
from federation.instance import Instance
from federation.publishing import feed_log
from federation.publishing.head import FeedHead, HeadFile
from federation.publishing.sealing import seal_next
from federation.settings import FeedSettings


class Feeds:
    """The two feeds of this instance."""

    def __init__(
        self,
        store: Store,
        instance: Instance,
        settings: FeedSettings,
        rules: Mapping[str, str],
        head_file: HeadFile,
    ) -> None:
        self._store = store
        self._instance = instance
        self._settings = settings
        self.rules = rules
        self._heads = head_file
        self._noting = asyncio.Lock()

    async def start(self) -> None:
        """Compare note and database, begin new epochs where they differ, and note the heads."""
        for feed, name in FEED_NAMES.items():
            noted = self._heads.get(name)
            await self._store.write(continue_or_begin, feed, noted, self._instance.clock())
        await self.note_heads()

    async def seal(self) -> int:
        """Seal every page that is due, one transaction each; return how many."""
        pages = 0
        for feed in FEED_NAMES:
            while await self._seal_next(feed):
                pages += 1
        return pages

    async def note_heads(self) -> None:
        """Note the last page of each feed durably, unless it is noted already."""
        async with self._noting:
            for feed, name in FEED_NAMES.items():
                end = await self._store.read(feed_log.last_page, feed)
                if end is not None and self._heads.get(name) != end.head:
                    await asyncio.to_thread(self._heads.note, name, end.head)

    async def _seal_next(self, feed: Feed) -> bool:
        rows = await self._store.read(feed_log.unsealed, feed, 1)
        return bool(rows) and await self._store.write(
            seal_next, self._instance, feed, self._settings, self.rules
        )


def continue_or_begin(conn: Connection, feed: Feed, noted: FeedHead | None, now: int) -> None:
    """Begin a new epoch of `feed` unless the database holds what was noted as served."""
    end = feed_log.last_page(conn, feed)
    if end is None or noted is None or not feed_log.holds(conn, feed, noted):
        feed_log.begin_epoch(conn, feed, now)
