"""Makes the copies of a picture that meet a server: re-encoded, smaller, turned, cut."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

Copy = Callable[[Image.Image], Image.Image]


def jpeg(quality: int) -> Copy:
    """Return a copier through JPEG of that quality."""

    def copy(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

    return copy


def cut(share: float) -> Copy:
    """Return a copier that cuts that share off each side."""

    def copy(image: Image.Image) -> Image.Image:
        x, y = int(image.width * share), int(image.height * share)
        return image.crop((x, y, image.width - x, image.height - y))

    return copy


COPIES: dict[str, Copy] = {
    "itself": lambda image: image,
    "jpeg q80": jpeg(80),
    "jpeg q50": jpeg(50),
    "jpeg q30": jpeg(30),
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "turned 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned 180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "mirrored": ImageOps.mirror,
    "cut 3 %": cut(0.03),
    "cut 8 %": cut(0.08),
}


def distort(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a copy, distorted in up to three of the ways above."""
    names = list(COPIES)
    for pick in rng.integers(0, len(names), int(rng.integers(0, 4))):
        image = COPIES[names[pick]](image)
    return image
