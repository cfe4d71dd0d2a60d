"""A bucket of an S3-compatible store: lists from a key on, reads and deletes single objects.

Mark: ETag, size and the second of the last change (stores list fractions that they do not repeat
for a single object). `delete` looks first and then deletes, as the client has no conditional
delete: a writer that hits the gap loses what it wrote. Whether a bucket keeps versions cannot be
asked through the client, so the admin says so, and each deletion checks it.

The client (`obstore`, the object_store of Apache Arrow) cannot name keys with empty, `.` or `..`
parts or control characters: those objects are told and left out. With the credentials of a
machine's role the client lists as well, and a listing ends at such a key, with an error.
"""

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING

import obstore

from scanner.errors import OverLimit, SourceChanged, SourceError
from scanner.sources.polling import new_items, poll
from scanner.sources.s3_client import errors, open_store
from scanner.sources.s3_listing import BucketListing, is_nameable
from scanner.sources.seen import Seen, Told
from scanner.sources.settings import S3Settings
from scanner.sources.source import Item, Report
from scanner.sources.wanted import is_short

if TYPE_CHECKING:
    from obstore import ObjectMeta

UNSAFE = re.compile(r"[^A-Za-z0-9/_.=+@:,;!$&'() -]")
"""Characters that the client may write otherwise in an offset, which changes their order."""
KEY_TOLD = 1_100
"""Characters of a key that are told when it is left out."""
CHUNK_BYTES = 262_144
"""Bytes of a body taken at a time."""


