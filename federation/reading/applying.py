"""Applies verified pages of a followed feed: their rows and the cursor, in one transaction.

Decides nothing about who said it (the verified types are the proof of that) but whether it comes
next, and, by `stories`, whether it was told otherwise before. Applying twice changes nothing. A new
epoch keeps the rows of the old one through the page it names: where later pages were applied, they
have replaced or freed rows that stand again, so the feed is read anew (`place.restart`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from cache.memory.peer_rows import Place, record_attestations
from cache.memory.record import pipeline_row
from cache.memory.retractions import pictures_at
from cache.storage.feed_tables import follow_snapshots
from cache.verdict import Feed, Verdict
from federation.origin import Origin
from federation.reading.place import cursor, move, reading
from federation.reading.stories import Signed, forget_ahead, is_one_story, note_ahead
from federation.wire.chain import Cursor, Step, step
from federation.wire.merged import VerifiedRun
from federation.wire.page import AttestationPage, VerifiedPage
from federation.wire.row import Attestation, Retraction
from federation.wire.strictjson import JsonObject

_Freed = tuple[Place, int]
"""A place that is freed, and how many rows came before in the same pages."""

APPLIED: Final = (Step.NEXT, Step.NEW_EPOCH)


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive pages of one epoch that were proven together."""

    pages: Sequence[AttestationPage]
    origin: Origin
    key_id: str
    document: JsonObject

    @property
    def signed(self) -> Signed:
        digests = {page.head.page: page.digest for page in self.pages}
        first = self.pages[0].head
        if first.previous_digest is not None:  # it signs what came before as well
            digests[first.page - 1] = first.previous_digest
        return Signed(first.epoch, digests, self.document)


def apply_page(
    conn: Connection,
    follow_id: int,
    verified: VerifiedPage,
    now: int,
    *,
    without_older: bool = False,
) -> Step:
    """Apply a page if it comes next, and say what it was to the cursor.

    Only `NEXT` and `NEW_EPOCH` change anything here; `FORKED` has been kept as evidence. A new
    epoch waits (`GAP`) until the old one is here through the very page that it names, unless
    `without_older` says that no more of the old one is to be had.
    """
    run = _Run([verified.page], verified.origin, verified.key_id, verified.document)
    return _apply(conn, follow_id, run, now, without_older=without_older)


def apply_merged(
    conn: Connection,
    follow_id: int,
    verified: VerifiedRun,
    now: int,
    *,
    without_older: bool = False,
) -> Step:
    """Apply those of merged pages that are not here yet, as `apply_page` does one."""
    run = _Run(verified.pages, verified.origin, verified.key_id, verified.document)
    return _apply(conn, follow_id, run, now, without_older=without_older)


def _apply(conn: Connection, follow_id: int, run: _Run, now: int, *, without_older: bool) -> Step:
    follow = reading(conn, follow_id, run.pages[0].head.feed_id)
    if follow is None:
        return Step.KNOWN
    if not is_one_story(conn, follow, run.signed, now):
        return Step.FORKED
    at = cursor(conn, follow)
    pages = [page for page in run.pages if at is None or _is_new(page, at)]
    what = step(at, pages[0]) if pages else _of_known(at, run)
    if what in APPLIED and (
        _misses_older(at, pages[0], without_older=without_older) or _reads_snapshot(conn, follow_id)
    ):
        what = Step.GAP
    if what in APPLIED:
        _record(conn, follow, pages, run.origin, now)
        proof = run.document.get("proof") if len(run.pages) == 1 else None
        move(conn, follow_id, pages, run.key_id, proof, now)
        forget_ahead(conn, follow_id, pages[-1].head.epoch, pages[-1].head.page)
    elif what is Step.GAP and len(run.pages) == 1:
        note_ahead(conn, follow_id, run.signed, now)
    return what


def _is_new(page: AttestationPage, at: Cursor) -> bool:
    return page.head.epoch != at.epoch or page.head.page > at.page


def _of_known(at: Cursor | None, run: _Run) -> Step:
    """Return what pages are that are here: where an admin let it rest, still another story."""
    return step(at, run.pages[-1])


