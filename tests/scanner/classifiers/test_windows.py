"""Long pictures are judged in windows that cover them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scanner.classifiers.pipeline import whole_picture
from scanner.classifiers.windows import RATIO, WINDOWS_MAX, windows


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (20, 10), (10, 20), (1, 2)])
def test_a_picture_up_to_two_to_one_is_one_window(size):
    frame = Image.new("RGB", size)
    assert windows(frame) == [frame]


@pytest.mark.parametrize(("width", "count"), [(21, 2), (30, 2), (31, 3), (170, 16), (5000, 16)])
def test_longer_ones_have_windows_up_to_a_number(width, count):
    for size in ((width, 10), (10, width)):
        found = windows(Image.new("RGB", size))
        assert len(found) == count
        if width <= (WINDOWS_MAX + 1) * 10:
            assert all(max(part.size) <= RATIO * min(part.size) for part in found)


@given(st.integers(1, 700), st.integers(1, 12), st.booleans())
def test_every_pixel_is_in_a_window(long, short, upright):
    """Each column has its own number; the windows show all of them."""
    columns = np.arange(long, dtype=np.int32)[None, :].repeat(short, 0)
    frame = Image.fromarray(columns.T.copy() if upright else columns)
    seen = {int(n) for part in windows(frame) for n in np.unique(np.asarray(part))}
    assert seen == set(range(long))
    assert all(min(part.size) >= 1 for part in windows(frame))


def test_a_model_that_would_crop_squashes_instead():
    assert whole_picture({"size": 224})["resize_mode"] == "squash"
    assert whole_picture({"resize_mode": "shortest"})["resize_mode"] == "squash"
    assert whole_picture({"resize_mode": "longest"})["resize_mode"] == "longest"
