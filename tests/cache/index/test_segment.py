"""A segment finds what brute force finds, and says where its budget made it leave codes out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.index import segment as segment_module
from cache.index.building import build, narrowed
from cache.index.entries import no_entries
from cache.index.segment import Budget
from cache.index.words import words_of
from tests.cache.index.codes import bits_between, crowd, entries, noisy

PLENTY = 1 << 40
RADII = [0, 8, 10, 31, 40, 47, 48, 70, 256]


def _found(segment, queries, radius):
    """Return (query, entry id, distance) of everything found, which must be said once only."""
    found = segment.search(words_of(queries), radius, Budget(PLENTY))
    positions, numbers, all_taken = segment.entries_of(found.places, None)
    assert all_taken
    rows = [
        (int(found.queries[n]), int(segment.ids[p]), int(found.distances[n]))
        for p, n in zip(positions, numbers, strict=True)
    ]
    assert len(set(rows)) == len(rows)
    return set(rows)


def _brute(codes, queries, radius):
    return {
        (q, i + 1, bits)
        for q, query in enumerate(queries)
        for i, code in enumerate(codes)
        if (bits := bits_between(code, query)) <= radius
    }


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    number=st.integers(1, 200),
    radius=st.sampled_from(RADII),
    noise=st.integers(0, 80),
)
def test_a_segment_finds_exactly_what_brute_force_finds(seed, number, radius, noise):
    random = np.random.default_rng(seed)
    codes = crowd(seed, number)
    queries = [noisy(random, codes[seed % len(codes)], noise), random.bytes(32), codes[0]]
    assert _found(build(entries(codes)), queries, radius) == _brute(codes, queries, radius)


@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("radius", [31, 40, 47])
def test_crowded_queries_are_compared_in_passing_and_find_the_same(monkeypatch, chunk, radius):
    """With a small chunk every path is taken: few codes fetched, many, and all compared."""
    monkeypatch.setattr(segment_module, "CHUNK", chunk)
    codes = crowd(3, 300)
    queries = [codes[0], codes[5], np.random.default_rng(1).bytes(32)]
    assert _found(build(entries(codes)), queries, radius) == _brute(codes, queries, radius)


def test_equal_codes_are_one_code_with_many_entries():
    code, other = crowd(1, 20)[:2]
    segment = build(entries([code, other, code, code]))
    assert len(segment.codes) == 2
    assert len(segment) == 4
    assert _found(segment, [code], 0) == {(0, 1, 0), (0, 3, 0), (0, 4, 0)}


def test_codes_that_share_their_first_word_are_told_apart():
    """They are ordered by all four words, and only equal ones are one."""
    start = bytes(8)
    codes = [start + bytes([i % 5]) * 24 for i in range(50)]
    segment = build(entries(codes))
    assert len(segment.codes) == 5
    assert _found(segment, codes[:5], 0) == _brute(codes, codes[:5], 0)


def test_entries_of_one_code_are_limited_by_owner():
    """One owner's many entries hide nobody else's."""
    code = crowd(1, 20)[0]
    segment = build(entries([code] * 9, owners=[2, 2, 2, 2, 2, 2, 4, 4, 7]))
    found = segment.search(words_of([code]), 0, Budget(PLENTY))
    for most, complete in ((6, True), (5, False), (1, False)):
        positions, _, all_taken = segment.entries_of(found.places, most)
        owners = segment.owners[positions].tolist()
        assert owners == [2] * min(6, most) + [4] * min(2, most) + [7]
        assert all_taken is complete


def _work(segment, query, radius):
    budget = Budget(PLENTY)
    segment.search(words_of([query]), radius, budget)
    return PLENTY - budget.left


@pytest.mark.parametrize("radius", [31, 48])
def test_a_query_at_its_budget_finds_all_and_one_past_it_says_that_it_left_some_out(radius):
    codes = crowd(2, 200)
    segment = build(entries(codes))
    work = _work(segment, codes[0], radius)
    for budget, complete in ((Budget(work), True), (Budget(work - 1), False)):
        found = segment.search(words_of([codes[0]]), radius, budget)
        assert bool(len(found.places)) is complete
        assert budget.is_spent is not complete


def test_the_first_queries_are_served_before_the_budget_is_spent():
    codes = crowd(2, 200)
    segment = build(entries(codes))
    budget = Budget(_work(segment, codes[0], 31))
    found = segment.search(words_of([codes[0], codes[0]]), 31, budget)
    assert set(found.queries.tolist()) == {0}
    assert budget.is_spent


def test_a_ball_of_many_codes_costs_no_more_than_comparing_with_all(monkeypatch):
    """Fetched one by one they would cost sixteen times as much, once for each band."""
    monkeypatch.setattr(segment_module, "CHUNK", 1_000)
    random = np.random.default_rng(1)
    middle = random.bytes(32)
    ball = [noisy(random, middle, int(random.integers(0, 12))) for _ in range(5_000)]
    segment = build(entries(ball))
    assert _work(segment, middle, 31) == len(segment.codes) // segment_module.SCAN_FACTOR
    assert len(_found(segment, [middle], 31)) == 5_000


def test_an_empty_segment_finds_nothing():
    segment = build(no_entries())
    assert _found(segment, [bytes(32)], 256) == set()
    assert len(segment) == len(segment.all_entries()) == 0


def test_all_entries_come_back_with_their_codes():
    codes = crowd(5, 60)
    back = build(entries(codes)).all_entries()
    assert dict(zip(back.ids.tolist(), map(bytes, back.codes), strict=True)) == {
        i + 1: code for i, code in enumerate(codes)
    }


@pytest.mark.parametrize(
    ("most", "kind"), [(255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4"), (1 << 32, "u8")]
)
def test_numbers_are_kept_in_the_narrowest_type(most, kind):
    values = narrowed(np.array([0, most]))
    assert values.dtype == np.dtype(kind)
    assert values.tolist() == [0, most]
