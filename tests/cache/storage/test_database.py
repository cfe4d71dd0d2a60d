"""The store: newest commit, nothing half done, one writer at a time, durable, clear errors."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import sqlalchemy as sa

from cache.errors import CacheError, DatabaseUnavailable
from cache.storage.database import CACHE_KIB, WAL_PAGES, Store, make_engine
from cache.storage.tables import secrets
from tests.waiting import PATIENCE


def _put(connection, name, value=b"x"):
    connection.execute(secrets.insert().values(name=name, value=value))


def _names(connection):
    return set(connection.execute(sa.select(secrets.c.name)).scalars())


def test_a_read_sees_what_was_written_before(store):
    store.write_now(_put, "a")
    assert store.read_now(_names) == {"a"}


async def test_reading_and_writing_work_in_an_event_loop(store):
    await asyncio.gather(*(store.write(_put, f"n{i}") for i in range(20)))
    assert await store.read(_names) == {f"n{i}" for i in range(20)}


def test_a_read_sees_what_another_store_wrote(store, database_url):
    """No read transaction lingers between two calls."""
    other = Store.open(database_url)
    assert store.read_now(_names) == set()
    other.write_now(_put, "theirs")
    assert store.read_now(_names) == {"theirs"}
    other.close()


def test_one_read_is_one_snapshot(store, database_url):
    other = Store.open(database_url)

    def twice(connection):
        before = _names(connection)
        other.write_now(_put, "meanwhile")
        return before == _names(connection)

    assert store.read_now(twice)
    other.close()


def test_a_write_that_fails_leaves_nothing(store):
    def half(connection):
        _put(connection, "half")
        raise CacheError("stop")

    with pytest.raises(CacheError, match="stop"):
        store.write_now(half)
    assert store.read_now(_names) == set()
    store.write_now(_put, "next")
    assert store.read_now(_names) == {"next"}


def test_a_read_cannot_write(store):
    with pytest.raises((DatabaseUnavailable, sa.exc.DBAPIError)):
        store.read_now(_put, "sneaked")
    assert store.read_now(_names) == set()


def test_a_fault_in_a_statement_is_no_unavailable_database(store):
    with pytest.raises(sa.exc.DBAPIError):
        store.read_now(lambda c: c.exec_driver_sql("SELECT nothing FROM nowhere"))


def test_writes_of_several_processes_do_not_overlap(store, database_url):
    """Each reads a counter and writes it back, raised by one: none may be lost."""
    store.write_now(_put, "counter", b"0")
    script = textwrap.dedent(
        """
        import sys
        import sqlalchemy as sa
        from cache.storage.database import Store, make_engine
        from cache.storage.tables import secrets
        def raise_by_one(c):
            n = int(c.execute(sa.select(secrets.c.value)).scalar_one())
            c.execute(secrets.update().values(value=str(n + 1).encode()))
        store = Store.open(sys.argv[1])
        for _ in range(25):
            store.write_now(raise_by_one)
        store.close()
        """
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, database_url]) for _ in range(3)]
    assert [run.wait(PATIENCE) for run in runs] == [0, 0, 0]
    value = store.read_now(lambda c: c.execute(sa.select(secrets.c.value)).scalar_one())
    assert value == b"75"


def test_what_a_write_returned_from_survives_kill_9(database_url):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from cache.storage.database import Store, make_engine
        from cache.storage.tables import secrets
        store = Store.open(sys.argv[1])
        store.write_now(lambda c: c.execute(secrets.insert().values(name="kept", value=b"x")))
        def die(c):
            c.execute(secrets.insert().values(name="lost", value=b"x"))
            os.kill(os.getpid(), signal.SIGKILL)
        store.write_now(die)
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", script, database_url], timeout=PATIENCE, check=False
    )
    assert run.returncode == -9
    store = Store.open(database_url)
    assert store.read_now(_names) == {"kept"}
    store.write_now(_put, "after")
    store.close()


def test_sqlite_is_durable_private_and_keeps_its_references(sqlite_url):
    store = Store.open(sqlite_url)

    def pragmas(connection):
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert store.write_now(pragmas) == ["wal", 2, 1]
    assert store.read_now(pragmas) == ["wal", 2, 1]
    store.close()


def test_the_connection_that_writes_keeps_as_many_pages_as_it_is_allowed(sqlite_url):
    store = Store.open(sqlite_url, writer_cache_mib=3)

    def pragma(connection, name):
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    assert store.write_now(pragma, "cache_size") == -3 * 1024
    assert store.write_now(pragma, "wal_autocheckpoint") == WAL_PAGES
    assert store.read_now(pragma, "cache_size") == -CACHE_KIB
    store.close()


def test_the_log_of_many_commits_is_copied_into_the_database_and_does_not_grow_on(sqlite_url):
    """Past WAL_PAGES the writer does it, so that neither reads nor the disk suffer."""
    store = Store.open(sqlite_url)
    log = Path(f"{store.engine.url.database}-wal")
    row = b"x" * 2**20

    def fill(connection, name):
        _put(connection, name, row)

    for number in range(120):
        store.write_now(fill, str(number))
    assert log.stat().st_size < 1.2 * WAL_PAGES * 4096
    assert Path(str(store.engine.url.database)).stat().st_size > 64 * len(row)
    store.close()


def test_the_log_of_a_large_database_may_be_half_as_long_as_that_up_to_a_limit(
    sqlite_url, monkeypatch
):
    """There each commit changes other pages: a longer log writes each of them less often."""
    monkeypatch.setattr("cache.storage.database.WAL_PAGES", 1_000)
    monkeypatch.setattr("cache.storage.database.MAX_WAL_PAGES", 2_000)
    store = Store.open(sqlite_url)

    def allowed_after(name, mib):
        store.write_now(_put, name, b"x" * mib * 2**20)
        return store.write_now(
            lambda c: [
                c.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "wal_autocheckpoint")
            ]
        )

    pages, allowed = allowed_after("first", 1)
    assert (pages < 2_000, allowed) == (True, 1_000)
    pages, allowed = allowed_after("second", 10)
    assert (2_000 < pages < 4_000, allowed) == (True, pages // 2)
    pages, allowed = allowed_after("third", 10)
    assert (pages > 4_000, allowed) == (True, 2_000)
    store.close()


def test_a_new_sqlite_file_is_readable_by_its_owner_alone(new_sqlite_url):
    url = new_sqlite_url()
    old = os.umask(0)
    try:
        store = Store.open(url)
        store.write_now(lambda c: c.exec_driver_sql("CREATE TABLE t (x)"))
        path = Path(url.removeprefix("sqlite:///"))
        modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.glob(path.name + "*")}
        store.close()
    finally:
        os.umask(old)
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nowhere/at/all/x.sqlite3", "does not exist; create it"),
        ("sqlite:///:memory:", "a file"),
        ("sqlite://", "a file"),
        ("mysql://localhost/x", "write sqlite"),
        ("no url", "is not a URL"),
        ("postgresql://someone@127.0.0.1:1/none", "check that it runs"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_clear_sentence(url, says):
    with pytest.raises(DatabaseUnavailable, match=says):
        Store.open(url)


def test_a_folder_or_a_picture_in_place_of_the_database_is_refused(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
        Store.open(f"sqlite:///{tmp_path}")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" * 500)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        Store.open(f"sqlite:///{tmp_path / 'picture.png'}")


def test_no_permission_is_one_clear_sentence(tmp_path, monkeypatch):
    """Tests may run as root, whom no file refuses: the refusal itself is played."""

    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cache.storage.database.os.open", refuse)
    with pytest.raises(DatabaseUnavailable, match=r"Permission denied.*owner and permissions"):
        Store.open(f"sqlite:///{tmp_path / 'x.sqlite3'}")


def test_a_closed_store_says_so(sqlite_url):
    store = Store.open(sqlite_url)
    store.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        store.read_now(_names)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        store.write_now(_names)
    store.close()


def test_a_closed_store_says_so_on_postgresql(postgres_url):
    store = Store.open(postgres_url)
    store.close()
    for act in (store.read_now, store.write_now):
        with pytest.raises(DatabaseUnavailable, match="closed"):
            act(_names)


def test_a_full_disk_is_one_clear_sentence_and_leaves_nothing(sqlite_store):
    def shrink(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")

    def fill(connection):
        for number in range(2_000):
            _put(connection, f"https://{number}.example/" + "x" * 50)

    sqlite_store.write_now(shrink)
    with pytest.raises(DatabaseUnavailable, match="disk is full"):
        sqlite_store.write_now(fill)
    assert sqlite_store.read_now(_names) == set()
    sqlite_store.write_now(_put, "small")
    assert sqlite_store.read_now(_names) == {"small"}


def test_a_write_that_waits_too_long_says_so_and_the_next_one_works(sqlite_url, monkeypatch):
    monkeypatch.setattr("cache.storage.database.BUSY_TIMEOUT_MS", 50)
    store = Store.open(sqlite_url)
    with make_engine(sqlite_url).begin():  # holds the write lock
        with pytest.raises(DatabaseUnavailable, match="locked"):
            store.write_now(_put, "a")
        assert store.read_now(_names) == set()
    store.write_now(_put, "b")
    assert store.read_now(_names) == {"b"}
    store.close()


def test_a_server_that_goes_away_in_the_middle_is_one_clear_sentence(postgres_url):
    store = Store.open(postgres_url)

    def cut(connection):
        _put(connection, "a")
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailable, match="check that it runs"):
        store.write_now(cut)
    store.write_now(_put, "b")
    assert store.read_now(_names) == {"b"}
    store.close()


def test_a_write_sees_the_one_it_waited_for_whatever_the_server_is_set_to(postgres_url):
    store = Store.open(postgres_url)
    name = store.engine.url.database
    setting = f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'"
    store.write_now(lambda c: c.exec_driver_sql(setting))
    store.close()
    store = Store.open(postgres_url)
    shown = "SHOW transaction_isolation"
    assert store.write_now(lambda c: c.exec_driver_sql(shown).scalar()) == "read committed"
    assert store.read_now(lambda c: c.exec_driver_sql(shown).scalar()) == "repeatable read"
    store.close()
