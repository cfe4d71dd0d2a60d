"""Rows stored at once stand as they were given, and what stands already is asked for first."""

import json

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import DatabaseUnavailable
from cache.memory.record import picture_rows
from cache.storage.bulk import Bulk, Merge, Skip
from cache.storage.database import Store
from cache.storage.rows import scores_text
from cache.storage.tables import images, notes, secrets
from tests.cache.prints import fingerprint

NOW = 1_800_000_000


@pytest.fixture
def postgres_store(postgres_url):
    opened = Store.open(postgres_url)
    yield opened
    opened.close()


SECRETS = Bulk(secrets, ("name", "value"))
NOTES = Bulk(notes, ("value", "name"), Merge(("name",), lambda new, old: new.value > old.value))


def _secrets(connection):
    return {name: bytes(value) for name, value in connection.execute(sa.select(secrets))}


def _notes(connection):
    return dict(connection.execute(sa.select(notes)).all())


def test_what_is_stored_comes_back_byte_for_byte(store):
    odd = [b"", b"\x00", b"\\N", b"\\.\n", b"\t\r\n", bytes(range(256)), b"\\x41"]
    rows = [{"name": f"n{i}", "value": value, "unheard of": 1} for i, value in enumerate(odd)]
    store.write_now(SECRETS.store, rows)
    assert store.read_now(_secrets) == {row["name"]: row["value"] for row in rows}


def test_text_that_looks_like_the_marks_of_copying_comes_back_as_it_was(store):
    odd = ["", "\\N", "\\.", "a\tb", "a\nb", "\\", "é\u2028", "%s", "NULL", '"']
    store.write_now(NOTES.store, [{"name": text, "value": text} for text in odd])
    assert store.read_now(_notes) == {text: text for text in odd}


def test_nothing_is_nothing(store):
    store.write_now(SECRETS.store, [])
    store.write_now(NOTES.store, [])
    assert store.read_now(_secrets) == {}


def test_of_one_key_the_row_stays_that_is_said_to(store):
    store.write_now(NOTES.store, [{"name": "a", "value": "2"}, {"name": "b", "value": "2"}])

    def twice(connection):
        NOTES.store(connection, [{"name": "a", "value": "1"}, {"name": "b", "value": "3"}])
        NOTES.store(connection, [{"name": "c", "value": "1"}])

    store.write_now(twice)
    assert store.read_now(_notes) == {"a": "2", "b": "3", "c": "1"}


def test_a_row_that_cannot_be_stored_leaves_none_and_the_next_write_works(store):
    store.write_now(SECRETS.store, [{"name": "a", "value": b"1"}])
    with pytest.raises(sa.exc.IntegrityError):
        store.write_now(SECRETS.store, [{"name": n, "value": b"2"} for n in "bca"])
    with pytest.raises(sa.exc.IntegrityError):
        store.write_now(NOTES.store, [{"name": "x", "value": "1"}, {"name": "y", "value": None}])
    assert store.read_now(_secrets) == {"a": b"1"}
    assert store.read_now(_notes) == {}
    store.write_now(NOTES.store, [{"name": "x", "value": "1"}])
    assert store.read_now(_notes) == {"x": "1"}


def test_a_server_that_goes_away_while_rows_are_copied_is_one_clear_sentence(postgres_store):
    def cut(connection):
        connection.exec_driver_sql(
            "CREATE FUNCTION pg_temp.die() RETURNS trigger AS $$ BEGIN PERFORM"
            " pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$ LANGUAGE plpgsql"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER die BEFORE INSERT ON secrets FOR EACH ROW"
            " EXECUTE FUNCTION pg_temp.die()"
        )
        SECRETS.store(connection, [{"name": "a", "value": b"1"}])

    with pytest.raises(DatabaseUnavailable, match="check that it runs"):
        postgres_store.write_now(cut)
    postgres_store.write_now(SECRETS.store, [{"name": "b", "value": b"1"}])
    assert postgres_store.read_now(_secrets) == {"b": b"1"}


def test_row_ids_given_here_and_those_given_by_the_database_never_meet(store):
    def act(connection):
        for name in "abc":
            hashes = [fingerprint(f"{name}{i}").sha256 for i in range(3)]
            picture_rows(connection, hashes, now=NOW)
            values = {"sha256": fingerprint(name).sha256, "created": NOW, "fingerprinted": False}
            connection.execute(images.insert().values(**values))

    store.write_now(act)
    count = sa.select(sa.func.count(), sa.func.count(images.c.id.distinct())).select_from(images)
    assert store.read_now(lambda c: tuple(c.execute(count).one())) == (12, 12)


def test_pictures_that_are_new_are_told_from_those_that_stand(store):
    a, b, c = (fingerprint(name).sha256 for name in "abc")
    first = store.write_now(picture_rows, [b, a, a], now=NOW)
    assert (set(first.ids), first.new) == ({a, b}, {a, b})
    second = store.write_now(picture_rows, [c, a], now=NOW)
    assert (second.ids[a], second.new) == (first.ids[a], {c})


@given(st.dictionaries(st.text(), st.none() | st.integers(0, 10_000), min_size=1))
def test_scores_are_stored_as_sorted_json_whatever_the_labels(scores):
    text = scores_text(scores)
    assert text == json.dumps(scores, sort_keys=True, separators=(",", ":"))


def test_no_scores_are_null():
    assert scores_text({}) is None


SKIPPED = Bulk(notes, ("name", "value"), Skip(("name",)))


def test_what_stands_may_stay_and_how_many_were_stored_is_told(store):
    assert store.write_now(SKIPPED.store, [{"name": "a", "value": "1"}]) == 1
    rows = [{"name": name, "value": "2"} for name in "abc"]
    assert store.write_now(SKIPPED.store, rows) == 2
    assert store.write_now(SKIPPED.store, []) == 0
    assert store.read_now(_notes) == {"a": "1", "b": "2", "c": "2"}


@pytest.mark.parametrize("known", [[], [1], [0, 3], [0, 1, 2, 3]])
def test_pictures_that_are_known_keep_their_rows_among_new_ones(store, known):
    hashes = [bytes([number]) * 32 for number in range(4)]
    before = store.write_now(picture_rows, [hashes[number] for number in known], now=NOW)
    assert before.new == set(before.ids)
    found = store.write_now(picture_rows, [*hashes, *hashes], now=NOW + 1)
    assert found.new == {*hashes} - {*before.ids}
    assert before.ids.items() <= found.ids.items()
    rows = store.read_now(lambda conn: conn.execute(sa.select(images.c.sha256, images.c.id)).all())
    assert {bytes(sha256): row_id for sha256, row_id in rows} == found.ids
    assert len(set(found.ids.values())) == 4
