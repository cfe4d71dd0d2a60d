"""The perceptual hashes of one frame: PDQ with its variants and quality, and pHash.

pHash is imagehash's (`hash_size=16`), bit for bit. Its DCT is computed here, so that a process
that decodes need not load scipy; where rounding could decide a bit (the two middle coefficients
are all but equal: flat and symmetric pictures), imagehash itself is asked.
"""

from functools import cache
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.decoding.pdq import pdq
from scanner.decoding.thumbnail import thumbnail

Doubles = NDArray[np.float64]
BITS_SIDE, CELLS = 16, 64
CERTAIN_GAP = 1e-3
"""Coefficients reach 4 * 64 * 64 * 255, about 4e6: both ways of computing err by less than 1e-6."""


class Perceptual(NamedTuple):
    """PDQ's eight hashes (the frame's own first), its quality 0..100, and pHash; 32 bytes each."""

    variants: tuple[bytes, ...]
    quality: int
    phash: bytes


def perceptual(frame: Image.Image) -> Perceptual:
    """Return the hashes of an upright RGB frame, all from one canonical thumbnail."""
    small = thumbnail(frame)
    hashes = pdq(small)
    return Perceptual(hashes.variants, hashes.quality, phash(small))


def phash(small: Image.Image) -> bytes:
    """Return the 256 bits of `imagehash.phash(small, hash_size=16)` for a luma image."""
    pixels = np.asarray(small.resize((CELLS, CELLS), Image.Resampling.LANCZOS), np.float64)
    low = _dct() @ pixels @ _dct().T
    middle = BITS_SIDE * BITS_SIDE // 2
    below, above = np.partition(low.ravel(), (middle - 1, middle))[middle - 1 : middle + 1]
    if above - below < CERTAIN_GAP:
        return np.packbits(imagehash.phash(small, hash_size=BITS_SIDE).hash).tobytes()
    return np.packbits(low > (below + above) / 2).tobytes()


@cache
def _dct() -> Doubles:
    """Return (16, 64): the first rows of the unscaled DCT-II, as scipy.fftpack defines it."""
    frequency, place = np.arange(BITS_SIDE)[:, None], np.arange(CELLS)[None, :]
    rows: Doubles = 2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * CELLS))
    return rows
