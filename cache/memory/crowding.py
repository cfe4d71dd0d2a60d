"""Bounds how many rows one peer holds on one picture, so that a lookup stays short.

Without a bound a peer of no weight at all could claim a popular picture's content for a million
made-up sha256, or judge one sha256 by as many made-up pipelines, and every lookup of that picture
would read them all. The newest rows stay. Wants a write transaction.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select, update

from cache.storage.contents import content_key
from cache.storage.rows import batches
from cache.storage.tables import verdicts
from cache.verdict import Feed

MAX_ROWS_A_PICTURE = 64
"""How many rows of one feed of a peer are kept on one sha256."""

MAX_ROWS_A_CONTENT = 64
"""How many rows of one feed of a peer are found by one content; the others by sha256 alone.

Contents that begin alike (`contents.key_of`) count as one: honest ones never do.
"""


def thin_out(
    connection: Connection,
    issuer_id: int,
    feed: Feed,
    image_ids: Sequence[int],
    keys: Sequence[bytes],
) -> set[int]:
    """Drop what is too much on these pictures (by id) and contents (by key), the oldest first.

    Return the ids of the pictures on which rows went, or are found by their sha256 alone. A key
    is that of `contents`.
    """
    thinned: set[int] = set()
    of_feed = (verdicts.c.issuer_id == issuer_id) & (verdicts.c.feed == int(feed))
    newest = (verdicts.c.issued.desc(), verdicts.c.id.desc())
    for some in batches(image_ids):
        here = select(verdicts.c.image_id).where(of_feed, verdicts.c.image_id.in_(some))
        crowded = here.group_by(verdicts.c.image_id).having(func.count() > MAX_ROWS_A_PICTURE)
        for image_id in connection.execute(crowded).scalars().all():
            rows = select(verdicts.c.id).where(of_feed, verdicts.c.image_id == image_id)
            surplus = rows.order_by(*newest).offset(MAX_ROWS_A_PICTURE)
            connection.execute(delete(verdicts).where(verdicts.c.id.in_(surplus)))
            thinned.add(image_id)
    key = content_key(verdicts.c.content)
    of_feed &= verdicts.c.content.is_not(None)
    for some_keys in batches(keys):
        alike = select(key).where(of_feed, key.in_(some_keys))
        common = alike.group_by(key).having(func.count() > MAX_ROWS_A_CONTENT)
        for one in connection.execute(common).scalars().all():
            rows = select(verdicts.c.id).where(of_feed, key == one)
            surplus = rows.order_by(*newest).offset(MAX_ROWS_A_CONTENT)
            here = select(verdicts.c.image_id).where(verdicts.c.id.in_(surplus))
            thinned |= set(connection.execute(here).scalars())
            hidden = update(verdicts).where(verdicts.c.id.in_(surplus)).values(content=None)
            connection.execute(hidden)
    return thinned
