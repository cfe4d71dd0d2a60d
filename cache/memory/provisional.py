"""Stores what a peer answered on one picture before its page came.

Decides how long such an answer counts: to its expiry, at most a day. It stands without a place in
the feed, so that the row of the page takes its place whenever it comes, and what retracts that row
frees it. A row that a page brought is never replaced by an answer: its page says more.
"""

from dataclasses import replace

from sqlalchemy import Connection, select

from cache.memory.peer_rows import record_attestations
from cache.storage.tables import images, pipelines, verdicts
from cache.verdict import Feed, Verdict

PROVISIONAL_SECONDS = 86_400


def record_provisional(
    connection: Connection, *, issuer_id: int, feed: Feed, follow_id: int, row: Verdict, now: int
) -> bool:
    """Store a verified answer, and tell whether anything was stored.

    Its pipeline must have been stored with `record.pipeline_row`; raises UnknownPipeline.
    """
    expires = min(row.expires, now + PROVISIONAL_SECONDS)
    if expires <= now or _stands(connection, issuer_id, feed, row, now):
        return False
    record_attestations(
        connection,
        issuer_id=issuer_id,
        feed=feed,
        follow_id=follow_id,
        rows=[replace(row, feed=feed, epoch=None, seq=None, expires=expires)],
        now=now,
    )
    return True


def _stands(connection: Connection, issuer_id: int, feed: Feed, row: Verdict, now: int) -> bool:
    """Tell whether a page brought a row on the same thing that still counts."""
    same = (
        select(verdicts.c.id)
        .join(images, images.c.id == verdicts.c.image_id)
        .outerjoin(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
        .where(
            images.c.sha256 == row.sha256,
            verdicts.c.issuer_id == issuer_id,
            verdicts.c.feed == int(feed),
            verdicts.c.basis == int(row.basis),
            verdicts.c.rule == (row.rule or ""),
            verdicts.c.seq.is_not(None),
            verdicts.c.expires > now,
        )
    )
    if row.pipeline is not None:
        same = same.where(pipelines.c.digest == bytes.fromhex(row.pipeline))
    return connection.execute(same).first() is not None
