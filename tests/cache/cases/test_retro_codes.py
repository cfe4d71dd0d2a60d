"""The flat column of sighted codes: nothing near is missed, and a file that is wrong is remade."""

import numpy as np
import pytest
from sqlalchemy import select

from cache.cases import retro_codes
from cache.cases.retro_codes import ROW, SightedCodes
from cache.memory.record import Computed, record_images
from cache.storage.case_tables import prints
from cache.storage.tables import images
from tests.cache.prints import fingerprint, flipped

NOW = 1_800_000_000
RADIUS = 31


def variants(name):
    """Eight codes of a picture, the identity first, none near another."""
    return [fingerprint(name).pdq, *(fingerprint(f"{name} {turn}").pdq for turn in range(1, 8))]


def store_pictures(store, names, **changes):
    """Store pictures, and return their row ids."""
    computed = [Computed(fingerprint(name, **changes), variants(name)) for name in names]
    store.write_now(record_images, computed, now=NOW)
    hashes = [one.fingerprint.sha256 for one in computed]
    found = select(images.c.sha256, images.c.id).where(images.c.sha256.in_(hashes))
    by_hash = {
        bytes(sha256): row for sha256, row in store.read_now(lambda c: c.execute(found).all())
    }
    return [by_hash[sha256] for sha256 in hashes]


@pytest.fixture
def column(tmp_path):
    return SightedCodes(tmp_path / "state" / "sighted-codes")


def followed(store, column):
    while store.read_now(column.refresh):
        pass
    return column


def test_a_picture_within_the_radius_of_any_of_its_codes_is_found(store, column):
    ids = store_pictures(store, [f"p{number}" for number in range(20)])
    followed(store, column)
    for turn in range(8):
        code = flipped(variants("p7")[turn], RADIUS)
        assert ids[7] in column.maybe_near([code], RADIUS)


def test_everything_near_is_found_and_little_else(store, column):
    """Against brute force over all eight codes of every picture, near codes mixed in."""
    names = [f"p{number}" for number in range(60)]
    ids = store_pictures(store, names)
    followed(store, column)
    rng = np.random.default_rng(1)
    wanted = []
    for number in range(40):
        code = variants(f"p{number}")[number % 8]
        bits = np.zeros(256, np.uint8)
        bits[rng.choice(256, rng.integers(20, 45), replace=False)] = 1
        wanted.append(bytes(np.frombuffer(code, np.uint8) ^ np.packbits(bits)))
    near = {
        row_id
        for row_id, name in zip(ids, names, strict=True)
        for code in wanted
        if min(_distance(code, own) for own in variants(name)) <= RADIUS
    }
    found = set(column.maybe_near(wanted, RADIUS).tolist())
    assert near
    assert near <= found
    assert len(found - near) < 20  # by half of the bits alone


def _distance(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_more_pictures_than_a_block_and_than_a_reading_are_all_compared(
    sqlite_store, column, monkeypatch
):
    monkeypatch.setattr(retro_codes, "BLOCK_ROWS", 16)
    ids = store_pictures(sqlite_store, [f"p{number}" for number in range(100)])
    followed(sqlite_store, column)
    codes = [variants(f"p{number}")[3] for number in range(100)]
    assert column.maybe_near(codes, 0).tolist() == sorted(ids)


def test_pictures_that_came_later_are_appended(store, column):
    store_pictures(store, ["a"])
    followed(store, column)
    [later] = store_pictures(store, ["b"])
    assert column.maybe_near([variants("b")[0]], RADIUS).tolist() == []
    followed(store, column)
    assert column.maybe_near([variants("b")[0]], RADIUS).tolist() == [later]
    assert len(column) == 2


@pytest.mark.parametrize(("quality", "found"), [(49, False), (50, True), (None, False)])
def test_flat_pictures_are_never_matched(store, column, quality, found):
    store_pictures(store, ["flat"], pdq_quality=quality)
    followed(store, column)
    assert bool(column.maybe_near([variants("flat")[0]], 0).tolist()) is found
    assert len(column) == 1  # but they are followed past


def test_a_picture_of_which_one_code_is_known_is_matched_by_it(store, column):
    one = fingerprint("lone")
    store.write_now(record_images, [Computed(one)], now=NOW)
    followed(store, column)
    assert len(column.maybe_near([one.pdq], 0)) == 1


def test_without_a_file_or_without_codes_nothing_is_found(column, store):
    assert column.maybe_near([variants("a")[0]], RADIUS).tolist() == []
    followed(store, column)
    assert column.maybe_near([], RADIUS).tolist() == []


def test_a_row_cut_off_by_a_crash_is_written_again(store, column, tmp_path):
    ids = store_pictures(store, ["a", "b"])
    followed(store, column)
    path = tmp_path / "state" / "sighted-codes"
    path.write_bytes(path.read_bytes()[:-1])
    followed(store, column)
    assert column.maybe_near([variants("b")[5]], RADIUS).tolist() == [ids[1]]
    assert path.stat().st_size == 2 * ROW.itemsize


@pytest.mark.parametrize("wrong", [b"\0" * ROW.itemsize, b"\xff" * ROW.itemsize])
def test_a_file_whose_end_is_not_of_this_database_is_begun_anew(store, column, tmp_path, wrong):
    ids = store_pictures(store, ["a", "b"])
    followed(store, column)
    path = tmp_path / "state" / "sighted-codes"
    path.write_bytes(wrong * 3)
    followed(store, column)
    found = column.maybe_near([variants("a")[0], variants("b")[0]], RADIUS)
    assert found.tolist() == sorted(ids)


def test_a_database_restored_from_a_backup_is_noticed(store, column):
    """Its next picture takes the number of one that the file holds."""
    store_pictures(store, ["a", "b"])
    followed(store, column)
    store.write_now(lambda c: c.execute(prints.delete().where(prints.c.id == 2)))
    followed(store, column)
    assert len(column) == 1


def test_two_processes_share_one_file_and_write_no_row_twice(store, tmp_path):
    path = tmp_path / "sighted-codes"
    one, other = SightedCodes(path), SightedCodes(path)
    store_pictures(store, ["a", "b", "c"])
    followed(store, one)
    followed(store, other)
    assert len(one) == len(other) == 3


def test_only_its_owner_may_read_the_file(store, column, tmp_path):
    followed(store, column)
    assert (tmp_path / "state" / "sighted-codes").stat().st_mode & 0o777 == 0o600


def test_a_pass_that_is_to_end_ends(store, column):
    store_pictures(store, ["a"])
    followed(store, column)
    column.stop()
    assert column.maybe_near([variants("a")[0]], RADIUS).tolist() == []
