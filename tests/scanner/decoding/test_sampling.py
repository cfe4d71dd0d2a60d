"""Which frames of a film are seen: one a stratum, the first always, and nobody can tell which."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.decoding.sampling import positions, ranks

SEEDS = [hashlib.sha256(bytes([number])).digest() for number in range(200)]


@given(st.binary(min_size=32, max_size=32), st.integers(1, 300_000), st.integers(1, 200))
def test_each_stratum_gives_one_frame_and_the_first_gives_the_first(seed, total, count):
    chosen = positions(seed, total, count)
    assert chosen[0] == 0
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == min(total, count)
    assert chosen[-1] < total
    if total > count:
        borders = [number * total // count for number in range(count + 1)]
        assert all(borders[n] <= place < borders[n + 1] for n, place in enumerate(chosen))


def test_a_film_that_is_short_enough_is_seen_whole():
    assert positions(SEEDS[0], 64, 64) == tuple(range(64))
    assert len(positions(SEEDS[0], 65, 64)) == 64


def test_the_same_seed_gives_the_same_frames_and_another_gives_others():
    assert positions(SEEDS[0], 5000, 64) == positions(SEEDS[0], 5000, 64)
    assert positions(SEEDS[0], 5000, 64) != positions(SEEDS[1], 5000, 64)


def test_no_frame_but_the_first_strata_is_safe_from_being_seen():
    """Over many seeds every frame behind the first stratum is hit: there is no place to hide."""
    hit = {place for seed in SEEDS for place in positions(seed, 200, 20)}
    assert hit == {0, *range(10, 200)}


def test_within_a_stratum_the_places_are_even():
    counts = [0] * 10
    for seed in SEEDS:
        for place in positions(seed, 1000, 100)[1:]:
            counts[place % 10] += 1
    mean = sum(counts) / 10
    assert all(0.9 * mean < count < 1.1 * mean for count in counts)


@pytest.mark.parametrize(
    ("count", "order"), [(1, [0]), (2, [0, 1]), (4, [0, 2, 1, 3]), (8, [0, 4, 2, 6, 1, 5, 3, 7])]
)
def test_the_order_is_that_of_reversed_bits(count, order):
    assert sorted(range(count), key=ranks(count).__getitem__) == order


@given(st.integers(1, 300))
def test_ranks_are_a_permutation_and_any_first_ones_are_spread(count):
    places = ranks(count)
    assert sorted(places) == list(range(count))
    for some in range(2, count + 1):
        seen = [number for number in range(count) if places[number] < some]
        gaps = [b - a for a, b in zip(seen, [*seen[1:], count], strict=True)]
        assert max(gaps) <= 4 * count / some + 1
