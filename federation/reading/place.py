"""Where the reading of a followed feed stands: its cursor, moved on and put back.

A page is remembered by its digest for as long as any of its rows can stand (`forgetting`), also
when the cursor goes back before it: what its issuer signed once must not be told otherwise later.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from cache.memory.peer_rows import withdraw_rows
from cache.storage.feed_tables import (
    early_retractions,
    follow_snapshots,
    follows,
    remote_pages,
)
from cache.storage.rows import insert_into
from cache.verdict import Feed
from federation.following.follow import ACCEPTED
from federation.wire.chain import Cursor, after
from federation.wire.page import AttestationPage
from federation.wire.strictjson import to_text


def reading(conn: Connection, follow_id: int, feed_id: str) -> Row[Any] | None:
    """Return the row of `follows` of a feed that is read, or None.

    It may have ended meanwhile: SQLite gives the id of a deleted last row to the next one.
    """
    c = follows.c
    mine = (c.id == follow_id) & (c.actor_id == feed_id) & (c.state == ACCEPTED)
    return conn.execute(select(follows).where(mine, c.halted.is_(None))).first()


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


def move(
    conn: Connection,
    follow_id: int,
    pages: Sequence[AttestationPage],
    key_id: str,
    proof: object,
    now: int,
) -> None:
    """Note that these pages were applied; `proof` is that of a page that was read alone."""
    rows = [
        {
            "follow_id": follow_id,
            "epoch": page.head.epoch,
            "page": page.head.page,
            "first_seq": page.head.first_seq,
            "count": len(page.rows),
            "digest": page.digest,
            "key_id": key_id,
            "proof": None if proof is None else to_text(proof),
            "received": now,
        }
        for page in pages
    ]
    conn.execute(insert_into(conn, remote_pages).on_conflict_do_nothing(), rows)
    at = after(pages[-1])
    stands_at(conn, follow_id, at, pages[-1].head.published)


def stands_at(conn: Connection, follow_id: int, at: Cursor, published: int) -> None:
    """Put the cursor on a page that is in `remote_pages`; `published` is when it was sealed."""
    conn.execute(
        update(follows)
        .where(follows.c.id == follow_id)
        .values(epoch=at.epoch, page=at.page, digest=at.digest, published=published)
    )


def restart(conn: Connection, follow_id: int) -> None:
    """Withdraw all rows of a feed, and go back before its first page.

    For when its history broke off or branched before the page that is here: what later pages
    replaced or freed stands again.
    """
    follow = conn.execute(select(follows).where(follows.c.id == follow_id)).first()
    if follow is None:
        return
    withdraw_rows(conn, issuer_id=follow.issuer_id, feed=Feed(follow.feed), epoch=None)
    for table in (early_retractions, follow_snapshots):
        conn.execute(delete(table).where(table.c.follow_id == follow_id))
    at_start: dict[str, object] = {"epoch": None, "page": 0, "digest": None, "published": None}
    conn.execute(update(follows).where(follows.c.id == follow_id).values(**at_start))
