"""pHash is imagehash's, bit for bit, though scipy is not loaded for it."""

import subprocess
import sys

import imagehash
import numpy as np
import pytest
from PIL import Image

from scanner.decoding.perceptual import perceptual, phash
from scanner.testpatterns import draw_noise, draw_pattern, draw_shape
from tests.scanner.drawings import photo, thumbnails


def reference(image):
    return np.packbits(imagehash.phash(image, hash_size=16).hash).tobytes()


def luma(image):
    return image.convert("L").resize((512, 512), Image.Resampling.BILINEAR)


DRAWN = [make(seed, (320, 240)) for seed in range(12) for make in (draw_pattern, draw_shape)]


@pytest.mark.parametrize("name", thumbnails())
def test_phash_equals_imagehash_on_the_test_set(name):
    image = thumbnails()[name]
    turned = [image, *(image.transpose(Image.Transpose(way)) for way in range(7))]
    assert [phash(one) for one in turned] == [reference(one) for one in turned]


def test_phash_equals_imagehash_on_drawings_and_noise():
    noise = [draw_noise(seed, (64, 48)) for seed in range(20)]
    for image in map(luma, DRAWN + noise):
        assert phash(image) == reference(image)
        assert phash(image.point(lambda value: value // 32)) == reference(
            image.point(lambda value: value // 32)
        )


@pytest.mark.parametrize("grey", [0, 1, 127, 128, 255])
def test_flat_pictures_where_rounding_decides_are_left_to_imagehash(grey):
    flat = Image.new("L", (512, 512), grey)
    assert phash(flat) == reference(flat)
    half = flat.copy()
    half.paste(255 - grey, (0, 0, 256, 512))
    assert phash(half) == reference(half)


def test_all_hashes_come_from_the_canonical_thumbnail():
    image = photo("camera", (800, 600))
    found = perceptual(image)
    assert found.phash == reference(luma(image))
    assert len(found.variants) == 8
    assert found.quality > 50


def test_reading_a_photo_loads_neither_scipy_nor_pyav():
    """A process that decodes has to stay small."""
    code = """if True:
        import io, sys
        from scanner.decoding.decode import read
        from scanner.limits import Limits
        from tests.scanner.drawings import encode, photo
        assert read(encode(photo(), "JPEG"), Limits())
        print(sorted({"scipy", "av", "torch", "aiohttp", "sqlalchemy"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
