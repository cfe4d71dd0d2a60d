"""Writes that wait share a commit: a failing one falls alone, what was answered is on disk."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager, suppress

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from cache.errors import CacheError, DatabaseUnavailable
from cache.storage.database import Store
from cache.storage.tables import secrets
from tests.waiting import HELD, PATIENCE


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch):
    """No group ends because the machine is slow."""
    monkeypatch.setattr("cache.storage.group_commit.MAX_GROUP_SECONDS", 60.0)


def _put(connection, name, value=b"x"):
    connection.execute(secrets.insert().values(name=name, value=value))


def _put_and_fail(connection, name):
    _put(connection, name)
    raise CacheError(f"stop {name}")


def _put_all(connection, names):
    for name in names:
        (_put_and_fail if name.startswith("bad") else _put)(connection, name)


def _names(connection):
    return set(connection.execute(sa.select(secrets.c.name)).scalars())


@contextmanager
def _held_up(store):
    """Keep the writer busy until the block's end, and list the commits made after it."""
    go, busy = threading.Event(), threading.Event()
    commits: list[object] = []

    def wait(_connection):
        busy.set()
        assert go.wait(HELD)

    def first():
        with suppress(sa.exc.IntegrityError):  # where its group's commit is refused
            store.write_now(wait)

    thread = threading.Thread(target=first)
    thread.start()
    assert busy.wait(PATIENCE)
    event.listen(store.engine, "commit", commits.append)
    try:
        yield commits
    finally:
        go.set()
        thread.join()


async def _all(store, *writes):
    """Let the writes wait together, then run; give their results and errors, and the commits."""
    with _held_up(store) as commits:
        tasks = [asyncio.create_task(write) for write in writes]
        await asyncio.sleep(0.05)
    return await asyncio.gather(*tasks, return_exceptions=True), len(commits)


async def test_writes_that_wait_share_one_commit(store):
    results, commits = await _all(store, *(store.write(_put, f"n{i}") for i in range(20)))
    assert results == [None] * 20
    assert commits == 1
    assert await store.read(_names) == {f"n{i}" for i in range(20)}


async def test_a_write_that_fails_takes_nothing_along_but_itself(store):
    results, commits = await _all(
        store, store.write(_put, "a"), store.write(_put_and_fail, "b"), store.write(_put, "c")
    )
    assert [type(result) for result in results] == [type(None), CacheError, type(None)]
    assert commits == 1
    assert await store.read(_names) == {"a", "c"}


async def test_a_fault_in_a_statement_takes_nothing_along_either(store):
    results, _ = await _all(
        store, store.write(_put, "a"), store.write(_put, "a"), store.write(_put, "b")
    )
    assert isinstance(results[1], sa.exc.IntegrityError)
    assert await store.read(_names) == {"a", "b"}


async def test_each_write_sees_those_before_it(store):
    results, _ = await _all(store, store.write(_put, "a"), store.write(_names), store.write(_names))
    assert results[1:] == [{"a"}, {"a"}]


async def test_a_write_cancelled_while_it_waits_is_never_run_and_the_others_are(store):
    with _held_up(store):
        tasks = [asyncio.create_task(store.write(_put, name)) for name in ("a", "b", "c")]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert await store.read(_names) == {"a", "c"}


@pytest.mark.parametrize(("waiting", "commits"), [(3, 1), (4, 2)])
async def test_a_group_is_bounded_in_number(sqlite_store, monkeypatch, waiting, commits):
    """The write that holds the writer up is the first of the three; one more is a group more."""
    monkeypatch.setattr("cache.storage.group_commit.MAX_GROUP_WRITES", 3)
    writes = (sqlite_store.write(_put, f"n{i}") for i in range(waiting - 1))
    assert await _all(sqlite_store, *writes) == ([None] * (waiting - 1), commits)


async def test_a_group_is_bounded_in_time(sqlite_store, monkeypatch):
    """The first write took longer already, so nothing joins it."""
    monkeypatch.setattr("cache.storage.group_commit.MAX_GROUP_SECONDS", 0.0)
    writes = (sqlite_store.write(_put, f"n{i}") for i in range(3))
    assert await _all(sqlite_store, *writes) == ([None] * 3, 4)


async def test_nothing_is_answered_before_its_commit(store):
    """A commit that fails fails every write in it, and leaves none of them behind."""
    child = "CREATE TABLE child (name TEXT REFERENCES secrets DEFERRABLE INITIALLY DEFERRED)"
    store.write_now(lambda c: c.exec_driver_sql(child))
    orphan = "INSERT INTO child VALUES ('nobody')"  # refused at the commit only
    results, _ = await _all(
        store, store.write(_put, "a"), store.write(lambda c: c.exec_driver_sql(orphan) and None)
    )
    assert [type(result) for result in results] == [sa.exc.IntegrityError] * 2
    assert await store.read(_names) == set()
    await store.write(_put, "next")
    assert await store.read(_names) == {"next"}


