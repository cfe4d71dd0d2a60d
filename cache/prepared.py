"""Runs the statements of the hot path: written in SQLAlchemy Core, compiled once a database kind.

On SQLite the driver is asked directly, which costs a tenth; what fails there is run again by
SQLAlchemy, whose errors the rest of the program knows. Decides nothing of what is read. For reads
alone, within a transaction that has begun; values reach the driver as they are (bytes, int, str).
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.selectable import SelectBase


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
