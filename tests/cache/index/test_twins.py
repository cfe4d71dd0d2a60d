"""Twins: each condition at its limit and one past it, on both databases."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from cache.index.printed import PrintedIndex
from cache.index.twins import (
    ASPECT_PERCENT,
    MAX_TWINS,
    MIN_QUALITY,
    PDQ_BITS,
    PHASH_BITS,
    PrintedTwins,
    Shape,
)
from cache.judgement import NearClean
from cache.memory.lookup import own_fingerprint
from cache.memory.record import Computed, record_images
from tests.cache.prints import Print, fingerprint, flipped

NOW = 1_800_000_000
SHAPE = Shape(1000, 500, 1, b"sketch")


@dataclass(frozen=True)
class Known:
    """A picture: its fingerprint and shape."""

    prints: Print
    shape: Shape = SHAPE


CLEAN = Known(fingerprint("clean", pdq_quality=MIN_QUALITY))


def copy(name="copy", **changes):
    """A picture as near the clean one as twins may be, but for what is changed."""
    shape = {
        key: changes.pop(key) for key in ("width", "height", "frames", "keyed") & changes.keys()
    }
    values: dict[str, Any] = {
        "pdq": flipped(CLEAN.prints.pdq, PDQ_BITS),
        "phash": flipped(CLEAN.prints.phash, PHASH_BITS),
        "pdq_quality": MIN_QUALITY,
    }
    return Known(fingerprint(name, **values | changes), replace(SHAPE, **shape))


def same(first, second):
    return first == second


def twins(near_clean=NearClean.OWN, is_copy=same):
    return PrintedTwins(PrintedIndex(), near_clean, is_copy)


def keep(store, *known):
    computed = [
        Computed(
            one.prints,
            keyed=one.shape.keyed,
            width=one.shape.width,
            height=one.shape.height,
            frames=one.shape.frames,
        )
        for one in known
    ]
    store.write_now(lambda connection: record_images(connection, computed, now=NOW))
    return [store.read_now(own_fingerprint, one.prints.sha256).image_id for one in known]


def asked(store, known, found=None):
    """What `of` finds for a picture that was just decoded."""
    found = found or twins()
    return store.read_now(found.seeing(known.shape).of, known.prints)


def test_a_copy_within_all_limits_is_a_twin(store):
    [clean] = keep(store, CLEAN)
    assert asked(store, copy()) == [(clean, PDQ_BITS)]


@pytest.mark.parametrize(
    "past",
    [
        {"pdq": flipped(CLEAN.prints.pdq, PDQ_BITS + 1)},
        {"phash": flipped(CLEAN.prints.phash, PHASH_BITS + 1)},
        {"pdq_quality": MIN_QUALITY - 1},
        {"frames": 2},
        {"keyed": b"another"},
        {"keyed": None},
        {"phash": None},
        {"pdq": None},
        {"pdq_quality": None},
        {"width": None},
        {"height": 0},
        {"frames": None},
    ],
    ids=str,
)
def test_one_past_any_limit_it_is_none_whichever_of_the_two_is_asked_about(store, past):
    other = copy(**past)
    [clean] = keep(store, CLEAN)
    assert asked(store, other) == []
    keep(store, other)
    found = [image_id for image_id, _ in asked(store, CLEAN)]
    assert clean not in found  # not itself
    assert found == []


def test_the_aspect_ratio_may_differ_by_two_percent_and_no_more(store):
    keep(store, CLEAN)
    assert ASPECT_PERCENT == 2
    for width, height in ((1020, 500), (1000, 510), (2040, 1000), (102, 50)):
        assert asked(store, copy(width=width, height=height)), (width, height)
    for width, height in ((1021, 500), (1000, 511), (500, 1000), (2041, 1000)):
        assert not asked(store, copy(width=width, height=height)), (width, height)


def test_sketches_are_compared_with_peers_as_well(store):
    keep(store, CLEAN)
    peers = twins(NearClean.PEERS)
    assert asked(store, copy(), peers)
    assert not asked(store, copy(keyed=b"another"), peers)
    assert not asked(store, copy(keyed=None), peers)


def test_switched_off_nothing_is_looked_at(store):
    keep(store, CLEAN, copy())

    class Untouched(PrintedIndex):
        def refresh(self, connection):
            raise AssertionError

    off = PrintedTwins(Untouched(), NearClean.OFF, same)
    assert asked(store, copy("third"), off) == []
    stored = store.read_now(own_fingerprint, CLEAN.prints.sha256)
    assert store.read_now(off.of, stored) == []


def test_a_stored_picture_is_compared_by_what_is_stored_of_it(store):
    clean, other = keep(store, CLEAN, copy())
    stored = store.read_now(own_fingerprint, copy().prints.sha256)
    assert store.read_now(twins().of, stored) == [(clean, PDQ_BITS)]
    keep(store, replace(copy(), shape=replace(SHAPE, keyed=None)))
    assert store.read_now(twins().of, stored) == []
    assert other != clean


def test_fingerprints_that_somebody_gave_have_no_twins(store):
    keep(store, CLEAN)
    assert store.read_now(twins().of, copy().prints) == []
    assert store.read_now(twins().seeing(None).of, copy().prints) == []


def test_the_nearest_come_first_and_no_more_than_the_limit(store):
    others = [
        copy(
            f"{number}",
            pdq=flipped(CLEAN.prints.pdq, number % PDQ_BITS + 1),
            phash=CLEAN.prints.phash,
        )
        for number in range(MAX_TWINS + 1)
    ]
    keep(store, *others[:-1])
    found = asked(store, CLEAN)
    assert len(found) == MAX_TWINS
    keep(store, others[-1])
    found = asked(store, CLEAN)
    assert len(found) == MAX_TWINS
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    assert found[0][1] == 1


def test_a_mirrored_picture_is_no_twin(store):
    keep(store, CLEAN)
    mirrored = copy(pdq=fingerprint("mirrored").pdq)
    assert asked(store, mirrored) == []
