"""Pictures fingerprinted here, found by PDQ: against brute force, on both databases."""

import numpy as np
import pytest

from cache.errors import IndexDamaged
from cache.index import followed, hamming
from cache.index.printed import PrintedIndex
from cache.storage.case_tables import prints
from cache.storage.tables import images
from tests.cache.index.codes import bits_between, crowd, noisy
from tests.cache.prints import fingerprint, flipped

QUERY = fingerprint("query").pdq


def _print(connection, name, pdq, quality=90):
    """Store a picture with this PDQ as fingerprinted here; returns its image id."""
    values = {"sha256": fingerprint(name).sha256, "pdq": pdq, "pdq_quality": quality}
    row = images.insert().values(**values, fingerprinted=True, created=0)
    image_id = connection.execute(row).inserted_primary_key[0]
    connection.execute(prints.insert().values(image_id=image_id))
    return image_id


def _refreshed(store):
    index = PrintedIndex()
    store.read_now(index.refresh)
    return index


def test_pictures_come_nearest_first_up_to_the_radius_and_not_one_bit_past_it(store):
    ids = [store.write_now(_print, f"{bits}", flipped(QUERY, bits)) for bits in (10, 0, 11, 4)]
    found = _refreshed(store).within([QUERY], 10)
    assert found == [(ids[1], 0), (ids[3], 4), (ids[0], 10)]


def test_the_nearest_variant_of_a_picture_counts_and_it_is_named_once(store):
    image_id = store.write_now(_print, "one", flipped(QUERY, 3))
    index = _refreshed(store)
    assert index.within([flipped(QUERY, 20), QUERY, flipped(QUERY, 5)], 31) == [(image_id, 2)]


def test_pictures_that_come_later_are_found_after_the_next_refresh(store):
    index = PrintedIndex()
    for number in range(3):
        store.write_now(_print, f"{number}", QUERY)
        store.read_now(index.refresh)
        assert len(index.within([QUERY], 0)) == number + 1
    assert len(index) == 3


@pytest.mark.parametrize(
    ("pdq", "quality"), [(QUERY, 49), (None, None), (b"short", 90), (QUERY, None)]
)
def test_flat_pictures_and_those_without_a_code_are_left_out(sqlite_store, pdq, quality):
    sqlite_store.write_now(_print, "flat", pdq, quality)
    image_id = sqlite_store.write_now(_print, "fifty", QUERY, 50)
    assert _refreshed(sqlite_store).within([QUERY], 0) == [(image_id, 0)]


def test_many_codes_are_matched_each_with_its_number(sqlite_store):
    near, far = (
        sqlite_store.write_now(_print, "near", flipped(QUERY, 7)),
        sqlite_store.write_now(_print, "far", flipped(QUERY, 32)),
    )
    index = _refreshed(sqlite_store)
    assert sorted(index.match([flipped(QUERY, 32), QUERY], 31)) == [
        (0, near, 25),
        (0, far, 0),
        (1, near, 7),
    ]


def test_nothing_is_near_in_an_empty_index():
    assert PrintedIndex().within([QUERY], 256) == []
    assert PrintedIndex().match([], 31) == []


def test_a_base_from_files_finds_what_brute_force_finds(sqlite_store, tmp_path, monkeypatch):
    monkeypatch.setattr(followed, "SMALL_ENTRIES", 10)
    random = np.random.default_rng(3)
    codes = crowd(3, 120)
    ids = [sqlite_store.write_now(_print, f"{i}", code) for i, code in enumerate(codes[:100])]
    first = PrintedIndex(tmp_path)
    sqlite_store.read_now(first.refresh)
    assert first.followed.settle(30)
    ids += [sqlite_store.write_now(_print, f"{i}", codes[i]) for i in range(100, 120)]
    index = PrintedIndex(tmp_path)
    sqlite_store.read_now(index.refresh)
    assert len(index.followed.state.moments["pdq"].base) == 100
    asked = [noisy(random, codes[i], i) for i in range(40)]
    for radius in (0, 10, 31, 60):
        expected = {
            (n, ids[i], bits)
            for n, query in enumerate(asked)
            for i, code in enumerate(codes)
            if (bits := bits_between(query, code)) <= radius
        }
        found = index.match(asked, radius)
        assert len(found) == len(expected)
        assert set(found) == expected


def test_equal_pictures_are_all_found_however_many(sqlite_store, monkeypatch):
    """Of codes that flag a few hundred equal ones are enough; here each picture matters."""
    monkeypatch.setattr(followed, "SMALL_ENTRIES", 10)
    monkeypatch.setattr(hamming, "MAX_EQUAL", 4)
    ids = [sqlite_store.write_now(_print, f"{i}", QUERY) for i in range(30)]
    assert _refreshed(sqlite_store).within([QUERY], 0) == [(one, 0) for one in ids]


def test_nothing_is_said_of_files_that_are_damaged_until_they_are_built_again(
    sqlite_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(followed, "SMALL_ENTRIES", 10)
    ids = [sqlite_store.write_now(_print, f"{i}", QUERY) for i in range(20)]
    first = PrintedIndex(tmp_path)
    sqlite_store.read_now(first.refresh)
    assert first.followed.settle(30)
    monkeypatch.setattr(followed, "VERIFY_AT_ONCE_BYTES", 0)
    (path,) = tmp_path.glob("prints/gen-*/pdq.codes.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    index = PrintedIndex(tmp_path)
    sqlite_store.read_now(index.refresh)
    with pytest.raises(IndexDamaged):
        index.within([QUERY], 0)
    sqlite_store.read_now(index.refresh)
    assert index.within([QUERY], 0) == [(one, 0) for one in ids]
