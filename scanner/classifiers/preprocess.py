"""Turns frames into what a classifier looks at: small uint8 pixels of one fixed size.

Done where pictures are decoded, with Pillow alone, so that a frame is decoded and reduced once,
whatever runs the model, torch, ONNX Runtime or a worker elsewhere. Nothing is cropped away: a
frame is squashed or padded to the model's size, and a long one is cut into windows
(`windows.py`). Subtracting the mean and dividing by the deviation is left to the classifier, on
its own device. Equals open_clip's own transform of the same settings to the last bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.classifiers.windows import windows
from scanner.errors import ModelError

Pixels = NDArray[np.uint8]
"""(n, height, width, 3): RGB, one entry a window."""
Colour = tuple[float, float, float]

SIDE_MAX = 2048
"""Pixels; no model looks at more, and a description that says so is wrong."""
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a model wants its input: size in pixels, how it is reached, mean and deviation (0..1)."""

    height: int
    width: int
    mean: Colour
    std: Colour
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["squash", "longest"] = "squash"
    fill: int = 0
    """Grey 0..255 of what `longest` leaves empty."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Preprocess":
        """Return the preprocessing of open_clip's settings, already freed of cropping.

        Raises ModelError for settings that no model can mean.
        """
        size = settings.get("size", 224)
        height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        interpolation, mode = settings.get("interpolation"), settings.get("resize_mode")
        if interpolation not in RESAMPLING or mode not in {"squash", "longest"}:
            raise ModelError(f"the model wants {interpolation} and {mode}, which is unknown here")
        if not (0 < height <= SIDE_MAX and 0 < width <= SIDE_MAX):
            raise ModelError(f"the model wants {width} x {height} pixels, over {SIDE_MAX} a side")
        mean, std = _colour(settings["mean"]), _colour(settings["std"])
        if not all(std):
            raise ModelError("the model's std has a 0, so its pixels cannot be divided by it")
        fill = int(settings.get("fill_color", 0))
        return cls(height, width, mean, std, interpolation, mode, fill)

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON values, from which `of` makes the same again."""
        return {
            "size": [self.height, self.width],
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill,
        }

    def of_frame(self, frame: Image.Image) -> Pixels:
        """Return the windows of one RGB frame, (n, height, width, 3), in order."""
        return np.stack([self._pixels(window) for window in windows(frame)])

    def apply(self, frames: Sequence[Image.Image]) -> Pixels:
        """Return the windows of all frames, one behind the other."""
        parts = [self.of_frame(frame) for frame in frames]
        return np.concatenate(parts) if parts else self.nothing

    @property
    def nothing(self) -> Pixels:
        """No window at all, (0, height, width, 3)."""
        return np.zeros((0, self.height, self.width, 3), np.uint8)

    def normalised(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return pixels as the model reads them on a CPU, (n, 3, height, width) float32."""
        scale = 1 / (255 * np.array(self.std, np.float32))
        shift = np.array(self.mean, np.float32) / np.array(self.std, np.float32)
        return np.ascontiguousarray((pixels * scale - shift).transpose(0, 3, 1, 2), np.float32)

    def _pixels(self, frame: Image.Image) -> Pixels:
        how = RESAMPLING[self.interpolation]
        if self.resize_mode == "squash":
            return np.asarray(frame.convert("RGB").resize((self.width, self.height), how))
        ratio = max(frame.height / self.height, frame.width / self.width)
        size = (max(1, round(frame.width / ratio)), max(1, round(frame.height / ratio)))
        ground = Image.new("RGB", (self.width, self.height), (self.fill,) * 3)
        small = frame.convert("RGB").resize(size, how)
        ground.paste(small, ((self.width - size[0]) // 2, (self.height - size[1]) // 2))
        return np.asarray(ground)


def _colour(value: Any) -> Colour:
    """Return three numbers; one number stands for all three."""
    if isinstance(value, int | float):
        return (float(value),) * 3
    red, green, blue = (float(one) for one in value)
    return red, green, blue
