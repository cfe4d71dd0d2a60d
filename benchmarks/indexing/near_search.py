"""The whole near search: eight variants to 31 bits, PDQ to 40, pHash to 47; batches; a ball.

Held against brute force, picture by picture.
"""

import os
import statistics
import time

import numpy as np

from benchmarks.indexing.data import codes, queries
from benchmarks.report import Report, Row, note
from cache.index.crowding import Crowding
from cache.index.entries import Entries
from cache.index.followed import State
from cache.index.hamming import HammingIndex, loaded
from cache.index.near import (
    MAX_OWN_HITS,
    NEAR_BITS,
    PDQ,
    PHASH,
    PROBABLE_BITS,
    PROBABLE_PHASH_BITS,
    NearCodes,
    NearIndex,
)
from cache.index.words import Words, set_bits
from cache.settings import IndexSettings
from cache.verdict import MatchKind

OWN = 3
"""An owner that is this instance: its first issuer."""
PICTURES = 100
BATCH = 1_000
ROUNDS = 5
BALL = 50_000
BALL_GOAL_MS = 20.0
PROBABLE_GOAL_MS = 10.0
BOTH_CORES_GOAL = 1.3

Picture = tuple[list[bytes], int, bytes]


def index_of(pdq: Words, phash: Words) -> NearIndex:
    """Return a near index of own codes, as it would be after reading them from the table."""
    limits = IndexSettings()
    crowding = Crowding(limits.peer_codes, limits.ball_codes)
    numbers = np.arange(len(pdq))
    moments = {}
    for name, held in ((PDQ, pdq), (PHASH, phash)):
        one = HammingIndex(crowding)
        one.use(loaded(Entries(numbers, numbers, np.full(len(held), OWN), held), crowding), 1)
        moments[name] = one.moment()
    index = NearIndex()
    index.followed._state = State(moments, is_trusted=True)  # noqa: SLF001
    return index


def probable(report: Report, numbers: tuple[int, ...], goal_at: int) -> None:
    """PDQ 40 and pHash 47 over own codes, within the whole search of one picture."""
    for number in numbers:
        pdq, phash = codes(number, 11), codes(number, 12)
        index, asked = index_of(pdq, phash), _pictures(pdq, phash, PICTURES)
        for picture in asked[: PICTURES // 4]:
            _check(index.search(*picture), pdq, phash, picture)
        alone = [(picture[0][:1], picture[1], picture[2]) for picture in asked]
        goal = PROBABLE_GOAL_MS if number == goal_at else None
        name = f"{number:,} own codes: PDQ 40 and pHash 47"
        report.add(Row(name, _median_ms(index, alone), "ms", goal, "at most"))
        report.add(Row(f"{name}, eight variants", _median_ms(index, asked), "ms", goal, "at most"))


def batches(report: Report, number: int) -> None:
    """1,000 lookups at once, on every core, beside one after the other."""
    pdq, phash = codes(number, 11), codes(number, 12)
    index, asked = index_of(pdq, phash), _pictures(pdq, phash, BATCH)
    single, many = [], []
    for _ in range(ROUNDS):
        _forget(index)
        begun = time.perf_counter()
        one_by_one = [index.search(*picture) for picture in asked]
        single.append(time.perf_counter() - begun)
        _forget(index)
        begun = time.perf_counter()
        together = index.search_many(asked)
        many.append(time.perf_counter() - begun)
        assert together == one_by_one
    alone, at_once = statistics.median(single), statistics.median(many)
    cores = os.cpu_count() or 1
    goal = BOTH_CORES_GOAL if cores > 1 else None
    name = f"{number:,} own codes: batch of {BATCH:,}"
    report.add(Row(f"{name}, lookups a second on {cores} cores", BATCH / at_once, "1/s"))
    report.add(Row(f"{name}, faster than one by one", alone / at_once, "times", goal))


def ball(report: Report, number: int) -> None:
    """A query inside a ball of 50,000 codes of our own, which are not folded."""
    pdq, random = codes(number, 11), np.random.default_rng(5)
    size = min(BALL, number // 2)
    pdq[:size] = pdq[0]
    for bit in range(12):
        pdq[:size, bit % 4] ^= np.uint64(1) << random.integers(0, 64, size, dtype=np.uint64)
    index = index_of(pdq, codes(number, 12))
    asked: list[Picture] = [
        ([code.tobytes() for code in (pdq[at], *codes(7, 100 + at))], 90, bytes(32))
        for at in range(20)
    ]
    found = index.search(*asked[0])
    assert len(found) == MAX_OWN_HITS
    name = f"{number:,} codes: a lookup inside a ball of {size:,}"
    report.add(Row(name, _median_ms(index, asked), "ms", BALL_GOAL_MS, "at most"))


def _pictures(pdq: Words, phash: Words, number: int) -> list[Picture]:
    near, alike = queries(pdq, number, 21), queries(phash, number, 22)
    turned = codes(7 * number, 23).reshape(number, 7, 4)
    return [
        ([near[i].tobytes(), *(one.tobytes() for one in turned[i])], 90, alike[i].tobytes())
        for i in range(number)
    ]


def _forget(index: NearIndex) -> None:
    index._remembered = (index.followed.state, {})  # noqa: SLF001


def _median_ms(index: NearIndex, asked: list[Picture]) -> float:
    times = []
    for _ in range(ROUNDS):
        _forget(index)
        for picture in asked:
            begun = time.perf_counter()
            index.search(*picture)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def _check(found: NearCodes, pdq: Words, phash: Words, picture: Picture) -> None:
    """Raise where the answer is not what brute force says."""
    assert not found.cut
    variants, _, asked = picture
    bits = np.stack([_bits(pdq, variant) for variant in variants])
    nearest, alike = bits.min(axis=0), _bits(phash, asked)
    expected = {}
    for at in np.flatnonzero(
        (nearest <= NEAR_BITS) | (bits[0] <= PROBABLE_BITS) | (alike <= PROBABLE_PHASH_BITS)
    ).tolist():
        if nearest[at] <= NEAR_BITS:
            expected[at] = (MatchKind.NEAR, int(nearest[at]))
        elif bits[0, at] <= PROBABLE_BITS:
            expected[at] = (MatchKind.PROBABLE, int(bits[0, at]))
        else:
            expected[at] = (MatchKind.PROBABLE, int(alike[at]))
    if {hit.image_id: (hit.kind, hit.distance) for hit in found} != expected:
        note(f"found {found}, brute force {expected}")
        raise AssertionError("a near search differs from brute force")


def _bits(stored: Words, code: bytes) -> np.ndarray:
    query = np.frombuffer(code, dtype=np.uint64)
    return set_bits(stored ^ query)
