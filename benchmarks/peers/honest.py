"""Honest peers: on our pipeline with numeric noise, and on another model, for simulated years."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.attackers import PEER, SEED, THEIRS, THRESHOLD, Floats, here, verdict
from benchmarks.report import note
from cache.feeds.publish import MARGIN
from cache.trust.agreement import (
    FALSE_CLEAN_HITS,
    MIN_COMPARISONS,
    NEW_PEER,
    Ours,
    Result,
    compare_clean,
    compare_flags,
    flags_fail,
)
from cache.trust.track_record import TrackRecord
from cache.verdict import SELF, Feed

NUMERIC_NOISE = 100.0
"""Standard deviation (of 10,000) of the score of one picture from machine to machine.

Torch and ONNX Runtime, CPU and GPU are at most 5 apart by one pipeline (tests/scanner/classifiers).
"""

COMPARISONS = 1_000_000
YEARS = 2_000
HITS_A_YEAR = 100_000
SAMPLES = 20_000_000
CHECKED = 20_000


@dataclass(frozen=True)
class Noise:
    """Two models over one stream of pictures: normal logits, harmless and bad ones.

    Both separate the classes equally well; `together` is the correlation within a class.
    """

    name: str
    harmless: float = -6.0  # mean logit
    bad: float = 4.0
    spread: float = 1.5
    together: float = 0.8
    share_bad: float = 0.02

    def scores(self, dice: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        """Return our scores and the peer's of `size` pictures."""
        mean = np.where(dice.random(size) < self.share_bad, self.bad, self.harmless)
        ours, own = dice.standard_normal(size), dice.standard_normal(size)
        theirs = self.together * ours + np.sqrt(1 - self.together**2) * own
        return _score(mean + self.spread * ours), _score(mean + self.spread * theirs)


NOISES = (
    Noise("both miss 0.4 % and flag 3 in 100,000 wrongly, correlation 0.8"),
    Noise("both miss 0.4 % and flag 3 in 100,000 wrongly, correlation 0.5", together=0.5),
    Noise("both miss 2 % and flag 1 in 1,000 wrongly, correlation 0.8", spread=2.0),
)
"""The first is the one that the goal is held against."""


def _score(logit: Floats) -> Floats:
    return np.rint(10_000 / (1 + np.exp(-logit)))


@dataclass(frozen=True)
class Rates:
    """How often two honest models surely contradict each other, of what could be compared."""

    false_clean: float
    false_flag: float
    flags: float  # comparisons of flags a clean hit


