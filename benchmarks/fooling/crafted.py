"""Crafted twins: a picture that stays what it is, with the PDQ and the pHash of another.

Both hashes are signs of linear functions of the 512x512 thumbnail against their median, so the
smallest change that gives wanted signs is found by projecting: each coefficient of the wrong sign
is moved just past the median through the pseudoinverse, samples are cut to 0..255, and again.
What the hashes do not look at (everything past 16 cycles a side, and all colour) stays.
Published in kind: "Learning to Break Deep Perceptual Hashing: The Use Case NeuralHash", FAccT
2022, and "It's Not What It Looks Like", Hao et al. 2021, for PDQ and pHash.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.fooling.pictures import bits_apart
from scanner.decoding.pdq import BLOCK, CELLS
from scanner.decoding.perceptual import BITS_SIDE, Perceptual, perceptual
from scanner.decoding.thumbnail import SIDE, thumbnail

Grid = NDArray[np.float64]
STEPS = 60
MARGIN = 0.35
"""Of the deviation of a hash's coefficients: how far past the median each is moved."""
ENOUGH_PDQ, ENOUGH_PHASH = 4, 8


class _Hash(NamedTuple):
    """A linear hash: its bits say which of left @ luma @ left.T are over their median."""

    left: Grid  # (16, 512)
    back: Grid  # its pseudoinverse


def twin_of(bad: Image.Image, clean: Image.Image) -> Image.Image:
    """Return the bad picture at the clean one's size, with the clean one's PDQ and pHash."""
    size, wanted = clean.size, perceptual(clean)
    start = np.asarray(bad.resize(size), np.float64)
    target = _luma(clean)
    delta = np.zeros((SIDE, SIDE))
    best, best_bits = bad, 999
    for step in range(STEPS):
        image = _shifted(start, delta)
        found = perceptual(image)
        bits = apart(found, wanted)
        if sum(bits) < best_bits:
            best, best_bits = image, sum(bits)
        if bits[0] <= ENOUGH_PDQ and bits[1] <= ENOUGH_PHASH:
            break
        luma = _luma(image)
        for one in (_pdq(), _phash()):
            luma = luma + _move(one, luma, target, MARGIN * (1 + step / STEPS))
        delta += luma - _luma(image)
    return best


def apart(found: Perceptual, wanted: Perceptual) -> tuple[int, int]:
    """Return how many bits of PDQ and of pHash differ."""
    pdq = bits_apart(found.variants[0], wanted.variants[0])
    return pdq, bits_apart(found.phash, wanted.phash)


def _luma(image: Image.Image) -> Grid:
    return np.asarray(thumbnail(image), np.float64)


def _shifted(start: Grid, delta: Grid) -> Image.Image:
    """Return the picture with its brightness changed by a 512x512 delta."""
    height, width = start.shape[:2]
    spread = Image.fromarray(delta.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pixels = start + np.asarray(spread, np.float64)[..., None]
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _move(one: _Hash, luma: Grid, target: Grid, margin: float) -> Grid:
    """Return the smallest change of the luma that gives its hash the target's bits."""
    now, wanted = (one.left @ grid @ one.left.T for grid in (luma, target))
    middle, over = np.median(now), wanted > np.median(wanted)
    reach = margin * np.median(np.abs(now - middle))
    moved = np.where(over, np.maximum(now, middle + reach), np.minimum(now, middle - reach))
    change: Grid = one.back @ (moved - now) @ one.back.T
    return change


@cache
def _pdq() -> _Hash:
    from scanner.decoding import pdq  # noqa: PLC0415

    left = (pdq._dct() @ pdq._down()).astype(np.float64)  # noqa: SLF001  an attacker reads the source
    assert left.shape == (BLOCK, SIDE)
    return _hash(left)


def _hash(left: Grid) -> _Hash:
    back: Grid = np.linalg.pinv(left).astype(np.float64)
    return _Hash(left, back)


@cache
def _phash() -> _Hash:
    unit = Image.fromarray(np.eye(SIDE, dtype=np.float32))
    shrunk = unit.resize((SIDE, CELLS), Image.Resampling.LANCZOS)
    frequency, place = np.arange(BITS_SIDE)[:, None], np.arange(CELLS)[None, :]
    rows = 2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * CELLS))
    left: Grid = rows @ np.asarray(shrunk, np.float64)
    return _hash(left)
