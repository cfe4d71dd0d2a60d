"""Pages, merged pages and snapshots as they are served to who may read them.

Decides what stands at an address: the document, where it stands instead, that it was dropped, or
nothing. Who asks was verified by the caller. Whatever is made is kept on a shelf for the next.
"""

import functools
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from cache.storage.database import Store
from cache.verdict import Feed
from federation.addresses import run_url
from federation.errors import Gone, NotFound
from federation.instance import Instance
from federation.origin import Url
from federation.publishing import feed_log, runs, snapshots
from federation.publishing.limits import MinuteLimit
from federation.publishing.runs import Run
from federation.publishing.shelf import Shelf
from federation.wire.epoch import is_epoch
from federation.wire.strictjson import to_bytes

GZIP_LEVEL: Final = 6
_NO: Final = re.compile(r"q=0(\.0{0,3})?")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_RUN: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_PLACE: Final = re.compile(r"([0-9a-f]{32})-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Served:
    """A document as it goes over the wire."""

    body: bytes
    zipped: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """An approved follower of a feed, and whether it takes gzip."""

    actor_id: Url
    feed: Feed
    zipped: bool


class Library:
    """The documents of both feeds of this instance."""

    def __init__(
        self, store: Store, instance: Instance, served_bytes: int, merged_per_minute: int
    ) -> None:
        self._store, self._instance = store, instance
        self._shelf = Shelf(served_bytes)
        self._limit = MinuteLimit(merged_per_minute, "merged pages and parts of snapshots")

    async def page(self, reader: Reader, epoch: str, name: str) -> Served | Url:
        """Return page or run `name` of an epoch, or the URL of the run that it stands in.

        Raises `NotFound`, `Gone` for what was dropped, and `TooManyQuestions`.
        """
        run = _RUN.fullmatch(name)
        if not is_epoch(epoch) or not (run or _NUMBER.fullmatch(name)):
            raise NotFound("there is no such page")
        page = int(run[1] if run else name)
        if await self._store.read(feed_log.is_dropped, reader.feed, epoch, page):
            raise Gone("the page was dropped, for all its rows have expired")
        if run is None:
            read = functools.partial(feed_log.page_text, feed=reader.feed, epoch=epoch, page=page)
            return await self._served(reader, f"{epoch}/{page}", lambda: self._text(read))
        return await self._run(reader, Run(reader.feed, epoch, page, int(run[2])))

    async def manifest(self, reader: Reader) -> Served:
        """Return the manifest of the newest snapshot; raises `NotFound` and `TooManyQuestions`."""
        self._count(reader)
        newest = await self._store.read(snapshots.newest_snapshot, reader.feed)
        if newest is None:
            raise NotFound("there is no snapshot")
        return await self._served(reader, f"snapshot/{newest.id}", newest.manifest.encode)

    async def part(self, reader: Reader, place: str, part: str) -> Served:
        """Return a part of a snapshot; raises `NotFound` and `TooManyQuestions`."""
        self._count(reader)
        where = _PLACE.fullmatch(place)
        if where is None or not _NUMBER.fullmatch(part):
            raise NotFound("there is no such part")
        found = await self._store.read(snapshots.standing_at, reader.feed, where[1], int(where[2]))
        if found is None:
            raise NotFound("there is no such snapshot")
        read = functools.partial(snapshots.part_text, snapshot_id=found, part=int(part))
        return await self._served(reader, f"snapshot/{found}/{int(part)}", lambda: self._text(read))

    async def close(self) -> None:
        """Wait for what is being made."""
        await self._shelf.close()

    async def _run(self, reader: Reader, asked: Run) -> Served | Url:
        self._count(reader)
        found = await self._store.read(runs.run_holding, asked.feed, asked.epoch, asked.first)
        if found is None:
            raise NotFound("no run holds that page")
        run, signed = found
        if run != asked:
            feed_id = self._instance.feed_id(run.feed)
            return run_url(feed_id, run.epoch, run.first, run.last)
        name = f"{run.epoch}/{run.first}-{run.last}/{signed}"
        return await self._served(reader, name, lambda: self._merged(run, signed))

    async def _served(self, reader: Reader, name: str, make: Callable[[], bytes | None]) -> Served:
        kind = "gzip" if reader.zipped else "plain"
        made = functools.partial(_zipped, make) if reader.zipped else make
        body = await self._shelf.get(f"{int(reader.feed)}/{name}/{kind}", made)
        return Served(body, reader.zipped)

    def _text(self, read: Callable[[Connection], str | None]) -> bytes | None:
        text = self._store.read_now(read)
        return None if text is None else text.encode()

    def _merged(self, run: Run, signed: str) -> bytes | None:
        texts = self._store.read_now(runs.page_texts, run)
        if len(texts) != run.last - run.first + 1:
            return None
        document = runs.merged(texts) | {"proof": json.loads(signed)}
        return to_bytes(document)

    def _count(self, reader: Reader) -> None:
        self._limit.count(reader.actor_id, self._instance.clock())


def takes_gzip(accept_encoding: str) -> bool:
    """Tell whether an `Accept-Encoding` header asks for gzip (RFC 9110, section 12.5.3)."""
    codings = (item.strip().lower().split(";") for item in accept_encoding.split(","))
    return any(
        name.strip() in ("gzip", "x-gzip") and not any(_NO.fullmatch(one.strip()) for one in more)
        for name, *more in codings
    )


def _zipped(make: Callable[[], bytes | None]) -> bytes | None:
    body = make()
    return None if body is None else gzip.compress(body, GZIP_LEVEL, mtime=0)
