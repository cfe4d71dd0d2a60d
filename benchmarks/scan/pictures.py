"""Pictures and models for the scanner's benchmarks: photos of the demo, and random weights.

Random weights cost what real ones cost; their scores mean nothing.
"""

import io
import re
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fediverdict.demo.pictures import shown_to_alpha
from scanner.policy import SHIPPED

TWO_MEGAPIXELS = (1632, 1224)
EIGHT_MEGAPIXELS = (3264, 2448)
FILE_BYTES_MAX = 400_000
BRIGHTNESSES = 7


@cache
def photos() -> tuple[Image.Image, ...]:
    """Return the photos of the demo."""
    found = [one for one in shown_to_alpha() if one.name.startswith("photo-")]
    return tuple(Image.open(io.BytesIO(one.data)).convert("RGB") for one in found)


def distinct(number: int) -> bytes:
    """Return a 2-megapixel JPEG whose file and content no other number has.

    The coarsest steps of its first quantisation table spell the number.
    """
    data = bytearray(_base(number % (len(photos()) * BRIGHTNESSES)))
    table = data.index(b"\xff\xdb") + 5
    data[table + 60 : table + 64] = bytes(1 + (number >> shift) % 128 for shift in (21, 14, 7, 0))
    return bytes(data)


@cache
def _base(number: int) -> bytes:
    return jpeg(number)


def jpeg(
    number: int, size: tuple[int, int] = TWO_MEGAPIXELS, largest: int = FILE_BYTES_MAX
) -> bytes:
    """Return a JPEG of one of the photos, in one of seven brightnesses."""
    photo = photos()[number % len(photos())].resize(size)
    pixels = np.asarray(photo, np.int16) + number // len(photos()) % BRIGHTNESSES
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    for quality in (85, 75, 65, 50, 35):
        target = io.BytesIO()
        image.save(target, "JPEG", quality=quality)
        if target.tell() <= largest:
            break
    return target.getvalue()


def quiet_policy(folder: Path) -> Path:
    """Write a policy by which random weights flag nothing: near flags would spare scans."""
    text = (SHIPPED / "test.toml").read_text("utf-8")
    path = folder / "quiet.toml"
    path.write_text(re.sub(r"(?m)^threshold = \d+", "threshold = 10000", text), "utf-8")
    return path


def checkpoint(folder: Path, architecture: str) -> Path:
    """Return a checkpoint of that architecture with random weights, made if it is missing."""
    path = folder / f"{architecture}.safetensors"
    if not path.exists():
        import open_clip  # noqa: PLC0415
        from safetensors.torch import save_file  # noqa: PLC0415

        model = open_clip.create_model(architecture, pretrained=None)
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, path)
    return path
