"""Small helpers that every room of SQL needs: upserts on both databases, bounded IN lists."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TypeVar

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

IN_LIST = 500
"""How many values stand in one IN list (SQLite's limit is 32,766 a statement)."""


def insert_into(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT that knows ON CONFLICT, for the connection's database."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: Table) -> "sqlite.Insert | postgresql.Insert":
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def upsert(
    dialect: str,
    table: Table,
    key: tuple[str, ...],
    updated: tuple[str, ...],
    later: str | None = None,
) -> Executable:
    """Return the statement that stores rows of `table`, or updates those with the same `key`.

    Made once for each database, for that takes longer than running it. A row is left alone where
    its column `later` is higher than the new one's.
    """
    statement = _insert(dialect, table)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={name: new[name] for name in updated},
        where=new[later] >= table.c[later] if later else None,
    )


def batches(items: Sequence[T], size: int = IN_LIST) -> Iterator[Sequence[T]]:
    """Yield `items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def scores_text(scores: Mapping[str, int | None]) -> str | None:
    """Return scores as stored: JSON with sorted labels, null where there are none."""
    return json.dumps(dict(scores), sort_keys=True, separators=(",", ":")) if scores else None