def _misses_older(at: Cursor | None, page: AttestationPage, *, without_older: bool) -> bool:
    """Tell whether pages of the epoch before come first."""
    end = page.head.previous_epoch
    if end is None or page.head.page != 1:
        return False
    if at is None:
        return not without_older
    return at.page > end.page or (at.page < end.page and not without_older)


def _reads_snapshot(conn: Connection, follow_id: int) -> bool:
    """Tell whether a snapshot is being read, or was given up: what stands is to be settled."""
    mine = follow_snapshots.c.follow_id == follow_id
    return conn.execute(select(follow_snapshots.c.next_part).where(mine)).first() is not None


def _record(
    conn: Connection, follow: Row[Any], pages: Sequence[AttestationPage], origin: Origin, now: int
) -> None:
    for description in _pipelines(pages):
        pipeline_row(conn, description)
    told, freed = _in_order(pages, origin, now)
    gone = _said_anew(told, freed) if freed else set()
    rows = [row for row in told if (row.epoch, row.seq) not in gone] if gone else told
    record = partial(
        record_attestations,
        conn,
        issuer_id=follow.issuer_id,
        feed=pages[0].head.feed,
        follow_id=follow.id,
        now=now,
    )
    if first := _freed_before(conn, follow, told, freed):
        record(rows=(), retractions=sorted(first))
    record(rows=rows, retractions=[place for place, _ in freed if place not in gone | first])


def _in_order(
    pages: Sequence[AttestationPage], origin: Origin, now: int
) -> tuple[list[Verdict], list[_Freed]]:
    """Return the rows of pages and the places that they free."""
    rows: list[Verdict] = []
    freed: list[_Freed] = []
    for page in pages:
        epoch, feed = page.head.epoch, page.head.feed
        for seq, row in enumerate(page.rows, start=page.head.first_seq):
            if type(row) is Retraction:
                freed.append(((row.epoch, row.seq), len(rows)))
            elif type(row) is Attestation and row.expires > now:
                rows.append(verdict_of(row, origin, feed, (epoch, seq)))
    return rows, freed


def _said_anew(
    rows: Sequence[Verdict], freed: Sequence[_Freed]
) -> set[tuple[str | None, int | None]]:
    """Return the places of rows that are freed among these very pages, and said anew after that.

    They must not stand in the way of what came later.
    """
    at = {(row.epoch, row.seq): place for place, row in enumerate(rows)}
    last = {_key(row): place for place, row in enumerate(rows)}
    return {
        place for place, before in freed if place in at and last[_key(rows[at[place]])] >= before
    }


def _freed_before(
    conn: Connection, follow: Row[Any], rows: Sequence[Verdict], freed: Sequence[_Freed]
) -> set[Place]:
    """Return the places to free before the rows are stored: their pictures are spoken of later.

    What stands there may have been issued later than what takes its place (a clock that went back).
    """
    last = {row.sha256: place for place, row in enumerate(rows)}
    followed = [(place, before) for place, before in freed if before < len(rows)]
    standing = pictures_at(
        conn, follow.issuer_id, Feed(follow.feed), [place for place, _ in followed]
    )
    return {
        place
        for place, before in followed
        if place in standing and last.get(standing[place], -1) >= before
    }


def _key(row: Verdict) -> tuple[object, ...]:
    return row.sha256, row.pipeline, row.basis, row.rule


def _pipelines(pages: Sequence[AttestationPage]) -> list[dict[str, str]]:
    """Return the descriptions of all pipelines that the pages name, each once."""
    found = {one.id: dict(one.description) for page in pages for one in page.pipelines}
    return list(found.values())


def verdict_of(row: Attestation, issuer: Origin, feed: Feed, place: Place | None = None) -> Verdict:
    """Return a verified row as a verdict of its issuer; without a place no page holds it yet."""
    epoch, seq = place or (None, None)
    return Verdict(  # by place, which is faster
        issuer,
        row.sha256,
        feed,
        row.basis,
        row.issued,
        row.expires,
        row.content,
        row.pdq,
        row.pdq_quality,
        row.pipeline,
        row.scores,
        row.rule,
        row.finding,
        1,
        1,
        epoch,
        seq,
    )