def rates_of(noise: Noise) -> Rates:
    """Measure the rates on SAMPLES pictures, after holding a part of them against the real code."""
    dice = np.random.default_rng(SEED)
    _check(*noise.scores(dice, CHECKED))
    sums = np.zeros(4)
    for _ in range(SAMPLES // 1_000_000):
        clean, flag = _results(*noise.scores(dice, 1_000_000))
        sums += (clean == 1).sum(), (clean >= 0).sum(), (flag == 1).sum(), (flag >= 0).sum()
    return Rates(sums[0] / sums[1], sums[2] / sums[3], sums[3] / sums[1])


def _results(ours: Floats, theirs: Floats) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return what comparing comes to: 1 false, 0 agreed, -1 none, of the clean and of the flag.

    Whoever publishes as we do calls nothing clean that lies within MARGIN of the threshold.
    """
    over, under = ours >= THRESHOLD + 1_000, ours < THRESHOLD - 1_000
    clears, flags = theirs < THRESHOLD - MARGIN, theirs >= THRESHOLD
    clean = np.where(clears & (ours < THRESHOLD), 0, np.where(clears & over, 1, -1))
    flag = np.where(flags & (ours >= THRESHOLD), 0, np.where(flags & under, 1, -1))
    return clean.astype(np.int8), flag.astype(np.int8)


def _check(ours: Floats, theirs: Floats) -> None:
    """Raise unless the short form of comparing is that of `agreement`."""
    judgement, words = here(0.05), {Result.AGREED: 0, Result.FALSE_CLEAN: 1, Result.FALSE_FLAG: 1}
    for i, (clean, flag) in enumerate(zip(*_results(ours, theirs), strict=True)):
        row = verdict(PEER, b"x" * 32, int(theirs[i]), THEIRS)
        own = Ours([verdict(SELF, b"x" * 32, int(ours[i]))])
        for claim, expected in ((compare_clean, clean), (compare_flags, flag)):
            if claim is compare_clean and THRESHOLD - MARGIN <= theirs[i] < THRESHOLD:
                continue  # not published
            found = claim([row], own, judgement)
            if (words[found.result] if found else -1) != expected:
                raise RuntimeError(f"{claim.__name__} differs from its short form")


def years_demoted(rates: Rates, *, floor: float = 0.05) -> tuple[float, float]:
    """Return the shares of YEARS in which the clean and the flag weight of a peer fell."""
    dice = np.random.default_rng(SEED)
    clean = sum(_clean_falls(rates.false_clean, floor, dice) for _ in range(YEARS))
    flags = round(HITS_A_YEAR * rates.flags)
    flag = sum(_flag_falls(rates.false_flag, flags, dice) for _ in range(YEARS))
    return clean / YEARS, flag / YEARS


def _clean_falls(false: float, floor: float, dice: np.random.Generator) -> bool:
    """Let one year of clean hits pass; only the false cleans of the record are drawn."""
    hits, n, known = 0, 0, None  # hits so far, comparisons since a false clean, hits at the last
    gaps = iter(_gaps(false, dice))
    while True:
        audits = next(gaps)  # audited hits until the next false clean, itself included
        hits += _hits_for(n, audits, floor, dice)
        if hits > HITS_A_YEAR:
            return False
        if known is not None and hits - known <= FALSE_CLEAN_HITS:
            return True
        known, n = hits, 0


def _gaps(false: float, dice: np.random.Generator) -> Iterator[int]:
    while True:
        yield int(dice.geometric(false)) if false > 0 else 10 * HITS_A_YEAR


def _hits_for(n: int, audits: int, floor: float, dice: np.random.Generator) -> int:
    """Draw how many hits pass until so many are audited, `n` comparisons since a false clean."""
    counted = np.arange(n, n + min(audits, HITS_A_YEAR))
    rates = np.maximum(floor, NEW_PEER / (NEW_PEER + counted))
    return int(dice.geometric(rates).sum())


def _flag_falls(false: float, flags: int, dice: np.random.Generator) -> bool:
    """Let one year of flags pass, looked at after each."""
    agreed = np.cumsum(dice.random(flags) >= false)
    compared = np.arange(1, flags + 1)
    least = _least_agreed(flags)
    return bool((agreed[MIN_COMPARISONS - 1 :] < least[compared[MIN_COMPARISONS - 1 :]]).any())


_LEAST: dict[int, NDArray[np.int64]] = {}


def _least_agreed(flags: int) -> NDArray[np.int64]:
    """Return for each number of comparisons how many must agree, by the real bound."""
    if flags not in _LEAST:
        least = np.zeros(flags + 1, np.int64)
        agreed = 0
        for compared in range(1, flags + 1):
            while agreed < compared and flags_fail(agreed, compared, 0.95):
                agreed += 1
            least[compared] = agreed
        _LEAST[flags] = least
    return _LEAST[flags]


def same_pipeline() -> int:
    """Return how often a peer on our pipeline falls in COMPARISONS with numeric noise.

    Every true score lies within ten times the noise of the threshold, the worst place for it.
    """
    dice = np.random.default_rng(SEED)
    true = THRESHOLD + dice.uniform(-10, 10, COMPARISONS) * NUMERIC_NOISE
    ours, theirs = (
        np.clip(np.rint(true + dice.normal(0, NUMERIC_NOISE, COMPARISONS)), 0, 10_000)
        for _ in range(2)
    )
    judgement, record, falls = here(0.05), TrackRecord(), 0
    for mine, said in zip(ours, theirs, strict=True):
        row = verdict(PEER, b"x" * 32, int(said))
        own = Ours([verdict(SELF, b"x" * 32, int(mine))])
        for feed, claim in ((Feed.CLEAN, compare_clean), (Feed.FLAGGED, compare_flags)):
            compared = claim([row], own, judgement)
            if compared is not None:
                falls += record.count(feed, compared) is not None
                falls += record.flags_fail(0.95)
    note(f"compared {record.any.clean_compared} cleans and {record.any.flag_compared} flags")
    return falls
