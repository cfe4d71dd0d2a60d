"""The statistics of a calibration: what harmless pictures say of thresholds. Pure.

Given integer scores 0..10000 of pictures known to be harmless, and how often a rule held, it gives
distributions, rates with their uncertainty, and thresholds. Which pictures, which rules and what
is done with the result is left to the caller. Harmless pictures show false alarms alone: what a
threshold misses, they cannot tell.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, sqrt

from scanner.classifiers.classifier import SCORE_MAX

Z_95 = 1.959963984540054
"""The standard normal's 97.5 % point: an interval of 95 %."""
QUANTILES = (0.5, 0.9, 0.99, 0.999)
HISTOGRAM_BINS = 10
STEPS_AN_OCTAVE = 4
FACTORS = tuple(
    Fraction(3 ** (step / STEPS_AN_OCTAVE)).limit_denominator(10_000) for step in range(-16, 41)
)
"""What the odds of all thresholds are tried with: from 1/81 to 59,049, four steps to a threefold,
so that a step of the dial is four of them."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of so many pictures, and between which rates the truth lies (95 %)."""

    count: int
    pictures: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The rate that was seen, 0 where nothing was."""
        return self.count / self.pictures if self.pictures else 0.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """How one label's scores lie: quantiles, the largest, and counts in ten equal bins."""

    quantiles: dict[float, int]
    largest: int
    histogram: tuple[int, ...]


def rate(count: int, pictures: int) -> Rate:
    """Return a rate with its Wilson score interval of 95 %.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927), 209-212. Of no pictures, all is open.
    """
    if not 0 <= count <= pictures:
        raise ValueError("a rate is of 0 to all pictures")
    if not pictures:
        return Rate(0, 0, 0.0, 1.0)
    share, square = count / pictures, Z_95**2
    middle = (share + square / (2 * pictures)) / (1 + square / pictures)
    reach = sqrt(share * (1 - share) / pictures + square / (4 * pictures**2))
    reach *= Z_95 / (1 + square / pictures)
    low = 0.0 if not count else max(0.0, middle - reach)
    high = 1.0 if count == pictures else min(1.0, middle + reach)
    return Rate(count, pictures, low, high)


def smallest_rate(pictures: int) -> float:
    """Return the rate under which these many pictures can claim nothing, were none flagged: 3/n.

    The rule of three: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?",
    JAMA 249 (1983), 1743-1745.
    """
    return min(1.0, 3 / pictures) if pictures else 1.0


def pictures_needed(target: float) -> int:
    """Return how many harmless pictures, none flagged, it takes to claim a rate of `target`."""
    return ceil(Fraction(3) / Fraction(str(target)))


def distribution(scores: Iterable[int]) -> Distribution:
    """Return how scores lie; raises ValueError for none. A quantile is a score that was seen."""
    ordered = sorted(scores)
    if not ordered:
        raise ValueError("no scores, no distribution")
    last = len(ordered) - 1
    quantiles = {q: ordered[min(ceil(q * len(ordered)) - 1, last)] for q in QUANTILES}
    edges = [SCORE_MAX * bin_ // HISTOGRAM_BINS for bin_ in range(1, HISTOGRAM_BINS)]
    cuts = [0, *(bisect_left(ordered, edge) for edge in edges), len(ordered)]
    bins = tuple(upper - lower for lower, upper in pairwise(cuts))
    return Distribution(quantiles, ordered[-1], bins)


def smallest_threshold(scores: Iterable[int], target: float) -> int | None:
    """Return the smallest threshold 1..10000 that at most the share `target` of scores reaches.

    None where too many are at 10000, so that no threshold does.
    """
    ordered = sorted(scores)
    allowed = floor(Fraction(str(target)) * len(ordered))
    if allowed >= len(ordered):
        return 1
    threshold = ordered[len(ordered) - 1 - allowed] + 1
    return threshold if threshold <= SCORE_MAX else None


def smallest_factor(
    flagged: Callable[[Fraction], Sequence[int]], pictures: int, target: float
) -> Fraction | None:
    """Return the smallest factor on the odds from which on no rule is true too often.

    `flagged` counts, for one factor, the pictures for which each rule holds. "From which on":
    a rule with `not` may hold for fewer at a smaller factor by chance. None where none will do.
    """
    allowed = floor(Fraction(str(target)) * pictures)
    best = None
    for factor in reversed(FACTORS):
        if any(count > allowed for count in flagged(factor)):
            return best
        best = factor
    return best
