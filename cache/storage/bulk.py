"""Stores many rows of one table at once, by the shortest way each database has.

SQLite takes tuples by a statement compiled once. PostgreSQL takes them by COPY: straight into the
table, or into a temporary one that is merged where rows of the same key may stand already. Which
of two rows of a key stays is for the caller to say; no two rows of one call may share their key.
Wants a write transaction.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Table, column, delete, select
from sqlalchemy import table as named_table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from cache.storage.rows import insert_on

IsLater = Callable[[Any, Any], ColumnElement[bool]]
"""Tells of a new row's columns and the old one's whether the new one takes its place."""

Kept = Callable[[Any, Any], Mapping[str, ColumnElement[Any]]]
"""Gives the columns that do not become what the new row has."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What is unique of a row, which of two rows stays, and what that keeps of the other."""

    key: Sequence[str]
    is_later: IsLater | None  # None: the new one stays
    kept: Kept = lambda _new, _old: {}


@dataclass(frozen=True, slots=True)
class Skip:
    """What is unique of a row: where one stands, the new one is left out."""

    key: Sequence[str]


class Bulk:
    """Stores rows that have these columns; without `merge` none of them may stand already."""

    def __init__(
        self, table: Table, columns: Collection[str], merge: Merge | Skip | None = None
    ) -> None:
        self._table, self._merge = table, merge
        self._columns = [one.name for one in table.columns if one.name in columns]
        self._values = itemgetter(*self._columns)
        self._texts: dict[str, str] = {}  # by dialect
        self._incoming = named_table(f"incoming_{table.name}", *map(column, self._columns))

    @property
    def columns(self) -> Sequence[str]:
        """The columns, in the order of the tuples that `store_tuples` takes."""
        return self._columns

    def store(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Store the rows; return how many of them stand now."""
        return self.store_tuples(connection, list(map(self._values, rows)))

    def store_tuples(self, connection: Connection, rows: list[tuple[object, ...]]) -> int:
        """Store rows that have their values in the order of `columns`; return how many stand."""
        if not rows:
            return 0
        text = self._texts.get(connection.dialect.name) or self._compile(connection.dialect)
        if connection.dialect.name != "postgresql":
            return connection.exec_driver_sql(text, rows).rowcount
        if self._merge is None:
            self._copy(connection, self._table.name, rows)
            return len(rows)
        connection.exec_driver_sql(self._temporary())
        self._copy(connection, self._incoming.name, rows)
        stored = connection.exec_driver_sql(text).rowcount
        connection.execute(delete(self._incoming))
        return stored

    def _compile(self, dialect: Dialect) -> str:
        statement = self._statement(dialect.name)
        text = str(statement.compile(dialect=dialect, column_keys=self._columns))
        self._texts[dialect.name] = text
        return text

    def _statement(self, dialect: str) -> "sqlite.Insert | postgresql.Insert":
        insert = insert_on(dialect, self._table).inline()
        if self._merge is None:
            return insert
        if dialect == "postgresql":
            insert = insert.from_select(self._columns, select(self._incoming))
        if isinstance(self._merge, Skip):
            return insert.on_conflict_do_nothing(index_elements=self._merge.key)
        new, old = insert.excluded, self._table.c
        updated: dict[str, ColumnElement[Any]] = {
            name: new[name] for name in self._columns if name not in self._merge.key
        }
        updated |= self._merge.kept(new, old)
        where = None if self._merge.is_later is None else self._merge.is_later(new, old)
        return insert.on_conflict_do_update(
            index_elements=self._merge.key, set_=updated, where=where
        )

    def _temporary(self) -> str:
        like_ours = select(*(self._table.c[name] for name in self._columns))
        return (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._incoming.name} ON COMMIT DELETE ROWS"
            f" AS {like_ours} WITH NO DATA"
        )

    def _copy(self, connection: Connection, into: str, rows: Sequence[tuple[object, ...]]) -> None:
        text = f"COPY {into} ({', '.join(self._columns)}) FROM STDIN"
        raw: Any = connection.connection.driver_connection
        with _told(connection, text), raw.cursor() as cursor, cursor.copy(text) as copy:
            for row in rows:
                copy.write_row(row)


@contextmanager
def _told(connection: Connection, text: str) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy's, whom nobody asked here."""
    errors = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except errors as error:
        gone = connection.dialect.is_disconnect(error, None, None)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            text, None, error, errors, connection_invalidated=gone, dialect=connection.dialect
        ) from error
