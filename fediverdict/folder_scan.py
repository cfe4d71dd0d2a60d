"""Scans a folder: looks every picture up first, and scans in batches what is unknown.

A verdict is stored before its sighting, and a sighting last: whatever is cut short is looked at
again by the next run, and nothing is judged or published twice. An unchanged file is not read.
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from cache.publish import published_in
from cache.record import image_row
from cache.sightings import Sighting, record_sighting, sha256_of, unchanged
from cache.verdict import Decision, Feed
from fediverdict.config import Share
from fediverdict.judge import Answer, Judge, Look
from scanner.errors import OverLimit, SourceError
from scanner.fingerprint import sha256_of as digest_of
from scanner.sources.folder import Item, list_folder, read_item

JUDGED = "judged"


@dataclass(frozen=True, slots=True)
class Seen:
    """One file of the source and what was made of it; `problem` where it could not be read."""

    key: str
    answer: Answer | None = None
    feed: Feed | None = None  # the feed of ours that its verdict stands in
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    item: Item
    sha256: bytes | None
    found: Look | Answer


class FolderScan:
    """One pass over one folder."""

    def __init__(self, judge: Judge, source_id: int, folder: Path, share: Share) -> None:
        self._judge, self._store = judge, judge.store
        self._source_id, self._folder, self._share = source_id, folder, share

    async def run(self, batch: int) -> AsyncIterator[Seen]:
        """Give every file with its answer, scanning `batch` pictures at a time.

        Raises SourceError when the folder itself cannot be read.
        """
        waiting: list[_Read] = []
        problems: list[str] = []
        for item in list_folder(self._folder, problems.append):
            seen = await self._without_scan(item, waiting)
            if seen is not None:
                yield seen
            if len(waiting) == batch:
                for seen in await self._scan(waiting):
                    yield seen
                waiting.clear()
        for seen in await self._scan(waiting):
            yield seen
        for problem in problems:
            yield Seen(str(self._folder), problem=problem)

    async def _without_scan(self, item: Item, waiting: list[_Read]) -> Seen | None:
        """Answer for a file without a scan, or let it wait for one."""
        known = await self._unchanged(item)
        if known is not None:
            return (await self._finish([known], [known.found]))[0]
        try:
            data = read_item(self._folder, item.key, self._judge.limits.image_bytes)
        except SourceError as error:
            return Seen(item.key, problem=str(error))
        except OverLimit as error:
            too_large = _Read(item, None, Answer(Decision.OVER_LIMIT, str(error)))
            return (await self._finish([too_large], [too_large.found]))[0]
        sha256 = digest_of(data)
        found = await self._judge.look(data, sha256)
        read = _Read(item, sha256, found)
        if isinstance(found, Look) and self._judge.must_scan(found):
            waiting.append(read)
            return None
        if isinstance(found, Look):
            await self._judge.remember([found])
        return (await self._finish([read], [found]))[0]

    async def _unchanged(self, item: Item) -> _Read | None:
        """Return what is known of an unchanged file; None if it has to be read or scanned."""
        sighting = await self._store.read(
            unchanged, source_id=self._source_id, key=item.key, size=item.size, mark=item.mark
        )
        if sighting is None or sighting.image_id is None or sighting.outcome != JUDGED:
            return None
        sha256 = await self._store.read(sha256_of, sighting.image_id)
        look = await self._judge.look_again(sha256)
        if look is None or self._judge.must_scan(look):
            return None
        return _Read(item, sha256, look)

    async def _scan(self, waiting: Sequence[_Read]) -> list[Seen]:
        looks = [read.found for read in waiting if isinstance(read.found, Look)]
        if not looks:
            return []
        return await self._finish(waiting, await self._judge.scan(looks))

    async def _finish(self, reads: Sequence[_Read], found: Sequence[Look | Answer]) -> list[Seen]:
        answers = [look.answer() if isinstance(look, Look) else look for look in found]
        await self._judge.share(answers, self._share)
        await self._store.write(self._sight, reads, answers)
        feeds = [await self._feed(read) for read in reads]
        return [
            Seen(read.item.key, answer, feed)
            for read, answer, feed in zip(reads, answers, feeds, strict=True)
        ]

    async def _feed(self, read: _Read) -> Feed | None:
        return await self._store.read(published_in, read.sha256) if read.sha256 else None

    def _sight(
        self, connection: Connection, reads: Sequence[_Read], answers: Sequence[Answer]
    ) -> None:
        now = int(time.time())
        for read, answer in zip(reads, answers, strict=True):
            image_id = image_row(connection, read.sha256, now=now) if read.sha256 else None
            item = read.item
            sighting = Sighting(
                self._source_id, item.key, item.size, item.mark, image_id, _outcome(answer), now
            )
            record_sighting(connection, sighting)


def _outcome(answer: Answer) -> str:
    could_not = answer.decision in (Decision.UNDECODABLE, Decision.OVER_LIMIT)
    return str(answer.decision) if could_not else JUDGED
