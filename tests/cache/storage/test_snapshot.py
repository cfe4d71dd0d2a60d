"""What is kept between reads never goes stale: whoever commits, the very next read sees it."""

import random
import subprocess
import sys
import textwrap

import pytest

from cache.errors import CacheError
from cache.index.near import NearIndex
from cache.memory.codes import Code, set_codes
from cache.memory.lookup import evidence
from cache.memory.record import image_row, own_issuer
from cache.storage.database import Store
from cache.storage.snapshot import snapshot_of
from cache.storage.tables import secrets
from tests.cache.memory.test_record_and_lookup import BAD, GOOD, NOW, PICTURE, judge
from tests.cache.prints import fingerprint
from tests.waiting import PATIENCE


def _put(connection, name):
    connection.execute(secrets.insert().values(name=name, value=b"x"))


def _flag(connection, name):
    """Let the code of a picture stand."""
    picture = fingerprint(name)
    image_id = image_row(connection, picture.sha256, now=0)
    code = Code(picture.pdq, picture.pdq_quality or 0)
    set_codes(connection, own_issuer(connection, now=0), {image_id: code})


def _withdraw(connection, name):
    image_id = image_row(connection, fingerprint(name).sha256, now=0)
    set_codes(connection, own_issuer(connection, now=0), {image_id: None})


def _fail(connection, act, name):
    act(connection, name)
    raise CacheError("rolled back")


def _near(store, index, name):
    """Tell whether a picture equal in PDQ to the named one finds its code."""

    def look(connection):
        copy = fingerprint(f"copy of {name}", pdq=fingerprint(name).pdq)
        index.refresh(connection)
        return bool(index.search([copy.pdq], copy.pdq_quality, None))

    return store.read_now(look)


def test_reads_between_two_commits_see_one_snapshot(sqlite_store, sqlite_url):
    store, other = sqlite_store, Store.open(sqlite_url)
    first = store.read_now(snapshot_of)
    assert first is not None
    assert store.read_now(snapshot_of) is first
    store.write_now(_put, "ours")
    second = store.read_now(snapshot_of)
    assert second is not first
    assert store.read_now(snapshot_of) is second
    other.write_now(_put, "theirs")
    assert store.read_now(snapshot_of) is not second
    assert other.read_now(snapshot_of) is not store.read_now(snapshot_of)
    other.close()


def test_a_commit_within_a_read_shows_in_the_next_one_alone(sqlite_store):
    """The snapshot is that of the read, not that of the moment it is asked for."""

    def read(connection):
        before = snapshot_of(connection)
        sqlite_store.write_now(_put, "meanwhile")
        count = len(connection.execute(secrets.select()).all())
        return before is snapshot_of(connection), count, before

    same, count, before = sqlite_store.read_now(read)
    assert (same, count) == (True, 0)
    assert sqlite_store.read_now(snapshot_of) is not before


def test_what_writes_knows_no_snapshot(store):
    assert store.write_now(snapshot_of) is None


def test_postgresql_knows_none(postgres_url):
    store = Store.open(postgres_url)
    assert store.read_now(snapshot_of) is None
    store.close()


def test_a_code_of_another_process_is_seen_by_the_very_next_look_up(store, database_url):
    index = NearIndex()
    script = textwrap.dedent(
        """
        import sys
        from cache.storage.database import Store
        from tests.cache.storage.test_snapshot import _flag, _withdraw
        store = Store.open(sys.argv[1])
        for line in sys.stdin:
            what, name = line.split()
            store.write_now({"flag": _flag, "withdraw": _withdraw}[what], name)
            print("done", flush=True)
        store.close()
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for what, seen in (("flag", True), ("withdraw", False)) * 3:
        assert _near(store, index, "a") is not seen
        child.stdin.write(f"{what} a\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"
        assert _near(store, index, "a") is seen
    child.communicate(timeout=PATIENCE)


def test_a_code_that_was_rolled_back_is_never_seen(store):
    index = NearIndex()
    assert not _near(store, index, "a")
    with pytest.raises(CacheError):
        store.write_now(_fail, _flag, "a")
    assert not _near(store, index, "a")
    store.write_now(_flag, "a")
    with pytest.raises(CacheError):
        store.write_now(_fail, _withdraw, "a")
    assert _near(store, index, "a")


@pytest.mark.parametrize("seed", range(3))
def test_an_index_that_is_kept_says_what_a_fresh_one_says(store, database_url, seed):
    """Random writes, some rolled back, by two stores; a look-up by each after every one."""
    rng, other = random.Random(seed), Store.open(database_url)
    kept = {store: NearIndex(), other: NearIndex()}
    for _ in range(40):
        writer, act, name = (
            rng.choice([store, other]),
            rng.choice([_flag, _withdraw]),
            rng.choice("abc"),
        )
        if rng.random() < 0.3:
            with pytest.raises(CacheError):
                writer.write_now(_fail, act, name)
        else:
            writer.write_now(act, name)
        for reader, index in kept.items():
            if rng.random() < 0.7:
                seen = [_near(reader, index, one) for one in "abc"]
                assert seen == [_near(reader, NearIndex(), one) for one in "abc"]
    other.close()


def test_a_look_up_sees_a_verdict_that_another_store_just_wrote(store, database_url):
    def write(connection, scores, turn):
        judge(connection, scores, issued=NOW + turn)

    other, index = Store.open(database_url), NearIndex()
    for turn, scores in enumerate((GOOD, BAD, GOOD)):
        other.write_now(write, scores, turn)
        (match,) = store.read_now(evidence, index, fingerprint=PICTURE).matches
        assert match.verdict.scores == scores
    other.close()
