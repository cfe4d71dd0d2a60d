"""Catches up with one followed feed, as far as one turn goes.

Decides the order: what the outbox says, then a snapshot where one was begun or is needed, then
pages, oldest epoch first, in runs of merged pages where the feed has them. Each document is
verified and applied in one transaction with the cursor, a few together, while the next ones are
fetched (`behind`), so a crash repeats few fetches. An epoch whose last pages cannot be had any
more is read as far as it goes. Nothing else is skipped: what fails ends the turn.
"""

import json
import random
from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeAlias

from sqlalchemy import Connection, select

from cache.storage.database import Store
from cache.storage.feed_tables import follows
from federation.client import AnsweredWith
from federation.errors import BadPage, BadProof
from federation.instance import Instance
from federation.reading import snapshots
from federation.reading.applying import APPLIED, apply_merged, apply_page
from federation.reading.behind import Behind
from federation.reading.fetching import MISSING, Fetcher, Manifest
from federation.reading.place import cursor, restart
from federation.reading.planning import (
    FIRST_GUESS,
    MAX_EPOCHS,
    Segment,
    continues,
    tells_otherwise,
    wants_snapshot,
    what_shrank,
)
from federation.reading.probing import Dice, is_as_listed, page_to_probe
from federation.reading.states import note_head, note_outbox
from federation.settings import FederationSettings
from federation.wire.chain import Cursor, Step
from federation.wire.merged import VerifiedRun
from federation.wire.outbox import OutboxHead
from federation.wire.page import VerifiedPage
from federation.wire.page_head import EpochEnd
from federation.wire.snapshot import VerifiedPart

_NOT_FOUND: Final = 404
_GONE: Final = 410

Document: TypeAlias = VerifiedPage | VerifiedRun

_Found: TypeAlias = tuple[Document, bool]
"""A document, and whether no more of the epochs before it is to be had."""

_Taken: TypeAlias = tuple[Step, int]
"""What a document was, and its last page."""

_Part: TypeAlias = tuple[Manifest, VerifiedPart]


class Turn(Enum):
    """How a turn ended."""

    DONE = "done"  # all that the feed has is here
    MORE = "more"  # the budget is spent, or a part of the work is done
    HALTED = "halted"  # the feed tells two stories


