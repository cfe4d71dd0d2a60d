"""Runs the statements of the hot path: written in SQLAlchemy Core, compiled once a database kind.

On SQLite the driver is asked directly, which costs a tenth; what fails there is run again by
SQLAlchemy, whose errors the rest of the program knows. Decides nothing of what is read. For reads
alone, within a transaction that has begun; values reach the driver as they are (bytes, int, str).
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import SelectBase

LIST_SIZES = (1, 16, 128, 1_000)
"""How many values stand in a list of one statement; a list in between is filled up."""

_NAMES = [f"listed_{number}" for number in range(LIST_SIZES[-1])]


@dataclass(frozen=True, slots=True)
class _Compiled:
    text: str
    constants: dict[str, object]  # what stands in the statement itself
    order: tuple[str, ...]  # of the values; empty where they go by name


class Prepared:
    """A statement that reads; its rows are tuples in the order of its columns."""

    def __init__(self, statement: SelectBase) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}  # by dialect

    def rows(self, connection: Connection, **values: object) -> Sequence[Sequence[Any]]:
        """Return every row; `values` are those of the statement's `bindparam`s, by name."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name) or self._compile(dialect)
        values = compiled.constants | values
        if not compiled.order:
            return connection.exec_driver_sql(compiled.text, values).all()
        in_order = tuple([values[name] for name in compiled.order])
        raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            return raw.execute(compiled.text, in_order).fetchall()
        except sqlite3.Error:
            return connection.exec_driver_sql(compiled.text, in_order).all()

    def _compile(self, dialect: Dialect) -> _Compiled:
        made = self._statement.compile(dialect=dialect)
        constants = {name: value for name, value in made.params.items() if value is not None}
        order = tuple(getattr(made, "positiontup", None) or ())
        compiled = self._compiled[dialect.name] = _Compiled(str(made), constants, order)
        return compiled


IsListed = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Gives the condition that a column equals one of the listed values."""


class PreparedList:
    """A statement that reads by a list of values; longer lists are split."""

    def __init__(self, build: Callable[[IsListed], SelectBase]) -> None:
        self._build = build
        self._sized: dict[int, Prepared] = {}  # by the length of the list; 0: an array

    def rows(
        self, connection: Connection, listed: Sequence[object], **values: object
    ) -> list[Sequence[Any]]:
        """Return the rows of every listed value; none of those may be null."""
        found: list[Sequence[Any]] = []
        for start in range(0, len(listed), LIST_SIZES[-1]):
            some = listed[start : start + LIST_SIZES[-1]]
            found += self._of(connection, some, values)
        return found

    def _of(
        self, connection: Connection, some: Sequence[object], values: dict[str, object]
    ) -> Sequence[Sequence[Any]]:
        if connection.dialect.name == "postgresql":
            return self._prepared(0).rows(connection, listed=list(some), **values)
        size = next(size for size in LIST_SIZES if size >= len(some))
        filled = [*some, *[some[-1]] * (size - len(some))]
        named = dict(zip(_NAMES[:size], filled, strict=True))
        return self._prepared(size).rows(connection, **named, **values)

    def _prepared(self, size: int) -> Prepared:
        if size not in self._sized:
            self._sized[size] = Prepared(self._build(_in_array if size == 0 else _in_list(size)))
        return self._sized[size]


def _in_array(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column == any_(bindparam("listed", type_=ARRAY(column.type)))


def _in_list(size: int) -> IsListed:
    def is_listed(column: ColumnElement[Any]) -> ColumnElement[bool]:
        return column.in_([bindparam(name, type_=column.type) for name in _NAMES[:size]])

    return is_listed
