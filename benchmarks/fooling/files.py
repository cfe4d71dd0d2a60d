"""The attacks as files: a known clean picture, changed so that it shows something else or more.

Test patterns play the bad picture. Each attack is named, and says whether viewers see another
picture than the known clean one; copies as servers make them stand beside them, for what a
setting is good for.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from benchmarks.fooling import transforms
from benchmarks.fooling.crafted import twin_of
from benchmarks.fooling.transforms import Transform, encoded

Pair = tuple[Image.Image, Image.Image]
"""The clean picture, and the bad one at its size."""
GREY = 128
GAMMA = 10_000
"""Hundred-thousandths: 0.1, which shows dark details as bright ones."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to change a clean picture; `make` returns the file."""

    name: str
    make: Callable[[Image.Image, Image.Image, bytes], bytes]  # clean, bad, the clean one's file
    is_copy: bool = False  # viewers see the known picture


def known_file(image: Image.Image) -> bytes:
    """Return the file under which the clean picture is known."""
    return encoded(image, "JPEG", quality=92)


def _still(change: Callable[[Image.Image, Image.Image], Image.Image]) -> Callable[..., bytes]:
    return lambda clean, bad, _: encoded(change(clean, bad), "PNG", compress_level=1)


def _alone(change: Transform) -> Callable[..., bytes]:
    return _still(lambda clean, _: change(clean))


def ghost(share: float, clean: Image.Image, bad: Image.Image) -> Image.Image:
    """Return the clean picture with the bad one shining through."""
    return Image.blend(clean, bad, share)


def inset(area: float, clean: Image.Image, bad: Image.Image) -> Image.Image:
    """Return the clean picture with the bad one, small, in its lower right."""
    changed, share = clean.copy(), area**0.5
    small = bad.resize((max(1, round(clean.width * share)), max(1, round(clean.height * share))))
    place = (clean.width - small.width, clean.height - small.height)
    changed.paste(small, (round(place[0] * 0.8), round(place[1] * 0.8)))
    return changed


def hybrid(cycles: float, clean: Image.Image, bad: Image.Image) -> Image.Image:
    """Return the clean picture's coarse parts with the bad one's details, finer than `cycles`."""
    radius = max(clean.size) / cycles / np.pi
    blur = ImageFilter.GaussianBlur(radius)
    coarse = np.asarray(clean.filter(blur), np.int16)
    fine = np.asarray(bad, np.int16) - np.asarray(bad.filter(blur), np.int16)
    return Image.fromarray((coarse + fine).clip(0, 255).astype(np.uint8))


def reddened(clean: Image.Image) -> Image.Image:
    """Return the picture in red tones, its brightness kept."""
    luma = clean.convert("L")
    flat = [Image.new("L", clean.size, value) for value in (100, 190)]
    return Image.merge("YCbCr", (luma, *flat)).convert("RGB")


def _film(kind: str, clean: Image.Image, bad: Image.Image, _: bytes) -> bytes:
    return encoded(clean, kind, save_all=True, append_images=[bad], duration=400, quality=90)


def _over_white(clean: Image.Image, bad: Image.Image, _: bytes) -> bytes:
    """Return a transparent picture: the clean one over grey, the bad one shines over white."""
    alpha = 255 - np.asarray(bad.convert("L"), np.float64) * 0.35
    over = np.asarray(clean, np.float64) - GREY * (1 - alpha / 255)[..., None]
    colours = (over / (alpha / 255)[..., None]).clip(0, 255)
    pixels = np.dstack([colours, alpha]).round().astype(np.uint8)
    return encoded(Image.fromarray(pixels), "PNG", compress_level=1)


def _by_gamma(clean: Image.Image, bad: Image.Image, _: bytes) -> bytes:
    """Return a PNG whose gamma shows what is faint in the dark."""
    dark = clean.point(lambda value: value // 2)
    faint = ImageChops.add(dark, bad.point(lambda value: value // 40))
    data = encoded(faint, "PNG", compress_level=1)
    body = b"gAMA" + struct.pack(">I", GAMMA)
    chunk = struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def _appended(_: Image.Image, bad: Image.Image, known: bytes) -> bytes:
    return known + encoded(bad, "JPEG", quality=80)


def _second_picture(clean: Image.Image, bad: Image.Image, _: bytes) -> bytes:
    target = io.BytesIO()
    clean.save(target, "MPO", save_all=True, append_images=[bad], quality=92)
    return target.getvalue()


def _red_twin(clean: Image.Image, _: Image.Image) -> Image.Image:
    """Return another picture in red with the clean one's hashes: the clean one upside down."""
    return twin_of(reddened(clean.transpose(Image.Transpose.ROTATE_180)), clean)


def _copy(name: str) -> Attack:
    change = transforms.TRANSFORMS[name]
    return Attack(f"copy: {name}", _alone(change), is_copy=True)


COPIES = [_copy(name) for name in ("JPEG q80", "WebP q80", "half size", "double size")]
ATTACKS = [
    Attack("overlay: red veil", _alone(transforms.TRANSFORMS["red veil"])),
    *(
        Attack(f"overlay: bad picture at {share} %", _still(partial(ghost, share / 100)))
        for share in (10, 20, 35, 50)
    ),
    *(
        Attack(
            f"sticker of {area} %",
            _alone(partial(transforms.stickered, area / 100, (0.7, 0.3))),
        )
        for area in (0.25, 1, 4)
    ),
    *(
        Attack(f"sticker: bad picture on {area} %", _still(partial(inset, area / 100)))
        for area in (0.25, 1, 4, 10, 25)
    ),
    Attack("caption: meme", _alone(partial(transforms.captioned, "ALWAYS BEEN", 0.1))),
    Attack("caption: small", _alone(partial(transforms.captioned, "ALWAYS BEEN", 0.05))),
    Attack("caption: corner text", _alone(partial(transforms.marked, 0.04, 255))),
    Attack("caption: watermark across", _alone(partial(transforms.marked, 0.2, 110))),
    *(
        Attack(f"crop of {share} %", _alone(partial(transforms.cropped, share / 100)))
        for share in (1, 2, 5)
    ),
    Attack("recoloured, brightness kept", _alone(reddened)),
    Attack("recoloured, channels swapped", _alone(lambda i: Image.merge("RGB", i.split()[::-1]))),
    Attack("appended: the bad picture's file", _appended, is_copy=True),
    Attack("second picture in the file", _second_picture),
    *(Attack(f"other frames: {kind}", partial(_film, kind)) for kind in ("PNG", "GIF", "WEBP")),
    Attack("shows over white", _over_white),
    Attack("shows by its gamma", _by_gamma),
    Attack("hybrid: details past 20 cycles", _still(partial(hybrid, 20))),
    Attack("crafted: PDQ and pHash of the clean", _still(lambda clean, bad: twin_of(bad, clean))),
    Attack("crafted: the same, in red", _still(_red_twin)),
]
