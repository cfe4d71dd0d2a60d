"""PDQ in numpy, held against vectors of pdqhash 0.2.8."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scanner.decoding.pdq import pdq
from tests.scanner.drawings import photo, thumbnails

VECTORS = json.loads((Path(__file__).parent / "pdq_vectors.json").read_text())
PICTURES = thumbnails()
TURNS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def distance(one, other):
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


@pytest.mark.parametrize("name", VECTORS)
def test_the_hash_and_its_transpose_are_within_two_bits_of_pdqhash(name):
    """The other six are better than the reference's, see below."""
    found = pdq(PICTURES[name]).variants
    wanted = [bytes.fromhex(text) for text in VECTORS[name]["hashes"]]
    assert max(distance(found[n], wanted[n]) for n in (0, 6)) <= 2


@pytest.mark.parametrize("name", VECTORS)
def test_the_quality_is_within_one_of_pdqhash(name):
    assert abs(pdq(PICTURES[name]).quality - VECTORS[name]["quality"]) <= 1


def test_the_vectors_cover_flat_and_rich_pictures():
    qualities = [vector["quality"] for vector in VECTORS.values()]
    assert min(qualities) < 50 <= max(qualities)


@pytest.mark.parametrize("name", ["aero", "ascent", "camera"])
def test_each_variant_is_the_hash_of_the_picture_turned_that_way(name):
    """The reference's miss by up to 28 of the 31 bits that a match may: no room for an edit."""
    image = photo(name).convert("L")
    variants = pdq(image).variants
    turned = [pdq(image if turn is None else image.transpose(turn)).variants[0] for turn in TURNS]
    assert all(distance(a, b) <= 2 for a, b in zip(variants, turned, strict=True))


def test_a_flat_picture_has_quality_zero():
    assert pdq(Image.new("L", (512, 512), 77)).quality == 0


def test_two_different_photos_are_far_apart():
    one, other = pdq(photo("aero").convert("L")), pdq(photo("camera").convert("L"))
    assert distance(one.variants[0], other.variants[0]) > 80


def test_the_same_pixels_give_the_same_hash_whatever_their_memory_layout():
    pixels = np.asarray(photo("camera").convert("L"))
    copy = Image.fromarray(np.asfortranarray(pixels))
    assert pdq(copy) == pdq(Image.fromarray(pixels))
