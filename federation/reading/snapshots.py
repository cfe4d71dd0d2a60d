"""Reads a snapshot into the database, part by part, each in one transaction.

Decides what stands once it is read: its rows and nothing else. Parts come in the order of the feed,
so each settles one stretch of it, from the last place of the part before to its own last: rows that
are here and not in the part are withdrawn in the same transaction. A crash repeats one part at
most, and what was read stays read. Pages wait until the whole snapshot is here; then the cursor
stands on its page, and the next page must chain to it.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from cache.memory.peer_rows import Place, record_attestations, withdraw_rows
from cache.memory.record import pipeline_row
from cache.storage.feed_tables import early_retractions, follow_snapshots, remote_pages
from cache.storage.rows import insert_into
from cache.storage.tables import verdicts
from cache.verdict import Feed
from federation.errors import BadPage
from federation.reading.applying import verdict_of
from federation.reading.fetching import Manifest
from federation.reading.place import reading, stands_at
from federation.reading.stories import Signed, forget_ahead, is_one_story
from federation.wire.chain import Cursor
from federation.wire.snapshot import Snapshot, VerifiedPart
from federation.wire.strictjson import to_text

MAX_COUNT = 2**31 - 1  # of the column
GIVEN_UP = 0
"""The next part of a snapshot that is read no further; parts count from 1."""


def begin(
    conn: Connection, follow_id: int, manifest: Manifest, newest_epoch: str, now: int
) -> bool:
    """Begin to read a snapshot, in place of one that was begun; False if the feed may not be read.

    Raises `BadPage` for a snapshot that is older than what is here: `newest_epoch` is the feed's.
    """
    snapshot = manifest.verified.snapshot
    follow = reading(conn, follow_id, snapshot.feed_id)
    if follow is None or not is_one_story(conn, follow, _signed(manifest), now):
        return False
    has_it = follow.epoch == snapshot.epoch and follow.page >= snapshot.through_page
    is_newer = follow.epoch is not None and follow.epoch not in _epochs(snapshot)
    if has_it or (is_newer and snapshot.epoch != newest_epoch):
        message = f"the snapshot ends at page {snapshot.through_page}, which is here already"
        raise BadPage(message)
    for epoch in _epochs_here(conn, follow):
        if epoch not in _epochs(snapshot):
            _withdraw_epoch(conn, follow, epoch)
    conn.execute(delete(early_retractions).where(early_retractions.c.follow_id == follow_id))
    values: dict[str, object] = {
        "manifest": to_text(manifest.document),
        "next_part": 1,
        "after_epoch": None,
        "after_seq": 0,
        "started": now,
    }
    row = insert_into(conn, follow_snapshots).values(follow_id=follow_id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["follow_id"], set_=values))
    return True


def begun(conn: Connection, follow_id: int) -> Row[Any] | None:
    """Return the snapshot that is being read of a feed: its manifest and next part."""
    c = follow_snapshots.c
    mine = [c.follow_id == follow_id, c.next_part != GIVEN_UP]
    return conn.execute(select(follow_snapshots).where(*mine)).first()


def give_up(conn: Connection, follow_id: int) -> None:
    """Read a snapshot no further; its rows stay until the next one, or a restart, settles them."""
    mine = follow_snapshots.c.follow_id == follow_id
    conn.execute(update(follow_snapshots).where(mine).values(next_part=GIVEN_UP))


def is_given_up(conn: Connection, follow_id: int) -> bool:
    """Tell whether parts are here of a snapshot that is read no further.

    Pages would not settle them: they may have been of a history that is told no more.
    """
    mine = [follow_snapshots.c.follow_id == follow_id, follow_snapshots.c.next_part == GIVEN_UP]
    return conn.execute(select(follow_snapshots.c.started).where(*mine)).first() is not None


def apply_part(
    conn: Connection, follow_id: int, manifest: Manifest, part: VerifiedPart, now: int
) -> None:
    """Let the rows of a part stand, and no others of its stretch; does nothing out of turn.

    Raises `BadPage` for a part that does not come after the one before it.
    """
    snapshot = manifest.verified.snapshot
    follow, at = reading(conn, follow_id, snapshot.feed_id), begun(conn, follow_id)
    if follow is None or at is None or at.next_part != part.number:
        return
    last = part.places[-1]
    after = (at.after_epoch, at.after_seq)
    if after[0] is not None and _order(snapshot, part.places[0]) <= _order(snapshot, after):
        message = f"part {part.number} of the snapshot does not come after the one before it"
        raise BadPage(message)
    for pipeline in part.pipelines:
        pipeline_row(conn, pipeline.description)
    rows = [
        verdict_of(row, manifest.verified.origin, snapshot.feed, place)
        for row, place in zip(part.rows, part.places, strict=True)
        if row.expires > now
    ]
    record_attestations(
        conn,
        issuer_id=follow.issuer_id,
        feed=snapshot.feed,
        follow_id=follow_id,
        rows=rows,
        retractions=list(_others(conn, follow, snapshot, after, last, set(part.places))),
        stands=True,
        now=now,
    )
    conn.execute(
        update(follow_snapshots)
        .where(follow_snapshots.c.follow_id == follow_id)
        .values(next_part=part.number + 1, after_epoch=last[0], after_seq=last[1])
    )


def finish(conn: Connection, follow_id: int, manifest: Manifest, now: int) -> bool:
    """Withdraw what stands past the last part, and put the cursor on the snapshot's page.

    False where the feed told that page otherwise while the snapshot was read.
    """
    verified, snapshot = manifest.verified, manifest.verified.snapshot
    follow, at = reading(conn, follow_id, snapshot.feed_id), begun(conn, follow_id)
    if follow is None or at is None or at.next_part <= len(snapshot.parts):
        return True
    if not is_one_story(conn, follow, _signed(manifest), now):
        return False
    end = (snapshot.epoch, snapshot.next_seq - 1)
    for epoch, after_seq, _ in _stretches(snapshot, (at.after_epoch, at.after_seq), end):
        _withdraw_epoch(conn, follow, epoch, after_seq)
    count = min(snapshot.next_seq - 1, MAX_COUNT)
    page = insert_into(conn, remote_pages).values(
        follow_id=follow_id,
        epoch=snapshot.epoch,
        page=snapshot.through_page,
        first_seq=snapshot.next_seq - count,
        count=count,
        digest=snapshot.digest,
        key_id=verified.key_id,
        received=now,
    )
    conn.execute(page.on_conflict_do_nothing())
    here = Cursor(snapshot.epoch, snapshot.through_page, snapshot.digest, snapshot.next_seq)
    stands_at(conn, follow_id, here, snapshot.published)
    forget_ahead(conn, follow_id, snapshot.epoch, snapshot.through_page)
    conn.execute(delete(follow_snapshots).where(follow_snapshots.c.follow_id == follow_id))
    return True


def _signed(manifest: Manifest) -> Signed:
    snapshot = manifest.verified.snapshot
    return Signed(snapshot.epoch, {snapshot.through_page: snapshot.digest}, manifest.document)


def _epochs(snapshot: Snapshot) -> list[str]:
    """Return the epochs that rows may come from, oldest first."""
    return [*(end.epoch for end in snapshot.previous_epochs), snapshot.epoch]


def _order(snapshot: Snapshot, place: Place) -> tuple[int, int]:
    return _epochs(snapshot).index(place[0]), place[1]


def _stretches(
    snapshot: Snapshot, after: tuple[str | None, int], last: Place
) -> Iterator[tuple[str, int, int | None]]:
    """Yield (epoch, after seq, last seq or None for its end) of all places between two."""
    epochs = _epochs(snapshot)
    first = 0 if after[0] is None else epochs.index(after[0])
    for epoch in epochs[first : epochs.index(last[0]) + 1]:
        yield epoch, after[1] if epoch == after[0] else 0, last[1] if epoch == last[0] else None


def _others(
    conn: Connection,
    follow: Row[Any],
    snapshot: Snapshot,
    after: tuple[str | None, int],
    last: Place,
    named: set[Place],
) -> Iterator[Place]:
    """Yield the places of a stretch where a row stands here that the snapshot does not have."""
    c = verdicts.c
    for epoch, after_seq, last_seq in _stretches(snapshot, after, last):
        here = [c.issuer_id == follow.issuer_id, c.feed == follow.feed, c.epoch == epoch]
        here += [c.seq > after_seq, c.seq.is_not(None)]
        if last_seq is not None:
            here.append(c.seq <= last_seq)
        for seq in conn.execute(select(c.seq).where(*here)).scalars():
            if (epoch, seq) not in named:
                yield epoch, seq


def _epochs_here(conn: Connection, follow: Row[Any]) -> Iterator[str]:
    """Yield the epochs of which rows of the feed are here, by one look-up each."""
    c = verdicts.c
    mine = [c.issuer_id == follow.issuer_id, c.feed == follow.feed, c.seq.is_not(None)]
    epoch = conn.scalar(select(func.min(c.epoch)).where(*mine))
    while epoch is not None:
        yield str(epoch)
        epoch = conn.scalar(select(func.min(c.epoch)).where(*mine, c.epoch > epoch))


def _withdraw_epoch(conn: Connection, follow: Row[Any], epoch: str, after_seq: int = 0) -> None:
    feed = Feed(follow.feed)
    withdraw_rows(conn, issuer_id=follow.issuer_id, feed=feed, epoch=epoch, after_seq=after_seq)
