"""Opens the database, reads from it and writes to it, one transaction a call.

Decides how connections are held, on SQLite and on PostgreSQL alike: every read sees the newest
commit and nothing half done; one write at a time, over all processes, so that the order of
`codes.changed` and of feed rows is the order of their commits; a write is on disk when its call
returns. What is read and written is left to the functions handed in, which take a SQLAlchemy
connection first; which writes share a commit to `group_commit`. Creating the tables is left to
`migrations`.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.pool import NullPool

from cache.errors import DatabaseUnavailable
from cache.storage.group_commit import GroupCommit, Write
from cache.storage.snapshot import note_snapshot

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

BUSY_TIMEOUT_MS = 30_000
"""How long a write on SQLite waits for another process's write."""

CACHE_KIB = 8_192
"""KiB of pages that a connection to SQLite keeps; the system's own cache has the rest."""

MAPPED_BYTES = 1 << 33
"""How much of SQLite's file the connection that reads maps into memory, as far as SQLite lets it.

Its own pages are dropped with every commit; mapped ones stay, and belong to the system.
"""

WRITER_CACHE_MIB = 64
"""MiB of pages that the one connection that writes may keep; it takes them as it meets them."""

WAL_PAGES = 16_384
"""Pages (64 MiB) in SQLite's write-ahead log before the writer copies them into the database.

A page that many commits changed is copied once; a longer log makes every read search longer. Of a
large database a commit changes other pages than the one before: there the log may be half as long
as the database is.
"""

MAX_WAL_PAGES = 65_536
"""The most (256 MiB) that the log may have."""

CONNECT_TIMEOUT_SECONDS = 10

CLOSED = "The store is closed."

READING = {"fediverdict_begin": "BEGIN"}
"""Execution options of a connection on SQLite that shall not ask for the write lock."""

_HELD = {"fediverdict_begin": None}
"""Those of the held one: SQLAlchemy believes in one long transaction, we begin and end each."""

INSUFFICIENT_PRIVILEGE = "42501"
"""SQLSTATE of PostgreSQL; since its version 15 not everybody may create tables."""

WRITE_LOCK = 0x_F3D1_0001
"""Key of the advisory lock that every write on PostgreSQL holds until it commits."""


def parse_url(url: str | URL) -> URL:
    """Return `database.url` as a URL of a driver we have; raises DatabaseUnavailable."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnavailable(
            "database.url is not a URL; write sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from error
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise DatabaseUnavailable(
        f"database.url names {parsed.render_as_string()}; "
        "write sqlite:///PATH (a file) or postgresql://USER@HOST/NAME."
    )


def make_engine(url: str | URL) -> Engine:
    """Return an engine whose transactions are written out: `BEGIN IMMEDIATE` on SQLite.

    A missing SQLite file is created with mode 0600. Raises DatabaseUnavailable.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _create_file(Path(str(parsed.database)))
        return _sqlite_engine(parsed)
    try:
        return create_engine(
            parsed,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # else a write may not see the one it waited for
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
        )
    except NoSuchModuleError as error:
        raise DatabaseUnavailable("The PostgreSQL driver psycopg is not installed.") from error


@contextmanager
def write_transaction(connection: Connection) -> Iterator[Connection]:
    """Hold the one write lock of the database for the block, then commit or roll back."""
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
        yield connection


