"""Codes of 256 bits as rows of four words, and the Hamming distance between them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CODE_BYTES = 32
WORDS = 4

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Distances = NDArray[np.uint32]

_EVEN_BYTES = np.uint32(0x00FF_00FF)
_LOW_HALF = np.uint32(0xFFFF)


def words_of(codes: Sequence[bytes]) -> Words:
    """Return codes of 32 bytes as (n, 4) words."""
    return np.frombuffer(b"".join(codes), dtype=np.uint64).reshape(-1, WORDS)


def set_bits(differing: Words) -> Distances:
    """Return how many bits are set in each row of (n, 4) words, contiguous: 0..256."""
    counts = np.bitwise_count(differing).view(np.uint32).reshape(-1)
    pairs = (counts & _EVEN_BYTES) + ((counts >> 8) & _EVEN_BYTES)  # 256 does not fit a byte
    total: Distances = (pairs + (pairs >> 16)) & _LOW_HALF
    return total
