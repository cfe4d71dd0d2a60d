"""The drawn pictures: repeatable, distinct, and rich enough for near matching."""

import itertools

import numpy as np
import pytest

from scanner.decoding.pdq import pdq
from scanner.decoding.thumbnail import thumbnail
from scanner.testpatterns import KINDS, draw_noise, draw_pattern, draw_shape
from tests.scanner.decoding.test_pdq import distance
from tests.scanner.drawings import photo

SIZE = (320, 240)


@pytest.mark.parametrize("draw", [draw_pattern, draw_shape, draw_noise])
def test_a_seed_draws_one_picture(draw):
    one, same, other = draw(3, SIZE), draw(3, SIZE), draw(9, SIZE)
    assert one.size == SIZE
    assert one.mode == "RGB"
    assert np.array_equal(np.asarray(one), np.asarray(same))
    assert not np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("kind", KINDS)
def test_every_pattern_is_rich_enough_for_near_matching(kind):
    for seed in range(5):
        assert pdq(thumbnail(draw_pattern(seed, SIZE, kind))).quality >= 50


def test_patterns_of_different_seeds_do_not_match_each_other():
    """Not even turned or mirrored: the demo counts on telling them apart."""
    hashes = [pdq(thumbnail(draw_pattern(seed, SIZE))) for seed in range(30)]
    pairs = itertools.combinations(hashes, 2)
    assert min(distance(a.variants[0], v) for a, b in pairs for v in b.variants) > 40


def test_a_shape_leaves_most_of_its_ground_as_it_was():
    ground = photo("ascent", SIZE)
    drawn = np.asarray(draw_shape(4, SIZE, ground))
    same = (drawn == np.asarray(ground)).all(axis=2).mean()
    assert 0.3 < same < 0.95
