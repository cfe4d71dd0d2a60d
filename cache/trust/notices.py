"""Keeps what an admin has to know: a false clean, a demotion, a code that is held.

Decides how many are kept. A notice is a log line at once (twice, where its transaction runs
twice) and stays unread until somebody says otherwise; what is worth one is left to others.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from cache.storage.tables import issuers
from cache.storage.trust_tables import notices

logger = logging.getLogger(__name__)

MAX_NOTICES = 100
"""How many of one kind about one issuer are kept, the newest; a hostile peer fills no disk."""

MAX_TEXT_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Notice:
    """What somebody has to know; `origin` is the peer that it is about, if it is about one."""

    notice_id: int
    created: int
    kind: str
    origin: str | None
    text: str
    read: int | None = None


def tell(
    connection: Connection, kind: str, text: str, issuer_id: int | None = None, *, now: int
) -> None:
    """Log a notice and keep it for the admin; of its kind and issuer the oldest may go for it."""
    text = text[:MAX_TEXT_CHARACTERS]
    logger.warning(text, extra={"action": kind})
    values = {"created": now, "kind": kind, "issuer_id": issuer_id, "text": text}
    connection.execute(notices.insert().values(**values))
    alike = [notices.c.kind == kind, notices.c.issuer_id.is_not_distinct_from(issuer_id)]
    newest = select(notices.c.id).where(*alike).order_by(notices.c.id.desc()).limit(MAX_NOTICES)
    oldest = select(func.min(newest.subquery().c.id)).scalar_subquery()
    connection.execute(delete(notices).where(*alike, notices.c.id < oldest))


def unread(connection: Connection, issuer_id: int | None = None) -> list[Notice]:
    """Return what nobody has confirmed yet, the oldest first; about one issuer, where given."""
    return _listed(connection, issuer_id, only_unread=True)


def told(connection: Connection, issuer_id: int) -> list[Notice]:
    """Return every notice kept about one issuer, read or not, the oldest first."""
    return _listed(connection, issuer_id, only_unread=False)


def mark_read(connection: Connection, notice_ids: Collection[int], *, now: int) -> int:
    """Note that these were read, and return how many were not before."""
    chosen = [notices.c.id.in_(list(notice_ids)), notices.c.read.is_(None)]
    return connection.execute(notices.update().where(*chosen).values(read=now)).rowcount


def _listed(connection: Connection, issuer_id: int | None, *, only_unread: bool) -> list[Notice]:
    statement = (
        select(notices, issuers.c.origin)
        .outerjoin(issuers, issuers.c.id == notices.c.issuer_id)
        .order_by(notices.c.id)
    )
    if only_unread:
        statement = statement.where(notices.c.read.is_(None))
    if issuer_id is not None:
        statement = statement.where(notices.c.issuer_id == issuer_id)
    return [
        Notice(row.id, row.created, row.kind, row.origin, row.text, row.read)
        for row in connection.execute(statement)
    ]
