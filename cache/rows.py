"""Small helpers that every room of SQL needs: upserts on both databases, bounded IN lists."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

IN_LIST = 500
"""How many values stand in one IN list (SQLite's limit is 32,766 a statement)."""


def insert_into(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT that knows ON CONFLICT, for the connection's database."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def batches(items: Sequence[T], size: int = IN_LIST) -> Iterator[Sequence[T]]:
    """Yield `items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def scores_text(scores: Mapping[str, int | None]) -> str | None:
    """Return scores as stored: JSON with sorted labels, null where there are none."""
    return json.dumps(dict(scores), sort_keys=True, separators=(",", ":")) if scores else None
