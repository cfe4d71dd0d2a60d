"""Preprocessing: open_clip's own, bit for bit, but nothing is cropped away."""

import numpy as np
import pytest
from PIL import Image

from scanner.classifiers.pipeline import whole_picture
from scanner.classifiers.preprocess import SIDE_MAX, Preprocess
from scanner.errors import ModelError
from tests.scanner.drawings import photo

SETTINGS = {
    "size": 224,
    "mean": (0.48, 0.46, 0.41),
    "std": (0.27, 0.26, 0.28),
    "interpolation": "bicubic",
    "resize_mode": "squash",
    "fill_color": 0,
}


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["squash", "longest"])
@pytest.mark.parametrize("size", [(640, 480), (300, 417), (97, 180), (224, 224)])
def test_it_equals_the_transform_of_open_clip(interpolation, mode, size):
    from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: PLC0415

    settings = {**SETTINGS, "interpolation": interpolation, "resize_mode": mode, "mode": "RGB"}
    image, ours = photo("camera", size).convert("RGB"), Preprocess.of(settings)
    theirs = image_transform_v2(PreprocessCfg(**settings), is_train=False)(image).numpy()
    assert np.abs(ours.normalised(ours.apply([image]))[0] - theirs).max() < 1e-5


def test_long_frames_come_as_windows_and_all_frames_in_order():
    ours = Preprocess.of({**SETTINGS, "size": 32})
    red, blue = (Image.new("RGB", (200, 50), colour) for colour in ("red", "blue"))
    pixels = ours.apply([red, blue])
    assert pixels.shape == (6, 32, 32, 3)
    assert pixels[:3].mean((0, 1, 2)).tolist() == [255, 0, 0]
    assert ours.apply([]).shape == (0, 32, 32, 3)


def test_nothing_is_cropped_away():
    assert whole_picture({**SETTINGS, "resize_mode": "shortest"})["resize_mode"] == "squash"


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "nearest"},
        {"resize_mode": "shortest"},
        {"size": 0},
        {"size": (SIDE_MAX + 1, 8)},
        {"std": (0.1, 0, 0.1)},
    ],
)
def test_what_no_model_can_mean_is_refused(change):
    with pytest.raises(ModelError):
        Preprocess.of({**SETTINGS, **change})


def test_the_largest_side_passes():
    assert Preprocess.of({**SETTINGS, "size": (SIDE_MAX, 8), "mean": 0.5}).height == SIDE_MAX
