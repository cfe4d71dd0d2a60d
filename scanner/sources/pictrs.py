"""The originals of a pict-rs server, by its internal API: each is seen once, however often shown.

Newest first: a listing walks page by page into the past, and `watch` looks at the first page
until it meets what it knows. Key and mark are pict-rs's `hex` (sha256, size, format): an original
cannot change, so bytes with another digest are an error. Variants are not listed at all, which is
why this is better than scanning pict-rs's store. Deleting purges the original under every alias,
for good, and only after the alias has served the very bytes that were judged.
"""

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence

from scanner.errors import OverLimit, SourceChanged, SourceError
from scanner.sources.pictrs_client import Hash, Page, PictrsClient
from scanner.sources.seen import Seen, Told
from scanner.sources.settings import PictrsSettings
from scanner.sources.source import Item, Report

SHA256_HEX = 64
SIZE_HEX = 12
HEX = re.compile(r"[0-9a-f]{78}")
SLACK_SECONDS = 0.001
"""pict-rs keeps nanoseconds, a float microseconds: what was stored in between is given again."""
ALIASES_TRIED = 5


class PictrsSource:
    """A `Source` over one pict-rs server; its cursor is the slug of a page."""

    kind = "pict-rs"
    can_undo_delete = False

    def __init__(self, settings: PictrsSettings, report: Report) -> None:
        self._settings, self._report, self._told = settings, report, Told(report)
        self._client = PictrsClient(settings)
        self._seen = Seen(settings.remember_items)
        self._slots = asyncio.Semaphore(settings.requests_at_once)

    @property
    def location(self) -> str:
        """The server's URL."""
        return self._settings.url

    async def list(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield the originals, newest first, from the page of a cursor on into the past."""
        async for page in self._pages(cursor):
            for item in self._items(page, prefix):
                yield item

    async def _pages(
        self, cursor: str | None = None, before: float | None = None
    ) -> AsyncIterator[Page]:
        """Yield page after page; goes on by time where the slug of the next one was purged."""
        slug, oldest = cursor or None, before
        asked: set[str] = set()
        page = await self._client.page(slug=slug, before=None if slug else before)
        while True:
            yield page
            oldest = min((one.created for one in page.hashes if one.created), default=oldest)
            slug = page.next
            if slug is None:
                return
            if slug in asked:
                raise SourceError(f"{self.location} lists in a circle; list it again")
            asked.add(slug)
            page = await self._client.page(slug=slug)
            if page.current not in {None, slug} and oldest is not None:
                page = await self._client.page(before=oldest + SLACK_SECONDS)

    def _items(self, page: Page, prefix: str) -> Sequence[Item]:
        for one in page.hashes:
            if not one.aliases:
                self._told(f"{one.hex} in {self.location} has no alias and cannot be read")
        return [
            _item(one, page) for one in page.hashes if one.aliases and one.hex.startswith(prefix)
        ]

    async def read(self, item: Item, limit_bytes: int) -> bytes:
        """Return the original's bytes, checked against its hash."""
        if item.size > limit_bytes:
            raise OverLimit(f"{item.key} has more than {limit_bytes} bytes")
        async with self._slots:
            for alias in await self._aliases(item):
                with contextlib.suppress(SourceChanged):  # one alias may go while others stay
                    return await self._original(alias, item)
        raise SourceChanged(f"{item.key} is not served under any alias; list it again")

    async def _original(self, alias: str, item: Item) -> bytes:
        try:
            data = await self._client.original(alias, item.size)
        except OverLimit:
            data = b""  # longer than the original: other bytes
        if hashlib.sha256(data).hexdigest() != item.key[:SHA256_HEX]:
            raise SourceError(
                f"{_unlike(alias, item)}; pict-rs or something before it changes them"
            )
        return data

    async def delete(self, item: Item) -> None:
        """Purge the original with every alias, if an alias still serves what was judged."""
        async with self._slots:
            for alias in await self._aliases(item):
                with contextlib.suppress(SourceChanged):
                    served = await self._client.sha256_of(alias, item.size)
                    if served != item.key[:SHA256_HEX]:
                        raise SourceError(f"{_unlike(alias, item)}; nothing was deleted")
                    return await self._client.purge(alias)
        raise SourceChanged(f"{item.key} is not served under any alias; list it again")

    async def _aliases(self, item: Item) -> Sequence[str]:
        """Return the first few names of an original; looked up where the item brings none."""
        if item.key != item.mark or not HEX.fullmatch(item.key):
            raise SourceError(f"{item.key!a} is no hash of {self.location}")
        found = item.aliases or await self._looked_up(item)
        return found[:ALIASES_TRIED]

    async def _looked_up(self, item: Item) -> Sequence[str]:
        """Find an original by the time it was stored, or by walking through all of them."""
        before = None if item.modified is None else item.modified + SLACK_SECONDS
        async for page in self._pages(before=before):
            for one in page.hashes:
                if one.hex == item.key:
                    return one.aliases
            times = [one.created for one in page.hashes if one.created]
            if item.modified is not None and times and min(times) < item.modified - SLACK_SECONDS:
                break
        raise SourceChanged(f"{item.key} is not listed any more")

    async def watch(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield every original, then new ones; new ones do not wait for a backlog."""
        async for item in self._everything(cursor, prefix):
            yield item
        relist = time.monotonic() + self._settings.relist_seconds
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            whole = time.monotonic() >= relist
            found = self._everything(None, prefix) if whole else self._newest(prefix)
            try:
                async for item in found:
                    yield item
            except SourceError as error:
                self._report(f"{error}; trying again in {self._settings.poll_seconds:g} s")
                continue
            if whole:
                relist = time.monotonic() + self._settings.relist_seconds

    async def _everything(self, cursor: str | None, prefix: str) -> AsyncIterator[Item]:
        """Yield what was not given yet, and every `poll_seconds` look at the newest as well."""
        poll = time.monotonic() + self._settings.poll_seconds
        async for page in self._pages(cursor):
            for item in self._unseen(page, prefix):
                yield item
            if time.monotonic() >= poll:
                async for item in self._newest(prefix):
                    yield item
                poll = time.monotonic() + self._settings.poll_seconds
        self._seen.turn()

    async def _newest(self, prefix: str) -> AsyncIterator[Item]:
        """Yield what was not given yet, from the newest on to the first page with a known one."""
        async for page in self._pages():
            unseen = self._unseen(page, prefix)
            for item in unseen:
                yield item
            if len(unseen) < len(self._items(page, prefix)):
                return

    def _unseen(self, page: Page, prefix: str) -> Sequence[Item]:
        return [item for item in self._items(page, prefix) if self._seen.is_new(item)]

    def forget(self, item: Item) -> None:
        """Let `watch` yield this item again at its next full listing."""
        self._seen.forget(item)

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.close()


def _item(one: Hash, page: Page) -> Item:
    size = int(one.hex[SHA256_HEX : SHA256_HEX + SIZE_HEX], 16)
    return Item(one.hex, size, one.hex, one.created, page.current or "", one.aliases)


def _unlike(alias: str, item: Item) -> str:
    return f"{alias} serves other bytes than those of {item.key}"