async def test_items_that_wait_are_handed_over_in_one_call(store):
    calls = []

    def put_all(connection, names):
        calls.append(list(names))
        _put_all(connection, names)

    results, commits = await _all(store, *(store.write_together(put_all, name) for name in "abc"))
    assert (results, commits) == ([None] * 3, 1)
    assert calls == [["a", "b", "c"]]
    assert await store.read(_names) == {"a", "b", "c"}


async def test_of_items_handed_over_together_the_bad_one_fails_alone(store):
    writes = (store.write_together(_put_all, name) for name in ("a", "bad", "b"))
    results, commits = await _all(store, *writes)
    assert [type(result) for result in results] == [type(None), CacheError, type(None)]
    assert commits == 1
    assert await store.read(_names) == {"a", "b"}


async def test_items_of_different_functions_keep_their_order(store):
    seen = []

    def one(_connection, items):
        seen.append(("one", *items))

    def other(_connection, items):
        seen.append(("other", *items))

    kinds = (one, one, other, one)
    await _all(store, *(store.write_together(kind, i) for i, kind in enumerate(kinds)))
    assert seen == [("one", 0, 1), ("other", 2), ("one", 3)]


async def test_a_full_disk_fails_the_large_write_alone(sqlite_store):
    """SQLite may drop the whole transaction then: the small ones are run again."""

    def shrink(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")

    def fill(connection):
        for number in range(2_000):
            _put(connection, f"https://{number}.example/" + "x" * 50)

    sqlite_store.write_now(shrink)
    store = sqlite_store
    results, _ = await _all(
        store, store.write(_put, "a"), store.write(fill), store.write(_put, "b")
    )
    assert [type(result) for result in results] == [type(None), DatabaseUnavailable, type(None)]
    assert await store.read(_names) == {"a", "b"}


async def test_a_server_that_goes_away_fails_the_write_it_left_alone(postgres_url):
    store = Store.open(postgres_url)

    def cut(connection):
        _put(connection, "cut")
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    results, _ = await _all(store, store.write(_put, "a"), store.write(cut), store.write(_put, "b"))
    assert isinstance(results[1], DatabaseUnavailable)
    assert await store.read(_names) == {"a", "b"}
    assert [results[0], results[2]] == [None, None]
    store.close()


async def test_a_transaction_that_the_database_dropped_is_run_again_write_by_write(sqlite_store):
    def drop(connection):
        _put(connection, "dropped")
        connection.exec_driver_sql("ROLLBACK")
        raise CacheError("dropped")

    store = sqlite_store
    results, _ = await _all(
        store, store.write(_put, "a"), store.write(drop), store.write(_put, "b")
    )
    assert [type(result) for result in results] == [type(None), CacheError, type(None)]
    assert await store.read(_names) == {"a", "b"}


def test_closing_finishes_the_writes_that_wait(database_url):
    store = Store.open(database_url)
    with _held_up(store):
        threads = [threading.Thread(target=store.write_now, args=(_put, name)) for name in "ab"]
        for thread in threads:
            thread.start()
        while len(store._writer._waiting) < len(threads):
            pass
    store.close()
    for thread in threads:
        thread.join()
    store = Store.open(database_url)
    assert store.read_now(_names) == {"a", "b"}
    store.close()


def test_what_was_acknowledged_in_a_group_survives_kill_9(database_url):
    """A child writes from ten tasks at once and tells each row once it is acknowledged."""
    script = textwrap.dedent(
        """
        import asyncio, itertools, sys
        from cache.storage.database import Store
        from cache.storage.tables import secrets
        store, numbers = Store.open(sys.argv[1]), itertools.count()
        def put(c, names):
            c.execute(secrets.insert(), [{"name": name, "value": b"x"} for name in names])
        async def one(together):
            while True:
                name = f"n{next(numbers)}"
                if together:
                    await store.write_together(put, name)
                else:
                    await store.write(put, [name])
                print(name, flush=True)
        async def main():
            await asyncio.gather(*(one(i % 2) for i in range(10)))
        asyncio.run(main())
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, database_url], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(200)]
    child.kill()
    told += [line for line in child.stdout if line.endswith("\n")]
    child.wait(PATIENCE)
    acknowledged = {line.strip() for line in told}
    store = Store.open(database_url)
    assert len(acknowledged) >= 200
    assert acknowledged <= store.read_now(_names)
    store.close()