class S3Source:
    """A `Source` over one bucket; its cursor is a key."""

    kind = "s3"

    def __init__(self, settings: S3Settings, report: Report) -> None:
        self._settings, self._report = settings, report
        self._prefix = f"{settings.prefix.rstrip('/')}/" if settings.prefix else ""
        self._seen = Seen(settings.remember_items)
        self._store = open_store(settings)
        self._told = Told(report)
        self._listing = BucketListing(settings, f"cannot list in {self.location}")
        self._slots = asyncio.Semaphore(settings.requests_at_once)

    @property
    def location(self) -> str:
        """The bucket, its prefix and the host."""
        host = self._settings.endpoint or f"amazonaws, {self._settings.region}"
        return f"s3://{self._settings.bucket}/{self._prefix} ({host})"

    @property
    def can_undo_delete(self) -> bool:
        """Whether the bucket keeps versions, as the admin says; checked at each deletion."""
        return self._settings.versioned

    async def list(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield the objects in the order of their keys, a page of the store at a time."""
        if not (prefix.startswith(self._prefix) or self._prefix.startswith(prefix)):
            return
        narrow = max(self._prefix, prefix, key=len)
        if self._listing.is_possible:
            found = self._listed(cursor or "", narrow)
        else:
            found = self._listed_by_client(cursor or "", narrow)
        async with contextlib.aclosing(found):
            async for item in found:
                yield item

    async def _listed(self, cursor: str, narrow: str) -> AsyncGenerator[Item, None]:
        async with contextlib.aclosing(self._listing.objects(cursor, narrow)) as found:
            async for one in found:
                if one.key.endswith("/") and one.size == 0:
                    continue  # what consoles make for a folder: it holds nothing
                if not is_nameable(one.key) or not is_short(one.key):
                    self._told(
                        f"{one.key[:KEY_TOLD]!a} in {self.location} cannot be named by the client "
                        "and was left out; rename or delete that object"
                    )
                elif one.key.startswith(narrow) and one.key > cursor:
                    mark = _mark(one.etag, one.size, one.modified)
                    yield Item(one.key, one.size, mark, one.modified.timestamp(), one.key)

    async def _listed_by_client(self, cursor: str, narrow: str) -> AsyncGenerator[Item, None]:
        folder = narrow.rpartition("/")[0]  # the client takes whole parts of a key only
        stream = obstore.list(
            self._store,
            folder or None,
            offset=_offset(cursor),
            chunk_size=self._settings.page_items,
        )
        while True:
            with self._errors("list"):
                page = await anext(stream, None)
            if page is None:
                return
            for meta in page:
                key = meta["path"]
                if key > narrow and not key.startswith(narrow):
                    return  # sorted: nothing more begins with it
                if key.startswith(narrow) and key > cursor:
                    yield _item(meta)

    async def read(self, item: Item, limit_bytes: int) -> bytes:
        """Return the object's bytes if it still is the one listed; never takes more than those."""
        with self._errors(f"read {item.key!r}"):
            async with self._slots, asyncio.timeout(self._settings.timeout_seconds):
                return await self._read(item, limit_bytes)

    async def _read(self, item: Item, limit_bytes: int) -> bytes:
        found = await obstore.get_async(self._store, item.key)
        self._check(item, found.meta)
        if found.meta["size"] > limit_bytes:
            raise OverLimit(f"{item.key} has more than {limit_bytes} bytes")
        body = bytearray()
        async for chunk in found.stream(CHUNK_BYTES):
            body += chunk
            if len(body) > item.size:
                break
        if len(body) != item.size:
            raise SourceError(f"{item.key} came with other than its {item.size} bytes; try again")
        return bytes(body)

    async def delete(self, item: Item) -> None:
        """Delete the object if it still is the one listed, and as undoable as was said."""
        with self._errors(f"delete {item.key!r}"):
            async with self._slots, asyncio.timeout(self._settings.timeout_seconds):
                meta = await obstore.head_async(self._store, item.key)
                self._check(item, meta)
                if self._settings.versioned and meta["version"] in {None, "null"}:
                    raise SourceError(
                        f"{item.key} was not deleted: the store keeps no version of it; set "
                        "versioned = false to delete for good"
                    )
                await obstore.delete_async(self._store, item.key)

    def _check(self, item: Item, meta: "ObjectMeta") -> None:
        if _mark(meta["e_tag"], meta["size"], meta["last_modified"]) != item.mark:
            raise SourceChanged(f"{item.key} has changed since it was listed; list it again")

    async def watch(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield every object, then new ones: by listing again, or from the last key on."""
        settings = self._settings
        if settings.order == "any":
            again = functools.partial(self.list, None, prefix)
            first = self.list(cursor, prefix)
            found = poll(first, again, self._seen, settings.poll_seconds, self._report)
        else:
            found = self._follow(cursor, prefix)
        async with contextlib.aclosing(found):
            async for item in found:
                yield item

    async def _follow(self, cursor: str | None, prefix: str) -> AsyncGenerator[Item, None]:
        """Yield everything, then what sorts behind the newest; everything again at times.

        It goes on behind what was the newest one poll earlier, for keys made at one time by
        several processes. The newest is told by its time: older layouts may sort behind it.
        """
        newest = _Newest()
        async for item in new_items(newest.noting(self.list(cursor, prefix)), self._seen):
            yield item
        relist = time.monotonic() + self._settings.relist_seconds
        behind = newest.key
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            whole = time.monotonic() >= relist
            listing = newest.noting(self.list(None if whole else behind, prefix))
            behind = newest.key
            try:
                async for item in listing:
                    if self._seen.is_new(item):
                        yield item
            except SourceError as error:
                self._report(f"{error}; trying again in {self._settings.poll_seconds:g} s")
                continue
            if whole:
                self._seen.turn()
                relist = time.monotonic() + self._settings.relist_seconds

    def forget(self, item: Item) -> None:
        """Let `watch` yield this item again at its next full listing."""
        self._seen.forget(item)

    async def close(self) -> None:
        """Nothing is held that does not close by itself."""

    def _errors(self, what: str) -> AbstractContextManager[None]:
        return errors(f"cannot {what} in {self.location}", self._settings.timeout_seconds)


class _Newest:
    """Notes the key of the object that changed last."""

    def __init__(self) -> None:
        self.key: str | None = None
        self._modified = 0.0

    async def noting(self, listing: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Yield a listing's items and note the newest."""
        async for item in listing:
            if (item.modified or 0.0) >= self._modified:
                self.key, self._modified = item.key, item.modified or 0.0
            yield item


def _offset(cursor: str) -> str | None:
    """Return where the store is to begin: the cursor up to what the client would re-write."""
    return UNSAFE.split(cursor, maxsplit=1)[0] or None


def _item(meta: "ObjectMeta") -> Item:
    key, size, modified = meta["path"], meta["size"], meta["last_modified"]
    return Item(key, size, _mark(meta["e_tag"], size, modified), modified.timestamp(), key)


def _mark(etag: str | None, size: int, modified: datetime) -> str:
    return f"{_bare(etag)}-{size}-{int(modified.timestamp())}"


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')
