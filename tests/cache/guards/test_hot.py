"""The hot-hash breaker: counting within the hour, holding, telling, releasing."""

import pytest
from sqlalchemy import func, select

from cache.errors import NotHeld
from cache.guards.guards import TableGuards
from cache.guards.hot import (
    DAY_SECONDS,
    HOUR_SECONDS,
    RELEASE_SECONDS,
    Heat,
    Hot,
    hold,
    list_held,
    release,
)
from cache.index.near import NearIndex
from cache.memory.lookup import evidence
from cache.memory.record import image_row, own_issuer
from cache.settings import DecideSettings
from cache.storage.case_tables import held_codes
from cache.trust.notices import unread
from cache.verdict import SELF, MatchKind
from tests.cache.guards.test_guards import BAD, COPY, NOW, QUERY, A, B, found, own, theirs
from tests.cache.prints import fingerprint, flipped

CODE = (1, 1)
LIMIT = 3


def digest(number):
    return number.to_bytes(8, "big") + bytes(24)


def warm(heat, numbers, code=CODE, now=0.0):
    return [heat.note(code, digest(number), now) for number in numbers]


def hot(connection, picture=COPY, issuer_id=None, pictures=101):
    issuer_id = own_issuer(connection, now=NOW) if issuer_id is None else issuer_id
    return Hot((image_row(connection, picture.sha256, now=NOW), issuer_id), pictures)


def test_a_code_is_hot_one_picture_past_the_limit():
    heat = Heat(LIMIT)
    assert warm(heat, range(LIMIT)) == [None] * LIMIT
    assert warm(heat, [LIMIT]) == [Hot(CODE, LIMIT + 1)]


def test_the_same_picture_counts_once_and_other_codes_count_apart():
    heat = Heat(LIMIT)
    assert warm(heat, [0, 0, 1, 1, 2, 2, 0, 1, 2]) == [None] * 9
    assert warm(heat, range(LIMIT), (1, 2)) == [None] * LIMIT


def test_pictures_of_more_than_an_hour_ago_count_no_more():
    heat = Heat(LIMIT)
    warm(heat, [0], now=0.0)
    warm(heat, [1, 2], now=10.0)
    assert warm(heat, [3], now=HOUR_SECONDS - 0.5) == [Hot(CODE, 4)]
    heat = Heat(LIMIT)
    warm(heat, [0], now=0.0)
    warm(heat, [1, 2], now=10.0)
    assert warm(heat, [3], now=float(HOUR_SECONDS)) == [None]
    assert len(heat) == 3


def test_what_became_hot_is_counted_from_none_again():
    heat = Heat(LIMIT)
    warm(heat, range(LIMIT + 1))
    assert len(heat) == 0
    assert warm(heat, range(LIMIT)) == [None] * LIMIT


def test_no_more_is_remembered_than_the_limit_and_the_coldest_codes_go_first():
    heat = Heat(LIMIT, max_remembered=6)
    for code in range(3):
        warm(heat, [0, 1], (code, 1))
    assert len(heat) == 6
    warm(heat, [0], (0, 1))  # the first is warm again; the second is the coldest
    warm(heat, [0], (3, 1))
    assert len(heat) == 5
    assert warm(heat, [2, 3], (0, 1)) == [None, Hot((0, 1), 4)]
    assert warm(heat, [2, 3], (1, 1)) == [None, None]


def test_a_flood_of_codes_ends_in_bounded_memory():
    heat = Heat(100, max_remembered=1_000)
    for code in range(5_000):
        warm(heat, [0], (code, 1))
    assert len(heat) == len(heat._codes) == 1_000


def test_a_hot_code_is_held_once_and_the_admin_told_once(store):
    store.write_now(own, COPY, BAD)
    for _ in range(2):
        assert store.write_now(lambda c: hold(c, hot(c), NOW))
    [one] = store.read_now(list_held)
    assert (one.sha256, one.origin, one.pictures, one.released) == (COPY.sha256, SELF, 101, None)
    [notice] = store.read_now(unread)
    assert (notice.kind, notice.origin) == ("hot-hash", None)
    assert COPY.sha256.hex() in notice.text
    assert "codes release" in notice.text


def test_a_peers_hot_code_is_held_alone_and_told_with_the_peers_name(store):
    peer = store.write_now(theirs, [COPY], BAD, A)
    store.write_now(theirs, [COPY], BAD, B)
    store.write_now(lambda c: hold(c, hot(c, issuer_id=peer), NOW))
    assert [one.origin for one in store.read_now(list_held)] == [A]
    [notice] = store.read_now(unread)
    assert notice.origin == A


