"""Pictures fingerprinted here, found by PDQ: against brute force, on both databases."""

import pytest

from cache.case_tables import prints
from cache.printed import PrintedIndex
from cache.tables import images
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
