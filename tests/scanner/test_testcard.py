"""The test card: the same bytes everywhere, as drawn, and like no other picture of ours."""

import io
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fediverdict
from cache.testcard import CARD
from scanner.decoding.decode import read
from scanner.decoding.pdq import pdq
from scanner.decoding.thumbnail import thumbnail
from scanner.limits import Limits
from scanner.testcard import card_bytes, draw_test_card
from scanner.testpatterns import KINDS, draw_noise, draw_pattern, draw_shape
from tests.scanner.decoding.test_pdq import distance

SHA256 = "c10533206494d51ff4e2816b35ef8d964c13c459873c6f13992dd1798cfbfa88"
LIMIT = 80
SEEDS = 60
PHOTOS = sorted((Path(fediverdict.__file__).parent / "demo_photos").glob("*.jpg"))


def card():
    return read(card_bytes(), Limits())


def nearest(image):
    code = pdq(thumbnail(image)).variants[0]
    return min(distance(code, variant) for variant in card().pdq_variants)


def test_the_file_is_the_same_on_every_installation():
    assert sha256(card_bytes()).hexdigest() == SHA256
    assert len(card_bytes()) < 4_096


def test_the_file_is_what_the_script_draws():
    shown = np.asarray(Image.open(io.BytesIO(card_bytes())).convert("RGB"))
    assert np.array_equal(shown, np.asarray(draw_test_card()))


def test_the_cache_knows_the_card_by_what_the_scanner_reads():
    """The PDQ may differ by 2 bits where another numpy rounds otherwise."""
    picture = card()
    found = picture.fingerprint
    assert (found.sha256, found.content) == (CARD.sha256, CARD.content)
    assert (found.pdq_quality, found.phash) == (CARD.pdq_quality, CARD.phash)
    pairs = zip(picture.pdq_variants, CARD.variants, strict=True)
    assert max(distance(one, other) for one, other in pairs) <= 2


def test_it_is_rich_enough_for_near_matching():
    assert card().fingerprint.pdq_quality >= 80


@pytest.mark.parametrize("kind", KINDS)
def test_it_lies_over_80_bits_from_every_test_pattern_turned_or_mirrored(kind):
    assert min(nearest(draw_pattern(s, (320, 240), kind)) for s in range(SEEDS)) > LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_lies_over_80_bits_from_hundreds_of_test_patterns(kind):
    assert min(nearest(draw_pattern(s, (640, 480), kind)) for s in range(400)) > LIMIT


def test_it_lies_over_80_bits_from_shapes_noise_and_the_photos_of_the_demo():
    drawn = [draw(s, (320, 240)) for draw in (draw_shape, draw_noise) for s in range(20)]
    assert len(PHOTOS) > 20
    photos = [Image.open(path).convert("RGB") for path in PHOTOS]
    assert min(nearest(image) for image in drawn + photos) > LIMIT


@pytest.mark.parametrize("width", [1280, 640, 320, 160])
def test_what_servers_make_of_an_upload_stays_a_copy(width):
    """Resized and encoded as JPEG, as most servers store a picture."""
    image = Image.open(io.BytesIO(card_bytes())).convert("RGB").resize((width, width * 3 // 4))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=60)
    found = read(target.getvalue(), Limits()).fingerprint
    assert distance(found.pdq, CARD.pdq) <= 31
    assert found.pdq_quality is not None and found.pdq_quality >= 50
