"""Forgets what can matter no more: peers' rows long expired, and pictures that nothing refers to.

An expired row of a peer decides nothing (design, "Deciding"), so that forgetting it changes no
decision. Verdicts of ours stay, whatever their age: an expired flag of ours still asks for a
person. A picture goes once no verdict, finding, code, sighting, case nor anything else refers to
it and it was never fingerprinted here. What follows for cases is left to `cases`, which is told
by a note. Wants a write transaction; works in small steps, so that it holds nobody up.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    bindparam,
    delete,
    exists,
    literal_column,
    select,
)

import cache.storage.case_tables
import cache.storage.feed_tables
import cache.storage.peer_tables  # each adds its tables to the metadata
import cache.storage.trust_tables  # noqa: F401  # each adds its tables to the metadata
from cache.cases.arrivals import note_arrivals
from cache.memory.peer_rows import settle_peer_codes
from cache.storage.rows import batches, insert_into
from cache.storage.tables import images, metadata, notes, verdicts
from cache.verdict import Feed

MARGIN_SECONDS = 7 * 86_400
"""How long after its expiry a peer's row is forgotten, and how old a picture has to be."""

PRUNED_TO = "pictures-pruned-to"
"""The note that tells up to which row id pictures were looked at in this round."""


def prune(connection: Connection, now: int, limit: int) -> int:
    """Forget up to `limit` rows of peers, and what is bare of the next `limit` pictures.

    Returns how many rows of both went; `limit` or more: there is probably more to do at once.
    """
    due = now - MARGIN_SECONDS
    return _prune_rows(connection, due, limit) + _prune_pictures(connection, due, limit)


class _Expired(NamedTuple):
    issuer_id: int
    feed: int
    id: int
    image_id: int


EXPIRED = (
    select(verdicts.c.issuer_id, verdicts.c.feed, verdicts.c.id, verdicts.c.image_id)
    .where(
        verdicts.c.feed != literal_column(str(int(Feed.OWN))),  # in the words of the partial index
        verdicts.c.expires <= bindparam("due", type_=verdicts.c.expires.type),
    )
    .order_by(verdicts.c.expires)
    .limit(bindparam("limit", type_=Integer()))
)
"""Selects the rows of peers that expired, the oldest first."""


def _prune_rows(connection: Connection, due: int, limit: int) -> int:
    """Forget peers' rows that expired by `due`, the oldest first."""
    rows = connection.execute(EXPIRED, {"due": due, "limit": limit})
    expired = sorted(_Expired(*row) for row in rows)
    for (issuer_id, feed), some in groupby(expired, key=lambda one: one[:2]):
        _forget(connection, issuer_id, Feed(feed), list(some))
    return len(expired)


def _forget(connection: Connection, issuer_id: int, feed: Feed, rows: Sequence[_Expired]) -> None:
    for some in batches([one.id for one in rows]):
        connection.execute(delete(verdicts).where(verdicts.c.id.in_(some)))
    pictures = {one.image_id for one in rows}
    note_arrivals(connection, issuer_id, feed, pictures, gone=True)
    if feed is Feed.FLAGGED:
        settle_peer_codes(connection, issuer_id, pictures)


def referring_columns() -> Iterable[Column[object]]:
    """Return every column of the schema that refers to a picture."""
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column is images.c.id:
                yield key.parent


_IS_BARE = [
    ~images.c.fingerprinted,
    *(~exists().where(column == images.c.id) for column in referring_columns()),
]


def _prune_pictures(connection: Connection, due: int, limit: int) -> int:
    """Forget what is bare among the next pictures; behind the last one it begins anew."""
    next_ones = select(images.c.id).where(images.c.id > _pruned_to(connection))
    seen = connection.execute(next_ones.order_by(images.c.id).limit(limit)).scalars().all()
    gone = 0
    for some in batches(seen):
        bare = images.c.id.in_(some) & (images.c.created <= due)
        gone += connection.execute(delete(images).where(bare, *_IS_BARE)).rowcount
    _note_pruned_to(connection, seen[-1] if len(seen) == limit else 0)
    return gone


def _pruned_to(connection: Connection) -> int:
    noted = select(notes.c.value).where(notes.c.name == PRUNED_TO)
    return int(connection.execute(noted).scalar_one_or_none() or 0)


def _note_pruned_to(connection: Connection, image_id: int) -> None:
    value = str(image_id)
    connection.execute(
        insert_into(connection, notes)
        .values(name=PRUNED_TO, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )
