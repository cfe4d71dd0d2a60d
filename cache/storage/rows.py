"""Small helpers that every room of SQL needs: upserts on both databases, bounded IN lists."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import TypeVar

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

IN_LIST = 500
"""How many values stand in one IN list (SQLite's limit is 32,766 a statement)."""


def insert_into(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT that knows ON CONFLICT, for the connection's database."""
    return insert_on(connection.dialect.name, table)


def insert_on(dialect: str, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT that knows ON CONFLICT, for a kind of database."""
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
    statement = insert_on(dialect, table)
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
    if not scores:
        return None
    order, text = _form_of(tuple(scores))
    values = tuple(scores.values()) if order is None else tuple([scores[one] for one in order])
    if None in values:
        values = tuple(["null" if one is None else one for one in values])  # type: ignore[misc]
    return text % values


@lru_cache(1_024)
def _form_of(labels: tuple[str, ...]) -> tuple[list[str] | None, str]:
    """Return labels in order (None: they are), and the JSON text that their scores complete.

    Many rows share it.
    """
    ordered = sorted(labels)
    names = (json.dumps(label).replace("%", "%%") for label in ordered)
    text = "{" + ",".join(f"{name}:%s" for name in names) + "}"
    return None if ordered == list(labels) else ordered, text
