"""What a search sees is what the table holds, whatever became of the files."""

import itertools
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from cache.index import followed, generation
from cache.index.generation import MANIFEST, generations
from cache.index.near import NearIndex
from cache.memory.codes import Code, set_codes
from cache.memory.record import image_row, own_issuer
from cache.storage.database import Store
from tests.cache.index.codes import noisy
from tests.cache.prints import fingerprint
from tests.waiting import PATIENCE

SMALL = 10


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Let bases begin at 11 codes and be merged after 6 changes."""
    monkeypatch.setattr(followed, "SMALL_ENTRIES", SMALL)
    monkeypatch.setattr(followed, "MIN_MERGE_ROWS", 5)
    monkeypatch.setattr(followed, "BUSY_SECONDS", 0.0)


def _add(store, first, last):
    """Give pictures `first` up to `last` a code of our own each."""

    def run(connection):
        own = own_issuer(connection, now=0)
        for number in range(first, last):
            picture = fingerprint(f"{number}")
            image_id = image_row(connection, picture.sha256, now=0)
            set_codes(connection, own, {image_id: Code(picture.pdq, 90, picture.phash)})

    store.write_now(run)


def _withdraw(store, number):
    def run(connection):
        image_id = image_row(connection, fingerprint(f"{number}").sha256, now=0)
        set_codes(connection, own_issuer(connection, now=0), {image_id: None})

    store.write_now(run)


def _sees(store, index, numbers):
    """Tell which of the pictures the index finds, each by its own code."""
    store.read_now(index.refresh)
    return [number for number in numbers if index.search([fingerprint(f"{number}").pdq], 90, None)]


def _settled(store, index):
    """Let the background finish, and take over what it did."""
    for _ in range(3):
        store.read_now(index.refresh)
        assert index.followed.settle(30)


def _saved(store, folder, number=30):
    """Store codes and save an index of them."""
    _add(store, 0, number)
    index = NearIndex(folder)
    _settled(store, index)
    assert len(generations(folder / "codes")) == 1
    return index


def _base(index):
    return len(index.followed.state.moments["pdq"].base)


def test_a_saved_index_is_opened_and_holds_what_came_since(store, tmp_path):
    _saved(store, tmp_path)
    _add(store, 30, 33)
    _withdraw(store, 4)
    index = NearIndex(tmp_path)
    assert _sees(store, index, range(34)) == [n for n in range(33) if n != 4]
    assert _base(index) == 30
    assert index.followed.state.is_trusted


@pytest.mark.parametrize(("number", "files"), [(SMALL, 0), (SMALL + 1, 1)])
def test_small_instances_need_no_files(sqlite_store, tmp_path, number, files):
    _add(sqlite_store, 0, number)
    index = NearIndex(tmp_path / "index")
    _settled(sqlite_store, index)
    assert len(generations(tmp_path / "index" / "codes")) == files
    assert _sees(sqlite_store, index, range(20)) == list(range(number))


@pytest.mark.parametrize(("number", "merges"), [(5, False), (6, True)])
def test_past_so_many_changes_the_base_is_merged_and_the_old_one_removed(
    sqlite_store, tmp_path, number, merges
):
    index = _saved(sqlite_store, tmp_path)
    before = generations(tmp_path / "codes")
    _add(sqlite_store, 30, 30 + number)
    _settled(sqlite_store, index)
    assert (generations(tmp_path / "codes") != before) is merges
    assert len(generations(tmp_path / "codes")) == 1
    assert _base(index) == (30 + number if merges else 30)
    assert _sees(sqlite_store, index, range(60)) == list(range(30 + number))


@pytest.mark.parametrize(
    ("changes", "base", "due"),
    [
        (50_000, 10_000_000, False),
        (50_001, 10_000_000, True),
        (5_000, 100_000, False),
        (5_001, 100_000, True),
    ],
)
def test_a_merge_is_due_past_fifty_thousand_changes_or_five_percent(changes, base, due):
    assert followed.Merging().due(changes, base) is due


def test_without_a_folder_the_base_is_merged_in_memory(store):
    _add(store, 0, 30)
    index = NearIndex()
    _settled(store, index)
    _add(store, 30, 40)
    _settled(store, index)
    assert _base(index) == 40
    _withdraw(store, 3)
    assert _sees(store, index, range(41)) == [n for n in range(40) if n != 3]


def test_rows_are_read_some_at_a_time_and_none_is_lost(sqlite_store, monkeypatch):
    """Also where their number is a multiple of what is read at once."""
    monkeypatch.setattr(followed, "READ_ROWS", 4)
    index = NearIndex()
    for first, last in ((0, 8), (8, 12), (12, 25), (25, 33)):
        _add(sqlite_store, first, last)
        assert _sees(sqlite_store, index, range(40)) == list(range(last))
    fresh = NearIndex()
    assert _sees(sqlite_store, fresh, range(40)) == list(range(33))


@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_a_read_that_fails_half_way_loses_nothing(sqlite_store, monkeypatch, fails_at):
    """The connection breaks while the table is read, at first and later on."""
    monkeypatch.setattr(followed, "READ_ROWS", 4)
    index = NearIndex()
    for first, last in ((0, 18), (18, 36)):
        _add(sqlite_store, first, last)
        table = index.followed._table
        calls, changes = itertools.count(1), table.changes

        def broken(*arguments, calls=calls, changes=changes):
            if next(calls) == fails_at:
                raise ConnectionError
            return changes(*arguments)

        monkeypatch.setattr(table, "changes", broken)
        with pytest.raises(ConnectionError):
            sqlite_store.read_now(index.refresh)
        monkeypatch.setattr(table, "changes", changes)
        assert _sees(sqlite_store, index, range(40)) == list(range(last))


# --- files that are not to be believed --------------------------------------------------------


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)


def _each_broken(whole):
    """Name every file with a way to break it: a flipped bit each, a few also in other ways."""
    others = {
        "missing": lambda path: path.unlink(),
        "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
        "empty": lambda path: path.write_bytes(b""),
    }
    for path in sorted(whole.iterdir()):
        yield f"{path.name} flipped", path, _flip
        if path.name in (MANIFEST, "pdq.rows.npy"):
            yield from ((f"{path.name} {name}", path, change) for name, change in others.items())


@pytest.mark.parametrize("behind", [False, True])
def test_a_damaged_index_hides_no_code_and_is_built_again(
    sqlite_store, tmp_path, monkeypatch, behind
):
    """Whether it is verified before it is used, or behind its first searches."""
    if behind:
        monkeypatch.setattr(followed, "VERIFY_AT_ONCE_BYTES", 0)
    _saved(sqlite_store, tmp_path / "whole")
    (whole,) = generations(tmp_path / "whole" / "codes")
    for number, (name, path, change) in enumerate(_each_broken(whole)):
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", folder)
        change(folder / "codes" / whole.name / path.name)
        index = NearIndex(folder)
        sqlite_store.read_now(index.refresh)
        for asked in range(30):  # what is not found must be called incomplete
            hits = index.search([fingerprint(f"{asked}").pdq], 90, None)
            assert hits.cut or [hit.distance for hit in hits] == [0], name
        _settled(sqlite_store, index)
        assert _sees(sqlite_store, index, range(31)) == list(range(30)), name
        assert not index.search([fingerprint("0").pdq], 90, None).cut
        again = NearIndex(folder)
        assert _sees(sqlite_store, again, range(31)) == list(range(30)), name
        assert _base(again) == 30
        assert len(generations(folder / "codes")) == 1


def test_until_its_bytes_are_verified_nothing_is_concluded_from_an_index(
    sqlite_store, tmp_path, monkeypatch
):
    _saved(sqlite_store, tmp_path)
    monkeypatch.setattr(followed, "VERIFY_AT_ONCE_BYTES", 0)
    going_on = threading.Event()

    def slow(found):
        assert going_on.wait(PATIENCE)
        generation.verify(found)

    monkeypatch.setattr(followed, "verify", slow)
    index = NearIndex(tmp_path)
    sqlite_store.read_now(index.refresh)
    far = [fingerprint("far from all").pdq]
    assert index.search(far, 90, None).cut
    assert [hit.distance for hit in index.search([fingerprint("3").pdq], 90, None)] == [0]
    going_on.set()
    assert index.followed.settle(30)
    assert not index.search(far, 90, None).cut


@pytest.mark.parametrize("names", [["codes"], ["codes", "lock"], []])
def test_a_folder_of_rubbish_is_built_over(sqlite_store, tmp_path, names):
    folder = tmp_path / "codes"
    folder.mkdir()
    for name in ("gen-", "gen-999", "gen-00000000000000000999-abcd", "tmp-x"):
        (folder / name).mkdir()
    (folder / "gen-file").write_bytes(b"rubbish")
    for name in names:
        (folder / name).write_bytes(b"")
    _add(sqlite_store, 0, 20)
    index = NearIndex(tmp_path)
    _settled(sqlite_store, index)
    assert _sees(sqlite_store, index, range(25)) == list(range(20))
    again = NearIndex(tmp_path)
    assert _sees(sqlite_store, again, range(25)) == list(range(20))
    assert _base(again) == 20


def test_a_folder_that_cannot_be_written_leaves_the_index_in_memory(sqlite_store, tmp_path, caplog):
    (tmp_path / "index").write_bytes(b"a file where a folder should be")
    _add(sqlite_store, 0, 20)
    index = NearIndex(tmp_path / "index")
    with caplog.at_level(logging.WARNING):
        _settled(sqlite_store, index)
    assert "kept in memory" in caplog.text
    assert _sees(sqlite_store, index, range(25)) == list(range(20))


def test_an_index_of_another_database_is_not_used(sqlite_store, new_sqlite_url, tmp_path):
    """`database.url` was changed, the folder stayed; the numbers alone would look right."""
    _saved(sqlite_store, tmp_path)
    other = _migrated(new_sqlite_url())
    _add(other, 100, 140)
    index = NearIndex(tmp_path)
    assert _sees(other, index, [*range(30), *range(100, 141)]) == list(range(100, 140))
    _settled(other, index)
    again = NearIndex(tmp_path)
    assert _sees(other, again, [*range(30), *range(100, 141)]) == list(range(100, 140))
    other.close()


def _migrated(url):
    import migrations  # noqa: PLC0415

    migrations.upgrade(url)
    return Store.open(url)


@pytest.mark.parametrize("later", [0, 3, 40])
def test_an_index_from_before_the_database_was_restored_is_not_used(
    sqlite_url, new_sqlite_url, tmp_path, later
):
    """The backup lacks what the index holds, and has since gone on in another way."""
    store = Store.open(sqlite_url)
    _add(store, 0, 20)
    backup = new_sqlite_url()
    with (
        closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(backup.removeprefix("sqlite:///"))) as target,
    ):
        source.backup(target)
    _add(store, 20, 30)
    index = NearIndex(tmp_path)
    _settled(store, index)
    store.close()
    restored = Store.open(backup)
    _add(restored, 100, 100 + later)
    index = NearIndex(tmp_path)
    expected = [*range(20), *range(100, 100 + later)]
    assert _sees(restored, index, [*range(30), *range(100, 150)]) == expected
    restored.close()


# --- several processes ------------------------------------------------------------------------


def test_two_indexes_on_one_folder_see_each_others_writes_and_share_one_base(store, tmp_path):
    """Two `serve` processes: one merges, the other takes its files over."""
    first = _saved(store, tmp_path)
    second = NearIndex(tmp_path)
    assert _sees(store, second, range(31)) == list(range(30))
    _add(store, 30, 40)
    _settled(store, first)
    assert _base(first) == 40
    assert _sees(store, second, range(41)) == list(range(40))
    assert _base(second) == 30  # its files are gone, and open all the same
    _settled(store, second)
    assert _base(second) == 40
    held = [index.followed._generation for index in (first, second)]
    assert held[0]
    assert held[1]
    assert held[0].path == held[1].path
    _withdraw(store, 35)
    for index in (first, second):
        assert _sees(store, index, range(41)) == [n for n in range(40) if n != 35]


def test_one_that_idles_takes_over_what_another_wrote(sqlite_store, tmp_path, monkeypatch):
    monkeypatch.setattr(followed, "LOOK_AGAIN_SECONDS", 0.0)
    first = _saved(sqlite_store, tmp_path)
    second = NearIndex(tmp_path, None)
    sqlite_store.read_now(second.refresh)
    monkeypatch.setattr(followed.Merging, "due", lambda *_: False)
    _add(sqlite_store, 30, 32)
    sqlite_store.read_now(second.refresh)
    monkeypatch.undo()
    monkeypatch.setattr(followed, "LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(followed, "SMALL_ENTRIES", SMALL)
    monkeypatch.setattr(followed, "MIN_MERGE_ROWS", 5)
    _add(sqlite_store, 32, 40)
    _settled(sqlite_store, first)
    monkeypatch.setattr(followed.Merging, "due", lambda *_: False)
    _settled(sqlite_store, second)
    assert _base(second) == 40
    assert _sees(sqlite_store, second, range(41)) == list(range(40))


def test_a_merge_is_left_to_the_process_that_holds_the_lock(sqlite_store, tmp_path):
    index = _saved(sqlite_store, tmp_path)
    _add(sqlite_store, 30, 40)
    with index.followed._folder.locked() as is_ours:
        assert is_ours
        _settled(sqlite_store, index)
        assert _base(index) == 30
        assert _sees(sqlite_store, index, range(41)) == list(range(40))
    _settled(sqlite_store, index)
    assert _base(index) == 40


_WRITER = """
import sys
from cache.storage.database import Store
from cache.index import followed, generation
from cache.index.near import NearIndex
from pathlib import Path
followed.SMALL_ENTRIES, followed.MIN_MERGE_ROWS = 10, 5
store = Store.open(sys.argv[1])
print("ready", flush=True)
while True:
    index = NearIndex(Path(sys.argv[2]))
    store.read_now(index.refresh)
    index.followed._is_saved = False
    index.followed._base_sequence = -1  # writes again what is there already
    index.followed._look_for_another = lambda: False
    store.read_now(index.refresh)
    index.followed._start(index.followed._merge)
    index.followed.settle()
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_believed_by_mistake(
    sqlite_url, tmp_path, seed
):
    """kill -9 at a random moment of merging, renaming or removing, again and again."""
    store = Store.open(sqlite_url)
    _add(store, 0, 30)
    dice = random.Random(seed)
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, sqlite_url, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(dice.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for path in generations(tmp_path / "codes"):
            assert (path / MANIFEST).stat().st_size  # a name stands for the whole
    index = NearIndex(tmp_path)
    assert _sees(store, index, range(31)) == list(range(30))
    assert index.followed.state.is_trusted
    _add(store, 30, 40)
    _settled(store, index)
    names = sorted(path.name for path in (tmp_path / "codes").iterdir())
    assert len(names) == 2  # one generation, and the lock
    assert names[1] == "lock"
    store.close()


def test_threads_that_search_and_refresh_at_once_miss_nothing(sqlite_url, tmp_path):
    """A code that stands all the time is found all the time, through merges and updates."""
    store = Store.open(sqlite_url)
    _add(store, 0, 40)
    index, stop, missed = NearIndex(tmp_path), threading.Event(), []
    store.read_now(index.refresh)
    dice = random.Random(1)

    def search(number):
        asked = fingerprint(f"{number}").pdq
        while not stop.is_set():
            hits = index.search([noisy_copy(asked)], 90, None)
            if not hits and not hits.cut:
                missed.append(number)

    def noisy_copy(code):
        return (int.from_bytes(code, "big") ^ (1 << dice.randrange(256))).to_bytes(32, "big")

    threads = [threading.Thread(target=search, args=(number,)) for number in (0, 7)]
    for thread in threads:
        thread.start()
    for number in range(40, 120):
        _add(store, number, number + 1)
        _add(store, 7, 8)
        store.read_now(index.refresh)
    stop.set()
    for thread in threads:
        thread.join()
    assert not missed
    assert _base(index) > 40
    store.close()


def test_noise_of_a_few_bits_is_found_by_the_index_that_was_opened(sqlite_store, tmp_path):
    """From files as from memory: near, not only equal."""
    import numpy as np  # noqa: PLC0415

    _saved(sqlite_store, tmp_path)
    index = NearIndex(tmp_path)
    sqlite_store.read_now(index.refresh)
    code = fingerprint("3").pdq
    for bits in (0, 20, 31, 40):
        hits = index.search([noisy(np.random.default_rng(bits), code, bits)], 90, None)
        assert [hit.distance for hit in hits] == [bits]
