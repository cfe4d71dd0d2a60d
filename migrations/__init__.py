"""Alembic migrations of the tables in cache, run from Python.

Decides which version of the schema a database has and brings it to another one, in one
transaction under the write lock, so that two processes may start at once. What the tables mean
is left to `cache`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, inspect

import cache.storage.case_tables
import cache.storage.feed_tables
import cache.storage.peer_tables  # each adds its tables to the metadata
import cache.storage.trust_tables  # noqa: F401  # each adds its tables to the metadata
from cache.errors import DatabaseNotOurs, DatabaseTooNew, DatabaseTooOld
from cache.storage.database import READING, explained, make_engine, write_transaction
from cache.storage.tables import metadata

HERE = Path(__file__).parent


def upgrade(where: str | URL | Engine, revision: str = "head") -> None:
    """Bring the database to `revision`, creating it if need be.

    Raises DatabaseUnavailable, DatabaseTooNew where its version is unknown here, and
    DatabaseNotOurs where it has tables but no version.
    """
    with _locked(where) as connection:
        _refuse_unknown(connection)
        _refuse_strange(connection)
        command.upgrade(_config(connection), revision)


def downgrade(where: str | URL | Engine, revision: str) -> None:
    """Take the database back to `revision`; `base` drops every table."""
    with _locked(where) as connection:
        _refuse_unknown(connection)
        command.downgrade(_config(connection), revision)


def check(where: str | URL | Engine) -> None:
    """Raise DatabaseTooNew or DatabaseTooOld unless the schema is the one of this code."""
    with _engine(where) as engine, _connected(engine) as connection:
        connection.execution_options(**READING)
        _refuse_unknown(connection)
        found = MigrationContext.configure(connection).get_current_revision()
    if found != _scripts().get_current_head():
        raise DatabaseTooOld(
            "The database has no tables yet, or those of an older version; "
            "run `fediverdict db upgrade`."
        )


def _refuse_unknown(connection: Connection) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in _scripts().walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseTooNew(
            f"The database was written by a newer Fediverdict (its version {found} is unknown "
            "here); upgrade this installation."
        )


def _refuse_strange(connection: Connection) -> None:
    if MigrationContext.configure(connection).get_current_revision() is not None:
        return
    strange = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if strange:
        raise DatabaseNotOurs(
            f"The database has a table {strange[0]} already, but no version of Fediverdict made "
            "it; change database.url to an empty database, or restore this one whole."
        )


@contextmanager
def _engine(where: str | URL | Engine) -> Iterator[Engine]:
    if isinstance(where, Engine):
        yield where
        return
    engine = make_engine(where)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    with explained(engine.url), engine.connect() as connection:
        yield connection


@contextmanager
def _locked(where: str | URL | Engine) -> Iterator[Connection]:
    with (
        _engine(where) as engine,
        _connected(engine) as connection,
        write_transaction(connection),
    ):
        yield connection


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(HERE))
