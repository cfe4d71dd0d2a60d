"""PDQ, Meta's perceptual hash of 256 bits, in numpy; its eight dihedral variants come along.

PDQ is linear up to its median: the two box filter passes and the decimation to 64x64 are one
matrix A, run once on the identity, so X = A @ image @ A.T and the DCT block is D @ X @ D.T.
The picture's own is within 2 bits of `pdqhash` 0.2.8 on the same thumbnail (committed vectors).
Source: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm",
Facebook, 2019.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.decoding.thumbnail import SIDE

Floats = NDArray[np.float32]
BLOCK, CELLS = 16, 64
WINDOW = (SIDE + 2 * CELLS - 1) // (2 * CELLS)
"""Pixels of the box filter: half the distance of two of the 64 samples."""


class Pdq(NamedTuple):
    """Eight hashes of 32 bytes (the picture's own first) and the quality 0..100."""

    variants: tuple[bytes, ...]
    quality: int


def pdq(thumbnail: Image.Image) -> Pdq:
    """Return the PDQ of a 512x512 luma image: its own, turned and mirrored.

    The order is that of the reference: itself, turned by 90, 180 and 270 degrees, flipped,
    mirrored, and mirrored along both diagonals. Unlike the reference's, which change signs in
    the DCT and miss a picture really turned by up to 28 bits, these are exact: the samples lie
    off the middle, so the pixels are mirrored before they are taken.
    """
    pixels = np.asarray(thumbnail, np.float32)
    samples = _around(_both_ways(), pixels, _both_ways())
    plain, mirrored = _block(samples[:CELLS, :CELLS]), _block(samples[:CELLS, CELLS:])
    upside, turned = _block(samples[CELLS:, :CELLS]), _block(samples[CELLS:, CELLS:])
    blocks = (plain, mirrored.T, turned, upside.T, upside, mirrored, plain.T, turned.T)
    return Pdq(tuple(_bits(block) for block in blocks), _quality(samples[:CELLS, :CELLS]))


def _around(left: Floats, middle: Floats, right: Floats) -> Floats:
    """Return left @ middle @ right.T in single precision."""
    product: Floats = np.matmul(np.matmul(left, middle), right.T, dtype=np.float32)
    return product


def _block(small: Floats) -> Floats:
    """Return the 16x16 DCT block of the 64x64 samples."""
    return _around(_dct(), small, _dct())


def _bits(block: Floats) -> bytes:
    """Return 256 bits, each whether a coefficient is over the median, the last one first."""
    over = (block > _median(block)).ravel()[::-1]
    return np.packbits(over).tobytes()


def _median(block: Floats) -> np.float32:
    """Return the lower median, the 128th of the 256 values, as the reference does."""
    value: np.float32 = np.partition(block.ravel(), block.size // 2 - 1)[block.size // 2 - 1]
    return value


def _quality(small: Floats) -> int:
    """Return how much gradient there is, 0..100; under 50 a picture is too flat to match."""
    steps = 0
    for axis in (0, 1):
        steps += int(np.abs((np.diff(small, axis=axis) * 100 / 255).astype(np.int64)).sum())
    return min(steps // 90, 100)


@cache
def _both_ways() -> Floats:
    """Return A over A taken backwards, (128, 512): the latter mirrors the picture."""
    return np.vstack([_down(), _down()[:, ::-1]])


def _down() -> Floats:
    """Return A, (64, 512): two box passes along an axis, then every eighth sample."""
    box = np.eye(SIDE)
    for _ in range(2):
        box = _box(box)
    picks = ((np.arange(CELLS) + 0.5) * SIDE / CELLS).astype(int)
    down: Floats = box[picks].astype(np.float32)
    return down


def _box(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sliding mean along the first axis, windows cut at the ends."""
    left = (WINDOW + 2) // 2 - 1
    index = np.arange(SIDE)
    first = np.maximum(index - (WINDOW - left - 1), 0)
    last = np.minimum(index + left, SIDE - 1) + 1
    sums = np.vstack([np.zeros(SIDE), np.cumsum(columns, axis=0)])
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)[:, None]
    return mean


@cache
def _dct() -> Floats:
    """Return D, (16, 64): the DCT rows of the frequencies 1 to 16."""
    frequency, place = np.arange(1, BLOCK + 1)[:, None], np.arange(CELLS)[None, :]
    scale = np.sqrt(2.0 / CELLS)
    rows: Floats = (scale * np.cos(np.pi / 2 / CELLS * frequency * (2 * place + 1))).astype(
        np.float32
    )
    return rows
