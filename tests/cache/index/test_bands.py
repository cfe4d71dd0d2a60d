"""The keys looked up miss no code within the radius: the pigeonhole principle, tried out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.index.bands import BANDS, MAX_PROBED_RADIUS, probes, thresholds
from cache.index.words import set_bits, words_of
from tests.cache.index.codes import bits_between, noisy

RADII = range(MAX_PROBED_RADIUS + 1)


@pytest.mark.parametrize("radius", RADII)
def test_more_bits_than_the_radius_are_needed_to_pass_every_band_by(radius):
    allowed = thresholds(radius)
    assert sum(one + 1 for one in allowed) == radius + 1
    assert len(allowed) == BANDS
    assert max(allowed) <= 2  # else the keys are past counting


@pytest.mark.parametrize(("radius", "number"), [(10, 11), (15, 16), (31, 272), (47, 2192)])
def test_there_are_as_many_keys_as_the_thresholds_make(radius, number):
    assert len(probes(radius).masks) == number


@settings(deadline=None)
@given(
    radius=st.sampled_from(RADII),
    bits=st.sets(st.integers(0, 255), max_size=MAX_PROBED_RADIUS),
    clustered=st.booleans(),
)
def test_a_code_within_the_radius_has_a_key_in_common(radius, bits, clustered):
    """Wherever its bits lie, all in few bands or spread out as evenly as can be."""
    spread = {(bit % BANDS) * 16 + bit // BANDS for bit in bits}
    wrong = sorted(bits if clustered else spread)[:radius]
    differing = words_of([sum(1 << bit for bit in wrong).to_bytes(32, "little")])
    keys = differing.view(np.uint16)[0]
    plan = probes(radius)
    assert (keys[plan.bands] == plan.masks).any()


@given(one=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_bits_are_counted_right_up_to_all_256(one, other):
    opposite = bytes(byte ^ 0xFF for byte in one)
    codes = words_of([other, opposite, one]) ^ words_of([one] * 3)
    assert set_bits(codes).tolist() == [bits_between(one, other), 256, 0]


def test_the_noise_of_these_tests_is_as_large_as_it_says():
    random = np.random.default_rng(1)
    code = random.bytes(32)
    assert [bits_between(code, noisy(random, code, bits)) for bits in (0, 31, 256)] == [0, 31, 256]
