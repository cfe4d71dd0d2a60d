"""Lets exactly one statement of a key stand in the feeds: appends attestations and retractions.

Decides which rows have to go before one may stand, and whether it stands already. Rows are only
appended; a retraction comes before the attestation that takes its place. What is to stand where
is left to `publish`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, select

from cache.storage.feed_tables import feed_rows
from cache.verdict import Feed

Statement = dict[str, object]
"""The columns of a feed row, but for those of its feed; `added` is the time of now."""

_KEY = ("pipeline_id", "basis", "rule")
_SAID = ("content", "pdq", "pdq_quality", "finding", "scores")


@dataclass(frozen=True, slots=True)
class Change:
    """What has to be appended so that a statement stands in its feed, and nowhere else."""

    retract: Sequence[Row[tuple[object, ...]]] = ()
    end: Sequence[Row[tuple[object, ...]]] = ()  # replaced by what is attested
    attest: bool = False

    def __bool__(self) -> bool:
        return bool(self.retract or self.attest)


def change(connection: Connection, statement: Statement, feed: Feed | None) -> Change:
    """Return what it takes to let the statement stand in `feed` alone (None: in neither).

    Entering a feed takes every statement on the picture out of the other, whatever its key. Rows
    that were replaced but never retracted go as well: a retraction frees its row only, so that a
    reader would find the older one standing again. So do those of the same feed that were issued
    later than the statement (the clock went back): of two rows, readers count the one issued later.
    """
    rows = _unretracted(connection, statement)
    of_key = [row for row in rows if all(getattr(row, name) == statement[name] for name in _KEY)]
    elsewhere = [row for row in (of_key if feed is None else rows) if row.feed != feed]
    standing = [row for row in of_key if row.feed == feed and row.live]
    if feed is None or any(_says_the_same(row, statement) for row in standing):
        return Change(elsewhere)
    issued = int(str(statement["issued"]))
    later = [row for row in of_key if row.feed == feed and row.issued > issued]
    return Change([*elsewhere, *later], standing, attest=True)


def settle(connection: Connection, statement: Statement, feed: Feed | None) -> None:
    """Let exactly this statement stand in `feed`, and none of its key in the other."""
    needed = change(connection, statement, feed)
    for row in needed.retract:
        _end(connection, row)
        connection.execute(feed_rows.insert().values(**_retraction(row, statement)))
    for row in needed.end:
        _end(connection, row)
    if feed is not None and needed.attest:
        connection.execute(feed_rows.insert().values(feed=int(feed), op=0, live=True, **statement))


def _unretracted(connection: Connection, statement: Statement) -> list[Row[tuple[object, ...]]]:
    """Return the rows on the picture that a reader may still count, and those noted as live."""
    rows = connection.execute(
        select(feed_rows).where(feed_rows.c.sha256 == statement["sha256"]).order_by(feed_rows.c.id)
    ).all()
    retracted = {row.target_id for row in rows if row.op == 1}
    return [
        row
        for row in rows
        if row.op == 0 and row.id not in retracted and (row.live or not _expired(row, statement))
    ]


def _says_the_same(row: Row[tuple[object, ...]], statement: Statement) -> bool:
    """Tell whether a standing row says it already; an expired one has to be said again."""
    same = all(getattr(row, name) == statement.get(name) for name in _SAID)
    return same and not _expired(row, statement)


def _expired(row: Row[tuple[object, ...]], statement: Statement) -> bool:
    return int(row.expires) <= int(str(statement["added"]))


def _retraction(row: Row[tuple[object, ...]], statement: Statement) -> Statement:
    return {
        "feed": row.feed,
        "op": 1,
        "sha256": row.sha256,
        "pipeline_id": row.pipeline_id,
        "basis": row.basis,
        "rule": row.rule,
        "issued": statement["added"],
        "expires": row.expires,
        "target_id": row.id,
        "live": True,
        "added": statement["added"],
    }


def _end(connection: Connection, row: Row[tuple[object, ...]]) -> None:
    connection.execute(feed_rows.update().where(feed_rows.c.id == row.id).values(live=False))
