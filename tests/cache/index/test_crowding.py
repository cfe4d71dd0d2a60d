"""A peer's limits: how many codes it may have, and how densely they may lie."""

import numpy as np
import pytest

from cache.index import crowding
from cache.index.crowding import BALL_BITS, Crowding, built, kept_under
from cache.index.hamming import HammingIndex, loaded
from cache.index.segment import Budget
from cache.index.words import words_of
from tests.cache.index.codes import entries, noisy, random_codes

PLENTY = 1 << 40
LIMIT = 1_000
LIMITS = Crowding(peer_codes=1_000_000, ball_codes=LIMIT)


def _ball(number, *, bits=BALL_BITS, seed=1):
    """A code, and others at so many bits from it, all different."""
    random = np.random.default_rng(seed)
    middle = random.bytes(32)
    found: set[bytes] = set()
    while len(found) < number - 1:
        found.add(noisy(random, middle, bits))
    return [middle, *sorted(found)]


def _index(base):
    index = HammingIndex(LIMITS)
    index.use(base, 1)
    return index


def _search(index, query, radius=31):
    return index.moment().search(words_of([query]), radius, Budget(PLENTY))


@pytest.mark.parametrize(
    ("number", "bits", "codes"),
    [
        (LIMIT, 8, LIMIT),
        (LIMIT + 1, 8, 1),
        (LIMIT + 1, 9, LIMIT + 1),
        (3 * LIMIT, 8, 1),
    ],
)
def test_more_than_a_thousand_codes_of_a_peer_within_8_bits_become_one(number, bits, codes):
    segment = built(entries(_ball(number, bits=bits)), LIMITS)
    assert len(segment.codes) == codes
    assert len(segment) == number
    assert len(segment.crowds) == (codes == 1)


def test_our_own_codes_are_never_folded():
    segment = built(entries(_ball(1_500), owners=[3] * 1_500), LIMITS)
    assert len(segment.codes) == 1_500


def test_codes_of_several_peers_are_counted_apart():
    owners = [2, 4] * 700
    assert len(built(entries(_ball(1_400), owners=owners), LIMITS).codes) == 1_400


def test_no_other_code_is_touched_by_folding():
    random = np.random.default_rng(5)
    others = random_codes(random, 500)
    ball = _ball(1_200)
    segment = built(entries(others + ball, owners=[4] * 500 + [2] * 1_200), LIMITS)
    assert len(segment.codes) == 501
    back = segment.all_entries()
    codes = dict(zip(back.ids.tolist(), map(bytes, back.codes), strict=True))
    assert [codes[i + 1] for i in range(500)] == others
    assert {codes[i + 1] for i in range(500, 1_700)} == {ball[0]}


def test_whoever_may_be_near_a_folded_code_learns_that_some_may_be_missing():
    """A folded code lies at most 8 bits from the one it is shown by."""
    ball = _ball(1_001)
    index = _index(built(entries(ball), LIMITS))
    random = np.random.default_rng(3)
    for bits, complete in ((31 + BALL_BITS, False), (31 + BALL_BITS + 1, True)):
        hits = _search(index, noisy(random, ball[0], bits))
        assert hits.complete is complete


def test_when_the_code_that_stands_for_others_goes_they_stay():
    ball = _ball(1_001)
    index = _index(built(entries(ball), LIMITS))
    nothing = entries([])
    index.apply(np.array([1]), np.array([2]), nothing, np.array([], dtype=np.int64))
    hits = _search(index, ball[0])
    assert len(hits)
    assert 1 not in hits.ids


def test_a_ball_takes_in_what_comes_later_and_no_code_wanders():
    """Folded twice, a code would be shown up to 16 bits from where it is."""
    random = np.random.default_rng(4)
    first = _ball(1_001)
    base = built(entries(first), LIMITS)
    edge = noisy(random, first[0], BALL_BITS)  # a second ball around the edge of the first
    second = [edge, *{noisy(random, edge, int(random.integers(1, 8))) for _ in range(3_000)}]
    later = entries(second, ids=range(2_000, 2_000 + len(second)))
    index = _index(base)
    index.apply(later.ids, later.ids, later, np.arange(len(second)))
    again = built(
        entries(first + second, ids=[*range(1, 1_002), *later.ids.tolist()]),
        LIMITS,
        base.codes[base.crowds],
    )
    back = again.all_entries()
    where = dict(zip(back.ids.tolist(), map(bytes, back.codes), strict=True))
    truth = dict(zip([*range(1, 1_002), *later.ids.tolist()], first + second, strict=True))
    for row, code in truth.items():
        shown = where[row]
        assert (int.from_bytes(code, "big") ^ int.from_bytes(shown, "big")).bit_count() <= BALL_BITS
    assert len(again.crowds) >= 1


def test_fifty_thousand_codes_in_one_ball_make_one_code():
    ball = _ball(50_000)
    segment = built(entries(ball), LIMITS)
    assert len(segment.codes) == 1
    budget = Budget(PLENTY)
    segment.search(words_of([ball[9]]), 31, budget)
    assert PLENTY - budget.left <= 16  # once for each band


def test_looking_for_balls_that_are_none_comes_to_an_end(monkeypatch):
    """A peer whose codes share bands, and lie apart: each may be in a ball, and none is."""
    monkeypatch.setattr(crowding, "FOLD_WORK", 10 * crowding.TRY_WORK)
    random = np.random.default_rng(1)
    shared = bytes(20)  # ten bands of sixteen
    codes = [random.bytes(12) + shared for _ in range(1_500)]
    tried, members = [], crowding._Balls._members

    def counted(self, position, budget):
        tried.append(position)
        return members(self, position, budget)

    monkeypatch.setattr(crowding._Balls, "_members", counted)
    segment = built(entries(codes), LIMITS)
    assert 1 <= len(tried) <= 11
    assert len(segment.codes) == 1_500


@pytest.mark.parametrize(("held", "kept"), [(0, 5), (3, 2), (5, 0), (9, 0)])
def test_a_peer_at_its_limit_adds_no_more(held, kept):
    owners = np.array([2] * 6 + [5] * 9)
    mask = kept_under(5, owners, {2: held})
    assert mask[:6].tolist() == [True] * kept + [False] * (6 - kept)
    assert mask[6:].all()  # our own


def test_the_limit_counts_base_and_delta_and_what_has_gone_makes_room():
    random = np.random.default_rng(1)
    limits = Crowding(peer_codes=10, ball_codes=1_000)
    index = HammingIndex(limits)
    index.use(loaded(entries(random_codes(random, 8)), limits), 1)

    def add(ids):
        some = entries(random_codes(random, len(ids)), ids=ids)
        index.apply(some.ids, some.ids, some, np.arange(len(ids)))
        return len(index)

    assert add([101, 102]) == 10
    assert add([103]) == 10
    none = np.array([], dtype=np.int64)
    index.apply(np.array([1]), np.array([200]), entries([]), none)  # one of the base
    index.apply(np.array([102]), np.array([201]), entries([]), none)  # one of the delta
    assert len(index) == 8
    assert add([204, 205, 206]) == 10


def test_a_base_read_from_the_table_keeps_to_the_limit_too():
    random = np.random.default_rng(1)
    codes = random_codes(random, 30)
    base = loaded(entries(codes, owners=[2] * 20 + [3] * 10), Crowding(7, 1_000))
    assert sorted(base.ids.tolist()) == [*range(1, 8), *range(21, 31)]
