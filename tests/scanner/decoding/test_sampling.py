"""Which frames of a film are seen: first, last and one a stratum, and nobody can tell which."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.decoding.sampling import positions, ranks

SEEDS = [hashlib.sha256(bytes([number])).digest() for number in range(200)]


@given(st.binary(min_size=32, max_size=32), st.integers(1, 300_000), st.integers(1, 200))
def test_first_and_last_are_seen_and_one_frame_of_each_stratum_between(seed, total, count):
    chosen = positions(seed, total, count)
    assert chosen[0] == 0
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == min(total, count)
    assert count == 1 or chosen[-1] == total - 1
    if total > count > 2:
        borders = [1 + number * (total - 2) // (count - 2) for number in range(count - 1)]
        inside = enumerate(chosen[1:-1])
        assert all(borders[n] <= place < borders[n + 1] for n, place in inside)


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, 100),
    st.lists(st.integers(-5, 1 << 70), min_size=1, max_size=400),
)
def test_whatever_the_times_are_the_frames_are_some_of_the_film(seed, count, times):
    total = len(times)
    chosen = positions(seed, total, count, times)
    assert chosen[0] == 0 and list(chosen) == sorted(set(chosen))
    assert len(chosen) == min(total, count) and chosen[-1] < total
    assert count == 1 or chosen[-1] == total - 1
    assert chosen == positions(seed, total, count, times)


@pytest.mark.parametrize("seed", SEEDS[:50])
def test_one_frame_that_is_shown_for_a_tenth_of_the_film_is_always_seen(seed):
    times = [10] * 5000
    times[3210] = sum(times) // 9
    assert 3210 in positions(seed, 5000, 64, times)


def test_frames_that_flash_by_are_seen_as_well():
    times = [10_000 if number % 100 == 50 else 1 for number in range(5000)]
    seen = {place for seed in SEEDS for place in positions(seed, 5000, 64, times)}
    assert len(seen) > 2500


def test_times_that_are_equal_or_of_another_film_change_nothing():
    plain = positions(SEEDS[0], 500, 64)
    assert positions(SEEDS[0], 500, 64, [40] * 500) == plain
    assert positions(SEEDS[0], 500, 64, [1, 1000]) == plain


def test_a_film_that_is_short_enough_is_seen_whole():
    assert positions(SEEDS[0], 64, 64) == tuple(range(64))
    assert len(positions(SEEDS[0], 65, 64)) == 64


def test_the_same_seed_gives_the_same_frames_and_another_gives_others():
    assert positions(SEEDS[0], 5000, 64) == positions(SEEDS[0], 5000, 64)
    assert positions(SEEDS[0], 5000, 64) != positions(SEEDS[1], 5000, 64)


def test_no_frame_is_safe_from_being_seen():
    """Over many seeds every frame is hit: there is no place to hide."""
    hit = {place for seed in SEEDS for place in positions(seed, 200, 20)}
    assert hit == set(range(200))


def test_within_a_stratum_the_places_are_even():
    counts = [0] * 10
    for seed in SEEDS:
        for place in positions(seed, 1002, 102)[1:-1]:
            counts[(place - 1) % 10] += 1
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
