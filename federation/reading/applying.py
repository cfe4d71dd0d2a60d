"""Applies a verified page of a followed feed: its rows and the cursor, in one transaction.

Decides nothing about who said it (`VerifiedPage` is the proof of that) but whether it comes
next. Applying twice changes nothing. A new epoch keeps the rows of the old one through the
page it names: where later pages were applied, they have replaced or freed rows that stand again,
so the feed is read anew (`restart`).
"""

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from cache.memory.peer_rows import Place, record_attestations, withdraw_rows
from cache.memory.record import pipeline_row
from cache.storage.feed_tables import follows, remote_pages
from cache.verdict import Feed, Verdict
from federation.following.follow import ACCEPTED
from federation.origin import Origin
from federation.wire.chain import Cursor, Step, after, step
from federation.wire.page import AttestationPage, VerifiedPage
from federation.wire.row import Attestation, Retraction


def apply_page(
    conn: Connection,
    follow_id: int,
    verified: VerifiedPage,
    now: int,
    *,
    is_oldest: bool = False,
) -> Step:
    """Apply a page if it comes next, and say what it was to the cursor.

    Only `NEXT` and `NEW_EPOCH` change anything. A new epoch waits (`GAP`) until the old one is
    here through the very page that it names; `is_oldest` says that no older one is known.
    """
    follow = conn.execute(select(follows).where(follows.c.id == follow_id)).first()
    page = verified.page
    if follow is None or (follow.actor_id, follow.state) != (page.head.feed_id, ACCEPTED):
        return Step.KNOWN  # ended meanwhile; SQLite gives the row id of the last one again
    at = cursor(conn, follow)
    what = step(at, page)
    end = page.head.previous_epoch
    if at is None and end is not None and not is_oldest:
        return Step.GAP
    if what is Step.NEW_EPOCH and at is not None and end is not None and at.page != end.page:
        return Step.GAP
    if what in (Step.NEXT, Step.NEW_EPOCH):
        _record(conn, follow, verified, now)
        _move(conn, follow_id, page, now)
    return what


def restart(conn: Connection, follow_id: int) -> None:
    """Withdraw all rows of a feed whose history broke off or branched before the page that we
    have, and go back before its first page.
    """
    follow = conn.execute(select(follows).where(follows.c.id == follow_id)).first()
    if follow is None:
        return
    withdraw_rows(conn, issuer_id=follow.issuer_id, feed=Feed(follow.feed), epoch=None)
    conn.execute(delete(remote_pages).where(remote_pages.c.follow_id == follow_id))
    conn.execute(
        update(follows).where(follows.c.id == follow_id).values(epoch=None, page=0, digest=None)
    )


def cursor(conn: Connection, follow: Row[Any]) -> Cursor | None:
    """Return the last page applied of a followed feed, or None before the first."""
    if follow.epoch is None:
        return None
    first, count = conn.execute(
        select(remote_pages.c.first_seq, remote_pages.c.count).where(
            remote_pages.c.follow_id == follow.id,
            remote_pages.c.epoch == follow.epoch,
            remote_pages.c.page == follow.page,
        )
    ).one()
    return Cursor(follow.epoch, follow.page, follow.digest, first + count)


def _record(conn: Connection, follow: Row[Any], verified: VerifiedPage, now: int) -> None:
    page = verified.page
    for pipeline in page.pipelines:
        pipeline_row(conn, pipeline.description)
    rows: list[Verdict] = []
    freed: list[Place] = []
    for seq, row in enumerate(page.rows, start=page.head.first_seq):
        if isinstance(row, Retraction):
            freed.append((row.epoch, row.seq))
        elif row.expires > now:
            place = (page.head.epoch, seq)
            rows.append(verdict_of(row, verified.origin, page.head.feed, place))
    record_attestations(
        conn,
        issuer_id=follow.issuer_id,
        feed=page.head.feed,
        follow_id=follow.id,
        rows=rows,
        retractions=freed,
        now=now,
    )


def verdict_of(row: Attestation, issuer: Origin, feed: Feed, place: Place | None = None) -> Verdict:
    """Return a verified row as a verdict of its issuer; without a place no page holds it yet."""
    epoch, seq = place or (None, None)
    return Verdict(
        issuer=issuer,
        sha256=row.sha256,
        feed=feed,
        basis=row.basis,
        issued=row.issued,
        expires=row.expires,
        content=row.content,
        pdq=row.pdq,
        pdq_quality=row.pdq_quality,
        pipeline=row.pipeline,
        scores=row.scores,
        rule=row.rule,
        finding=row.finding,
        epoch=epoch,
        seq=seq,
    )


def _move(conn: Connection, follow_id: int, page: AttestationPage, now: int) -> None:
    at = after(page)
    conn.execute(
        insert(remote_pages).values(
            follow_id=follow_id,
            epoch=at.epoch,
            page=at.page,
            first_seq=page.head.first_seq,
            count=len(page.rows),
            digest=at.digest,
            received=now,
        )
    )
    conn.execute(
        update(follows)
        .where(follows.c.id == follow_id)
        .values(epoch=at.epoch, page=at.page, digest=at.digest)
    )
