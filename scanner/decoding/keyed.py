"""`keyed`: a sketch of a still picture under the instance's secret, for `decide.near_clean`.

Decides whether two pictures are copies of each other to all that a classifier sees: block by
block, in brightness and colour, up to 128 cycles a side. Each of 64 blocks gives 64 bits; a bit
is the sign of a square wave over a random projection of the block's DCT (universal quantisation:
Boufounos and Rane, "Secure Binary Embeddings for Privacy Preserving Nearest Neighbors", WIFS
2011). Its flips measure by how much a block changed in absolute terms, up to a little change;
past that every other bit flips, whatever the change. So there is no gradient to follow, a sticker
counts in its own block and does not drown in the rest, and a stolen sketch shows nothing without
the secret. Whoever knows everything but the secret can only keep each block close to the
original's, which leaves it that picture. Limits and figures: docs/decisions/0012.

A decoder process knows no secret: it hands out the `Small`, and the owner computes the sketch.
What viewers may show in more than one way has no `Small`, and so no sketch (`decoder_process`).
"""

import hashlib
from functools import cache, lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.decoding.thumbnail import SIDE

Floats = NDArray[np.float32]
LUMA_SIDE, CHROMA_SIDE = 256, 64
"""Pixels of a side; a classifier's view has 224 or so."""
SMALL_BYTES = LUMA_SIDE**2 + 2 * CHROMA_SIDE**2
GRID = 8
"""Blocks of a side."""
BITS = 64
"""Of a block."""
VERSION = 1
KEYED_BYTES = 1 + GRID * GRID * BITS // 8
STEP = 420.0
"""Half a period of the wave, in the length of a block's change (root of its sum of squares; a
grey level all over a block is 32)."""
MEAN_WEIGHT, CHROMA_WEIGHT = 0.25, 2.0
"""A block's mean moves by rounding alone; colour has a sixteenth of the pixels."""
FINE_CYCLES, FINEST_CYCLES, FINEST_WEIGHT = 32, 128, 0.3
"""From so many cycles a side on the weight of brightness falls to this: copies of another size
differ there."""
BLOCK_LIMIT = 18
"""Bits of one block that may differ; of unlike blocks, 32 do."""
WINDOW_LIMIT = 56
"""Bits of any 2x2 blocks."""
WHOLE_LIMIT = 614
"""Bits of all 4096."""


class _Key(NamedTuple):
    signs: Floats  # (64, n), +1 or -1: a block's own
    weights: Floats  # (n, 64), normal
    shifts: Floats  # (64, 64), 0..2: where each bit's wave begins


def small_of(frame: Image.Image) -> bytes:
    """Return what a sketch is made of: luma 256x256, Cb and Cr 64x64 each, of an RGB frame."""
    luma, *chroma = frame.convert("YCbCr").split()
    parts = [_reduced(luma, LUMA_SIDE), *(_reduced(one, CHROMA_SIDE) for one in chroma)]
    return b"".join(parts)


def keyed(small: bytes, secret: bytes) -> bytes:
    """Return the sketch (513 bytes, its version first) of a `small_of` under a secret."""
    key = _key(secret)
    phases = (_features(small) * key.signs) @ key.weights / np.float32(STEP) + key.shifts
    bits = np.floor(phases).astype(np.int64) & 1
    return bytes([VERSION]) + np.packbits(bits.astype(np.uint8)).tobytes()


class Distance(NamedTuple):
    """Bits that differ: in the worst block (of 64), the worst 2x2 (of 256), in all (of 4096)."""

    block: int
    window: int
    whole: int


def distance(first: bytes, second: bytes) -> Distance | None:
    """Return how far two sketches are apart, None where they cannot be compared."""
    if not (_is_sketch(first) and _is_sketch(second)):
        return None
    both = np.frombuffer(first, np.uint8, offset=1) ^ np.frombuffer(second, np.uint8, offset=1)
    blocks = np.bitwise_count(both).reshape(GRID, GRID, -1).sum(axis=2, dtype=np.int64)
    windows = blocks[1:, 1:] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[:-1, :-1]
    return Distance(int(blocks.max()), int(windows.max()), int(blocks.sum()))