class CatchingUp:
    """One turn of one feed."""

    def __init__(
        self,
        follow_id: int,
        fetcher: Fetcher,
        store: Store,
        instance: Instance,
        settings: FederationSettings,
        dice: Dice = random.random,
    ) -> None:
        self._dice = dice
        self._id, self._fetch, self._store = follow_id, fetcher, store
        self._instance, self._settings = instance, settings
        self._firsts: dict[
            str, VerifiedPage
        ] = {}  # the first pages of epochs, fetched in this turn
        self._run_pages = FIRST_GUESS  # 0: the feed has no merged pages

    async def run(self) -> Turn:
        """Take what is missing; raises a `FederationError` where that fails."""
        head = await self._fetch.outbox()
        if head is None:
            return Turn.DONE
        if not await self._note(head):
            return Turn.HALTED
        manifest = await self._begun()
        if manifest is not None:
            return await self._read_snapshot(manifest)
        at = await self._store.read(_cursor, self._id)
        try:
            return await self._read_on(head, at)
        except AnsweredWith as error:
            if not _is_dropped(error, head):
                raise
        return await self._begin_snapshot(head, await self._fetch.manifest())

    async def _note(self, head: OutboxHead) -> bool:
        """Write down what the outbox says; False where its signed head is another story."""
        now = self._instance.clock()
        await self._store.write(note_outbox, self._id, head)
        if head.signed_head is None:
            return True
        signed = await self._fetch.head(head.signed_head)
        return await self._store.write(note_head, self._id, signed, now)

    async def _read_on(self, head: OutboxHead, at: Cursor | None) -> Turn:
        odd = what_shrank(head, at)
        if odd is not None:
            raise BadPage(odd)
        if tells_otherwise(head, at):
            return await self._hear_both(head)
        if wants_snapshot(head, at, self._settings.snapshot_pages):
            manifest = await self._manifest(head)
            if manifest is not None:
                return await self._begin_snapshot(head, manifest)
        if await self._store.read(snapshots.is_given_up, self._id):
            await self._store.write(restart, self._id)
            return Turn.MORE
        segments = await self._segments(head, at)
        if at is not None and not continues(segments, at):
            await self._store.write(restart, self._id)
            return Turn.MORE
        return await self._read_pages(head, segments, at)

    async def _hear_both(self, head: OutboxHead) -> Turn:
        """Ask for the very page that the outbox gives another digest: is it signed as well?"""
        page = await self._fetch.page(head.epoch, head.last_page)
        if _halts(await self._take([(page, False)])):
            return Turn.HALTED
        message = f"its outbox gives page {head.last_page} another digest than it has"
        raise BadPage(message)

    # --- pages -------------------------------------------------------------------------------
    async def _segments(self, head: OutboxHead, at: Cursor | None) -> list[Segment]:
        """Return the epochs to read, oldest first, each through the page that counts of it."""
        segments = [Segment(head.epoch, head.last_page, head.merged_through)]
        while at is None or segments[0].epoch != at.epoch:
            end = await self._before(head, segments[0].epoch)
            walked = end is not None and end.epoch in {one.epoch for one in segments}
            if end is None or end.page == 0 or walked or len(segments) == MAX_EPOCHS:
                break
            segments.insert(0, Segment(end.epoch, end.page, end.page))
        return segments

    async def _before(self, head: OutboxHead, epoch: str) -> EpochEnd | None:
        """Return what the first page of an epoch names before it; None where it cannot be had."""
        try:
            return (await self._first(epoch)).page.head.previous_epoch
        except AnsweredWith as error:
            if not _is_out_of_reach(error, head, epoch):
                raise
            return None

    async def _first(self, epoch: str) -> VerifiedPage:
        if epoch not in self._firsts:
            self._firsts[epoch] = await self._fetch.page(epoch, 1)
        return self._firsts[epoch]

    async def _read_pages(
        self, head: OutboxHead, segments: list[Segment], at: Cursor | None
    ) -> Turn:
        lacks_tail = False
        for place, segment in enumerate(segments):
            here = at is not None and segment.epoch == at.epoch
            page = at.page + 1 if at is not None and here else 1
            try:
                ended = await self._read_segment(segment, page, is_oldest=place == 0 or lacks_tail)
            except AnsweredWith as error:
                if not _is_out_of_reach(error, head, segment.epoch):
                    raise
                lacks_tail, ended = True, None
            if ended is not None:
                return ended
        return Turn.DONE

    async def _read_segment(self, segment: Segment, page: int, *, is_oldest: bool) -> Turn | None:
        """Take the pages of an epoch from `page` on; None where all of them were taken."""
        spent = False
        async with Behind(self._take) as storing:
            while page <= segment.last_page and not spent:
                try:
                    found = await self._next(segment, page)
                except AnsweredWith:
                    if _halts(await storing.settle()):  # what came before it goes first
                        return Turn.HALTED
                    raise
                if found is None or _halts(await storing.put((found, is_oldest))):
                    return Turn.HALTED
                page, spent = _last_page(found) + 1, self._fetch.budget.is_spent
            if _halts(await storing.settle()):
                return Turn.HALTED
        return Turn.MORE if spent else None

    async def _next(self, segment: Segment, page: int) -> Document | None:
        """Fetch the next document; None for a run that lies."""
        end = segment.run_end(page, self._run_pages) if self._run_pages else None
        run = None if end is None else await self._fetch.merged(segment.epoch, page, end)
        if end is not None:
            self._run_pages = 0 if run is None else len(run.pages)
        if run is not None and run.pages[-1].head.page > segment.last_page:
            run, self._run_pages = None, 0  # not all of it counts
        if run is not None:
            return run if await self._is_as_listed(run) else None
        if page == 1:
            return await self._first(segment.epoch)
        return await self._fetch.page(segment.epoch, page)

    async def _is_as_listed(self, run: VerifiedRun) -> bool:
        """Look at one page of a few runs; raises `BadPage` where it is not there."""
        number = page_to_probe(run, self._dice)
        if number is None:
            return True
        try:
            page = await self._fetch.page(run.pages[0].head.epoch, number)
        except AnsweredWith as error:
            if error.code != _NOT_FOUND:
                raise
            message = f"merged pages list page {number}, which is not there"
            raise BadPage(message) from error
        now = self._instance.clock()
        return await self._store.write(is_as_listed, self._id, run, page, now)

    async def _take(self, found: Sequence[_Found]) -> list[_Taken]:
        """Store documents together; tell what each was."""
        steps = await self._store.write(self._apply, found)
        return [(step, _last_page(one)) for step, (one, _) in zip(steps, found, strict=True)]

    def _apply(self, conn: Connection, found: Sequence[_Found]) -> list[Step]:
        now = self._instance.clock()
        return [
            apply_merged(conn, self._id, one, now, without_older=is_oldest)
            if isinstance(one, VerifiedRun)
            else apply_page(conn, self._id, one, now, without_older=is_oldest)
            for one, is_oldest in found
        ]

    # --- snapshots ---------------------------------------------------------------------------
    async def _begun(self) -> Manifest | None:
        """Return the manifest of the snapshot that is being read, verified again.

        Under a key that does not count any more, none of what was read of it stays.
        """
        row = await self._store.read(snapshots.begun, self._id)
        if row is None:
            return None
        try:
            return await self._fetch.verified(json.loads(row.manifest))
        except BadProof:
            await self._store.write(restart, self._id)
            return None

    async def _manifest(self, head: OutboxHead) -> Manifest | None:
        """Return the newest manifest; None where there is none, but every page instead."""
        try:
            return await self._fetch.manifest()
        except AnsweredWith as error:
            if head.first_page > 1 or error.code not in MISSING:
                raise
            return None

    async def _begin_snapshot(self, head: OutboxHead, manifest: Manifest) -> Turn:
        now, newest = self._instance.clock(), head.epoch
        if not await self._store.write(snapshots.begin, self._id, manifest, newest, now):
            return Turn.HALTED
        return await self._read_snapshot(manifest)

    async def _read_snapshot(self, manifest: Manifest) -> Turn:
        """Read the parts that are missing, within the budget."""
        row = await self._store.read(snapshots.begun, self._id)
        first = row.next_part if row is not None else 1
        async with Behind(self._take_parts) as storing:
            for number in range(first, len(manifest.verified.snapshot.parts) + 1):
                if self._fetch.budget.is_spent:
                    return Turn.MORE
                await storing.put((manifest, await self._part(manifest, number)))
        now = self._instance.clock()
        is_one = await self._store.write(snapshots.finish, self._id, manifest, now)
        return Turn.MORE if is_one else Turn.HALTED

    async def _take_parts(self, parts: Sequence[_Part]) -> list[None]:
        await self._store.write(self._apply_parts, parts)
        return [None] * len(parts)

    def _apply_parts(self, conn: Connection, parts: Sequence[_Part]) -> None:
        now = self._instance.clock()
        for manifest, part in parts:
            snapshots.apply_part(conn, self._id, manifest, part, now)

    async def _part(self, manifest: Manifest, number: int) -> VerifiedPart:
        """Return a part; where the feed has another snapshot now, that one is begun next."""
        try:
            return await self._fetch.part(manifest, number)
        except (AnsweredWith, BadPage) as error:
            if isinstance(error, BadPage) or error.code in MISSING:
                await self._store.write(snapshots.give_up, self._id)
            raise


def _last_page(found: Document) -> int:
    return (found.pages[-1] if isinstance(found, VerifiedRun) else found.page).head.page


def _halts(taken: Sequence[_Taken]) -> bool:
    """Tell whether any document was another story; raises `BadPage` for one that does not fit."""
    for step, page in taken:
        if step is Step.FORKED:
            return True
        if step not in (*APPLIED, Step.KNOWN):
            message = f"page {page} does not continue what is here: {step.value}"
            raise BadPage(message)
    return False


def _is_dropped(error: AnsweredWith, head: OutboxHead) -> bool:
    """Tell whether what was asked for is in the snapshot instead."""
    return error.code == _GONE and head.has_snapshot


def _is_out_of_reach(error: AnsweredWith, head: OutboxHead, epoch: str) -> bool:
    """Tell whether pages of an epoch that is over cannot be had any more, by no means."""
    return epoch != head.epoch and error.code in MISSING and not _is_dropped(error, head)


def _cursor(conn: Connection, follow_id: int) -> Cursor | None:
    follow = conn.execute(select(follows).where(follows.c.id == follow_id)).first()
    return None if follow is None else cursor(conn, follow)