class Store:
    """An open database: reads from any thread, and one writer thread of its own."""

    def __init__(self, engine: Engine, *, writer_cache_mib: int = WRITER_CACHE_MIB) -> None:
        self._engine, self._writer_cache_mib = engine, writer_cache_mib
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writer = GroupCommit(self._writing)
        self._closed = False
        self._lock = threading.Lock()
        self._held = self._hold_reader() if self._is_sqlite else None
        self._write_connection: Connection | None = None
        self._log_pages = 0  # as SQLite was told last

    @classmethod
    def open(cls, url: str | URL, *, writer_cache_mib: int = WRITER_CACHE_MIB) -> "Store":
        """Open the database at `url`; raises DatabaseUnavailable with a sentence for people.

        `writer_cache_mib` is for SQLite: MiB of pages that the connection that writes may keep.
        """
        engine = make_engine(url)
        with explained(engine.url):
            with engine.connect().execution_options(**READING) as connection:
                connection.exec_driver_sql("SELECT 1")
            return cls(engine, writer_cache_mib=writer_cache_mib)

    @property
    def engine(self) -> Engine:
        """The engine, for migrations and tests."""
        return self._engine

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a short read: in the loop on SQLite (a thread would cost more), else in a thread."""
        if self._is_sqlite:
            return self.read_now(fn, *args, **kwargs)
        return await asyncio.to_thread(lambda: self.read_now(fn, *args, **kwargs))

    def read_now(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a read transaction that begins now and ends with the call."""
        with explained(self._engine.url), self._reading() as connection:
            return fn(connection, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in the writer thread, in one transaction, on disk when this returns."""
        return await asyncio.wrap_future(self._submit(lambda c, _: fn(c, *args, **kwargs)))

    async def write_together(
        self, fn: Callable[[Connection, Sequence[Item]], None], item: Item
    ) -> None:
        """Do as `write`; `fn` takes in one call the items that wait for it at the time.

        Should that fail, each is given to it alone.
        """
        await asyncio.wrap_future(self._submit(fn, item, kind=fn))

    def write_now(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do as `write` and block; never from within `fn`, nor from an event loop."""
        return self._submit(lambda c, _: fn(c, *args, **kwargs)).result()

    def write_later(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Queue `fn` for the writer thread and return at once; may be called within a read."""
        return self._submit(lambda c, _: fn(c, *args, **kwargs))

    def close(self) -> None:
        """Finish the writes that wait, then let go of every connection."""
        self._closed = True
        self._writer.close()
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None
            if self._write_connection is not None:
                self._write_connection.close()
                self._write_connection = None
        self._engine.dispose()

    def _submit(
        self, fn: Callable[[Connection, Sequence[Any]], T], item: object = None, kind: object = None
    ) -> Future[T]:
        self._refuse_closed()

        def run(connection: Connection, items: Sequence[Any]) -> T:
            with explained(self._engine.url):
                return fn(connection, items)

        return self._writer.submit(Write(run, item, kind))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with explained(self._engine.url):
            if not self._is_sqlite:
                with self._engine.connect() as fresh, write_transaction(fresh):
                    yield fresh
                return
            if self._write_connection is None:
                self._write_connection = self._open_writer()
            self._let_log_grow(self._write_connection)
            try:
                with write_transaction(self._write_connection) as connection:
                    yield connection
            finally:  # a commit that was refused leaves SQLite's transaction open
                self._write_connection.connection.rollback()

    def _open_writer(self) -> Connection:
        connection = self._engine.connect()
        raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        raw.execute(f"PRAGMA cache_size = -{self._writer_cache_mib * 1024}")
        return connection

    def _let_log_grow(self, connection: Connection) -> None:
        """Let the log be half as long as the database, within its limits."""
        raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        log_pages = min(max(pages // 2, WAL_PAGES), MAX_WAL_PAGES)
        if log_pages != self._log_pages:
            raw.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
            self._log_pages = log_pages

    def _hold_reader(self) -> Connection:
        connection = self._engine.connect().execution_options(**_HELD)
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.exec_driver_sql(f"PRAGMA mmap_size = {MAPPED_BYTES}")
        return connection

    def _open_reader(self) -> Connection:
        if self._held is None:
            raise DatabaseUnavailable(CLOSED)
        return self._held

    def _refuse_closed(self) -> None:
        if self._closed:
            raise DatabaseUnavailable(CLOSED)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._is_sqlite:
            with self._lock, _snapshot(self._open_reader()) as connection:
                yield connection
            return
        self._refuse_closed()
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._engine.connect().execution_options(**options) as connection:
            yield connection


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(raw: object, _record: object) -> None:
    raw.isolation_level = None  # type: ignore[attr-defined]  # we write BEGIN ourselves
    cursor = raw.cursor()  # type: ignore[attr-defined]
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # survives a power cut, not only kill -9
        "foreign_keys = ON",
        f"cache_size = -{CACHE_KIB}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options().get("fediverdict_begin", "BEGIN IMMEDIATE")
    if begin is not None:
        connection.exec_driver_sql(begin)


@contextmanager
def _snapshot(held: Connection) -> Iterator[Connection]:
    """Begin a read transaction of SQLite and end it with the block.

    By the driver, for what SQLAlchemy does there takes longer than a look-up.
    """
    raw: sqlite3.Connection = held.connection.driver_connection  # type: ignore[assignment]
    raw.execute("BEGIN")
    try:
        note_snapshot(held, raw.execute("PRAGMA data_version").fetchone()[0])
        yield held
    finally:
        raw.rollback()


def _create_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise DatabaseUnavailable(
            f"The folder {path.parent} of database.url does not exist; "
            "create it, or change database.url."
        )
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(
            f"The database file {path} cannot be opened ({error.strerror}); "
            "check its owner and permissions, or change database.url."
        ) from error


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Raise DatabaseUnavailable, with a sentence, for what is no fault in a statement."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not _is_unavailable(error, cause):
            raise
        raise DatabaseUnavailable(
            f"The database {url.render_as_string(hide_password=True)} cannot be used "
            f"({str(cause).strip().splitlines()[0]}); "
            "check that it runs, database.url and its permissions."
        ) from error


def _is_unavailable(error: Exception, cause: BaseException | None) -> bool:
    """Tell a database that is away, locked, full or none from a fault in a statement."""
    if type(error) in (DatabaseError, sqlite3.DatabaseError):  # "file is not a database"
        return True
    if getattr(cause, "sqlstate", None) == INSUFFICIENT_PRIVILEGE:
        return True
    if not isinstance(error, (OperationalError, sqlite3.OperationalError)):
        return False  # psycopg has many kinds of it
    return not any(word in str(cause) for word in ("no such table", "no such column", "near "))