@pytest.mark.parametrize("finding", ["upheld", "escalated"])
def test_of_a_code_that_a_person_spoke_for_the_admin_is_told_once_a_day_only(store, finding):
    store.write_now(own, COPY, BAD)
    store.write_now(found, COPY, finding)
    for later in (0, 10, DAY_SECONDS - 1):
        assert not store.write_now(lambda c, t=later: hold(c, hot(c), NOW + t))
    assert store.read_now(list_held) == []
    assert len(store.read_now(unread)) == 1
    assert not store.write_now(lambda c: hold(c, hot(c), NOW + DAY_SECONDS))
    assert len(store.read_now(unread)) == 2


def test_a_released_code_is_not_held_for_a_week_and_then_it_is(store):
    store.write_now(own, COPY, BAD)
    store.write_now(lambda c: hold(c, hot(c), NOW))
    [gone] = store.write_now(release, COPY.sha256, NOW + 5)
    assert gone.sha256 == COPY.sha256
    assert store.read_now(list_held) == []
    assert [one.released for one in store.read_now(list_held, released=True)] == [NOW + 5]
    assert not store.write_now(lambda c: hold(c, hot(c), NOW + 5 + RELEASE_SECONDS - 1))
    assert store.write_now(lambda c: hold(c, hot(c), NOW + 5 + RELEASE_SECONDS))
    assert [one.released for one in store.read_now(list_held)] == [None]


def test_releasing_what_is_not_held_says_so(store):
    with pytest.raises(NotHeld, match="codes held"):
        store.write_now(release, COPY.sha256, NOW)


def pictures(number, first=0):
    return [fingerprint(f"meme {i}", pdq=flipped(QUERY.pdq, 3)) for i in range(first, number)]


def look(store, guards, near, picture, variants=True):
    return store.read_now(
        evidence,
        near,
        fingerprint=picture,
        variants=(picture.pdq,) if variants else (),
        guards=guards,
    )


class Writes:
    """Takes writes as `Store.write_later`, and waits for each."""

    def __init__(self, store):
        self.store, self.made = store, []

    def __call__(self, fn, *args):
        self.made.append(args)
        done = self.store.write_later(fn, *args)
        done.result()
        return done


@pytest.fixture
def parts(store, monkeypatch):
    """A code of ours, and guards that hold what matches more than LIMIT pictures."""
    monkeypatch.setattr("cache.guards.guards.TABLE_SECONDS", -1.0)
    store.write_now(own, COPY, BAD)
    writes, settings = Writes(store), DecideSettings(hot_hash_pictures=LIMIT)
    return TableGuards(settings, writes, clock=lambda: NOW), NearIndex(), writes


def test_lookups_of_distinct_pictures_hold_a_code_one_past_the_limit(store, parts):
    guards, near, writes = parts
    for picture in pictures(LIMIT):
        for _ in range(3):
            assert look(store, guards, near, picture).matches[0].kind is MatchKind.NEAR
    assert writes.made == []
    look(store, guards, near, pictures(LIMIT + 1)[-1])
    assert len(writes.made) == 1
    after = look(store, guards, near, pictures(1)[0])
    assert after.matches[0].kind is MatchKind.PROBABLE
    fresh = TableGuards(DecideSettings())  # another process, or this one after a restart
    assert look(store, fresh, NearIndex(), pictures(1)[0]).matches[0].kind is MatchKind.PROBABLE


def test_a_held_code_is_counted_no_more(store, parts):
    guards, near, writes = parts
    for picture in pictures(20):
        look(store, guards, near, picture)
    assert len(writes.made) == 1
    assert len(guards._heat) == 0


def test_equal_content_is_one_picture(store, parts):
    guards, near, writes = parts
    for picture in pictures(10):
        same = fingerprint(picture.sha256.hex(), pdq=picture.pdq, content=b"c" * 32)
        look(store, guards, near, same)
    assert writes.made == []


def test_what_a_client_claims_of_pictures_heats_nothing(store, parts):
    guards, near, writes = parts
    for picture in pictures(10):
        look(store, guards, near, picture, variants=False)
    assert writes.made == []


def test_without_a_writer_nothing_is_counted_nor_held(store):
    store.write_now(own, COPY, BAD)
    guards, near = TableGuards(DecideSettings(hot_hash_pictures=1)), NearIndex()
    for picture in pictures(5):
        look(store, guards, near, picture)
    count = select(func.count()).select_from(held_codes)
    assert store.read_now(lambda c: c.execute(count).scalar()) == 0


def test_a_write_that_fails_is_logged_and_harms_no_look_up(store, parts, monkeypatch, caplog):
    guards, near, _ = parts

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("cache.guards.guards.hold", fail)
    guards._later = store.write_later
    for picture in pictures(LIMIT + 1):
        assert look(store, guards, near, picture).matches
    store.write_now(lambda _: None)  # the writer has passed it
    assert "the disk is full" in caplog.text
