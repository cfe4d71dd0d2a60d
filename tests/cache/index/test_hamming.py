"""Base and delta together always hold what a plain dictionary would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.index import hamming
from cache.index.building import build
from cache.index.crowding import Crowding
from cache.index.hamming import HammingIndex, merged
from cache.index.segment import Budget
from cache.index.words import words_of
from tests.cache.index.codes import bits_between, crowd, entries

PLENTY = 1 << 40
CODES = crowd(11, 40)
STEP = st.one_of(
    st.tuples(
        st.just("set"), st.lists(st.tuples(st.integers(1, 30), st.integers(0, 39)), max_size=5)
    ),
    st.tuples(st.just("drop"), st.lists(st.integers(1, 30), max_size=3)),
    st.tuples(st.just("snapshot"), st.none()),
    st.tuples(st.just("swap"), st.none()),
)


def _apply(index, sequence, changes):
    """Take in {row: code or None}."""
    rows = np.array(list(changes), dtype=np.int64)
    some = [(row, code) for row, code in changes.items() if code is not None]
    new = entries([code for _, code in some], ids=[row for row, _ in some])
    at = np.array([list(changes).index(row) for row, _ in some], dtype=np.int64)
    index.apply(rows, np.full(len(rows), sequence), new, at)


def _held(index, query, radius=256):
    hits = index.moment().search(words_of([query]), radius, Budget(PLENTY))
    assert hits.complete
    found = dict(zip(hits.ids.tolist(), hits.distances.tolist(), strict=True))
    assert len(found) == len(hits)
    assert hits.image_ids.tolist() == [row * 10 for row in hits.ids.tolist()]
    return found


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=25), radius=st.sampled_from([31, 40, 256]))
def test_whatever_comes_goes_and_is_merged_when_the_index_holds_what_a_dictionary_would(
    steps, radius
):
    """A merge is begun at `snapshot` and used at `swap`, with changes in between."""
    index, begun = HammingIndex(), None
    truth: dict[int, bytes] = {}
    for sequence, (what, values) in enumerate(steps, 1):
        if what == "set":
            changes = {row: CODES[code] for row, code in values}
            _apply(index, sequence, changes)
            truth |= changes
        elif what == "drop":
            _apply(index, sequence, dict.fromkeys(values))
            truth = {row: code for row, code in truth.items() if row not in values}
        elif what == "snapshot":
            begun = (merged(index.moment(), None), sequence)
        elif begun:
            index.use(*begun)
            begun = None
        expected = {
            row: bits
            for row, code in truth.items()
            if (bits := bits_between(code, CODES[0])) <= radius
        }
        assert _held(index, CODES[0], radius) == expected
        assert len(index) == len(truth)


def test_a_search_under_way_sees_the_moment_it_began_with():
    """Neither what goes nor what changes slips away under it: a code would be missed."""
    index = HammingIndex()
    index.use(build(entries(CODES[:10])), 1)
    _apply(index, 2, {50: CODES[0]})
    before = index.moment()
    _apply(index, 3, {50: None, 1: None, 2: CODES[30], 60: CODES[0]})
    index.use(merged(index.moment(), None), 3)
    hits = before.search(words_of([CODES[0]]), 256, Budget(PLENTY))
    assert sorted(hits.ids.tolist()) == [*range(1, 11), 50]


def test_dead_entries_are_cleared_away_now_and_then():
    index = HammingIndex()
    for sequence in range(1, 3 * hamming.COMPACT_ROWS):
        _apply(index, sequence, {1: CODES[sequence % 40]})
    assert len(index) == 1
    assert len(index._delta) <= hamming.COMPACT_ROWS + 2


@pytest.mark.parametrize(("number", "complete"), [(5, True), (6, False)])
def test_a_search_that_finds_too_many_codes_says_so(monkeypatch, number, complete):
    monkeypatch.setattr(hamming, "MAX_HITS", 5)
    index = HammingIndex(Crowding(1_000, 1_000))
    index.use(build(entries(CODES[:number])), 1)
    hits = index.moment().search(words_of([CODES[0]]), 256, Budget(PLENTY))
    assert hits.complete is complete
    assert len(hits) == 5


@pytest.mark.parametrize(("number", "complete"), [(4, True), (5, False)])
def test_a_code_with_too_many_entries_of_one_owner_says_so(monkeypatch, number, complete):
    monkeypatch.setattr(hamming, "MAX_EQUAL", 4)
    index = HammingIndex(Crowding(1_000, 1_000))
    index.use(build(entries([CODES[0]] * number)), 1)
    hits = index.moment().search(words_of([CODES[0]]), 0, Budget(PLENTY))
    assert hits.complete is complete
    assert len(hits) == 4
