"""Pictures for tests that come out the same on every machine: integers only, or plain data."""

import hashlib
import io

import numpy as np
import pywt.data  # type: ignore[import-untyped]
from PIL import Image


def blocks(seed, cells, side=512):
    """A square of `cells` x `cells` grey cells from SHA-256, with a slope; uint8."""
    stream = b"".join(
        hashlib.sha256(f"{seed}/{n}".encode()).digest() for n in range(cells * cells // 32 + 1)
    )
    tones = np.frombuffer(stream[: cells * cells], np.uint8).reshape(cells, cells)
    index = np.arange(side) * cells // side
    slope = (np.arange(side) * (seed % 5) * 40 // side)[:, None]
    contrast = (3, 1, 2)[seed % 3]  # of 12
    return ((tones[index][:, index].astype(int) * contrast + slope * 3) // 12).astype(np.uint8)


def thumbnails():
    """Name -> 512x512 luma: drawn ones, and three photos that come with PyWavelets."""
    drawn = {
        f"blocks-{seed}-{cells}": blocks(seed, cells)
        for seed in range(7)
        for cells in (5, 8, 16, 23, 64)
    }
    photos = {name: getattr(pywt.data, name)() for name in ("aero", "ascent", "camera")}
    return {
        name: Image.fromarray(np.asarray(pixels, np.uint8))
        for name, pixels in {**drawn, **photos}.items()
    }


def photo(name="camera", size=(512, 512)):
    """A real photo as RGB."""
    pixels = np.asarray(getattr(pywt.data, name)(), np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize(size)


def encode(image, kind, **options):
    """The bytes of an image in a format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