def is_copy(first: bytes, second: bytes) -> bool:
    """Tell whether two sketches are those of copies of one picture."""
    found = distance(first, second)
    return found is not None and (
        found.block <= BLOCK_LIMIT and found.window <= WINDOW_LIMIT and found.whole <= WHOLE_LIMIT
    )


def _is_sketch(value: bytes) -> bool:
    return len(value) == KEYED_BYTES and value[0] == VERSION


def _reduced(channel: Image.Image, side: int) -> bytes:
    canonical = channel.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return canonical.resize((side, side), Image.Resampling.BOX).tobytes()


def _features(small: bytes) -> Floats:
    """Return the weighted DCT of each block, brightness then colour, (64, n)."""
    if len(small) != SMALL_BYTES:
        raise ValueError("no thumbnail to make a sketch of")
    pixels, luma, chroma = np.frombuffer(small, np.uint8), LUMA_SIDE**2, CHROMA_SIDE**2
    ends = ((0, luma), (luma, luma + chroma), (luma + chroma, SMALL_BYTES))
    parts = [_blocks(pixels[start:end]) for start, end in ends]
    parts[1] *= CHROMA_WEIGHT
    parts[2] *= CHROMA_WEIGHT
    return np.hstack(parts)


def _blocks(channel: NDArray[np.uint8]) -> Floats:
    side = int(channel.size**0.5) // GRID
    blocks = channel.reshape(GRID, side, GRID, side).transpose(0, 2, 1, 3).astype(np.float32)
    spectrum: Floats = (_dct(side) @ blocks @ _dct(side).T * _weights(side)).astype(np.float32)
    return spectrum.reshape(GRID * GRID, -1)


@cache
def _weights(side: int) -> Floats:
    """Return what each coefficient of a block of `side` pixels counts, (side, side)."""
    cycles = np.hypot(*np.mgrid[:side, :side]) * GRID / 2
    ends = ((FINE_CYCLES, FINEST_CYCLES), (1, FINEST_WEIGHT))
    weights: Floats = np.interp(cycles, *ends).astype(np.float32)
    weights[0, 0] = MEAN_WEIGHT
    return weights


@cache
def _dct(side: int) -> Floats:
    """Return the orthonormal DCT-II, (side, side)."""
    frequency, place = np.arange(side)[:, None], np.arange(side)[None, :]
    rows = np.sqrt(2 / side) * np.cos(np.pi / 2 / side * frequency * (2 * place + 1))
    rows[0] /= np.sqrt(2)
    single: Floats = rows.astype(np.float32)
    return single


@lru_cache(maxsize=64)  # an instance has one; whoever measures has many, 0.6 MB each
def _key(secret: bytes) -> _Key:
    """Return the projections of a secret; SHAKE-256, so that no release of numpy changes them."""
    count, blocks = SMALL_BYTES // (GRID * GRID), GRID * GRID
    sizes = (blocks * count // 8, count * BITS, blocks * BITS * 2)
    stream = hashlib.shake_256(b"fediverdict keyed 1\0" + secret).digest(sum(sizes))
    signs, weights, shifts = (
        np.frombuffer(stream, np.uint8, size, sum(sizes[:at])) for at, size in enumerate(sizes)
    )
    turns: Floats = np.unpackbits(signs).astype(np.float32) * 2 - 1
    begins: Floats = shifts.view("<u2").astype(np.float32) / np.float32(32_768)
    return _Key(
        turns.reshape(blocks, count),
        _normal()[weights].reshape(count, BITS),
        begins.reshape(blocks, BITS),
    )


def _normal() -> Floats:
    """Return the middles of 256 equally likely parts of the normal distribution.

    Normal, and not +1 or -1: else a change of one coefficient by a whole period flips nothing.
    """
    inverse = NormalDist().inv_cdf
    return np.array([inverse((place + 0.5) / 256) for place in range(256)], np.float32)
