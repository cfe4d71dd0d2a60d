"""The statistics of a calibration: intervals, quantiles, and the smallest thresholds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.calibrate import (
    FACTORS,
    distribution,
    pictures_needed,
    rate,
    smallest_factor,
    smallest_rate,
    smallest_threshold,
)
from scanner.policy import shifted

SCORES = st.lists(st.integers(0, 10_000), min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("count", "pictures", "low", "high"),
    [  # from the formula in Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_is_the_one_in_the_literature(count, pictures, low, high):
    found = rate(count, pictures)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(st.integers(0, 5_000), st.integers(1, 5_000))
def test_a_rate_lies_within_its_interval(count, pictures):
    if count > pictures:
        with pytest.raises(ValueError, match="all pictures"):
            rate(count, pictures)
        return
    found = rate(count, pictures)
    assert 0 <= found.low <= found.share <= found.high <= 1


def test_of_no_pictures_every_rate_is_open():
    found = rate(0, 0)
    assert (found.share, found.low, found.high) == (0, 0, 1)
    assert smallest_rate(0) == 1


@pytest.mark.parametrize("target", [0.001, 0.01, 0.3, 0.0007])
def test_a_rate_can_be_claimed_from_so_many_pictures_on_and_not_one_earlier(target):
    needed = pictures_needed(target)
    assert smallest_rate(needed) <= target + 1e-12
    assert smallest_rate(needed - 1) > target


def test_a_rate_of_a_thousandth_takes_three_thousand_pictures():
    assert pictures_needed(0.001) == 3_000


@given(SCORES)
def test_a_distribution_counts_every_picture_once(scores):
    found = distribution(scores)
    assert sum(found.histogram) == len(scores)
    assert found.largest == max(scores)
    for share, value in found.quantiles.items():
        assert sum(score <= value for score in scores) >= share * len(scores) - 1e-9
        assert value in scores


def test_the_bins_of_a_histogram_begin_at_their_tenth():
    found = distribution([0, 999, 1_000, 1_999, 9_000, 10_000])
    assert found.histogram == (2, 2, 0, 0, 0, 0, 0, 0, 0, 2)
    with pytest.raises(ValueError, match="no scores"):
        distribution([])


@given(SCORES, st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_the_smallest_threshold_keeps_to_the_target_and_one_less_does_not(scores, target):
    threshold = smallest_threshold(scores, target)
    over = [sum(score >= t for score in scores) for t in (threshold or 10_000, 10_000)]
    allowed = target * len(scores)
    if threshold is None:
        assert over[1] > allowed
        return
    assert over[0] <= allowed
    if threshold > 1:
        assert sum(score >= threshold - 1 for score in scores) > allowed


def test_the_target_is_met_exactly_at_its_limit_and_missed_one_past_it():
    scores = [9_000] + [100] * 999  # one in a thousand
    assert smallest_threshold(scores, 0.001) == 101
    assert smallest_threshold([9_000, *scores[:-1]], 0.001) == 9_001


def test_the_smallest_factor_is_the_one_from_which_on_the_target_is_kept():
    scores = [2_000] * 50

    def flagged(factor: Fraction) -> list[int]:
        return [sum(score >= shifted(5_000, factor) for score in scores)]

    found = smallest_factor(flagged, len(scores), 0.001)
    assert found is not None
    assert flagged(found) == [0]
    assert flagged(FACTORS[FACTORS.index(found) - 1]) == [50]
    assert smallest_factor(lambda _: [50], 50, 0.001) is None
    assert smallest_factor(lambda _: [0], 50, 0.001) == FACTORS[0]


def test_a_factor_that_keeps_to_the_target_by_chance_alone_is_not_suggested():
    """A rule with `not` may be true for fewer at a smaller factor."""
    calm = FACTORS[10]
    found = smallest_factor(lambda f: [0 if f == calm or f > FACTORS[20] else 9], 9, 0.01)
    assert found == FACTORS[21]


def test_a_step_of_the_dial_is_one_of_the_factors():
    assert Fraction(1, 3) in FACTORS
    assert Fraction(1) in FACTORS
    assert Fraction(3) in FACTORS
    assert list(FACTORS) == sorted(set(FACTORS))
