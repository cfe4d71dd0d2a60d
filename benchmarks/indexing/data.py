"""Codes and queries as they come: most pictures are near nothing that is stored, some are.

Random codes: PDQ's bits are balanced by construction (a median decides each), so the codes of
distinct pictures differ in about half of them. Every answer is held against brute force.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.index.words import Words

NEAR_SHARE = 0.2
"""Share of queries that lie within 40 bits of a stored code."""

FEDIVERDICT, PDQ_INDEX, MULTI_HASH, FLAT = (
    "fediverdict",
    "threatexchange PDQIndex",
    "faiss BinaryMultiHash 16x16",
    "faiss BinaryFlat",
)


@dataclass(frozen=True)
class Answers:
    """Which codes are within the radius of each query, by brute force."""

    queries: Words
    sets: list[set[int]]


def codes(number: int, seed: int = 1) -> Words:
    """Return (number, 4) random codes."""
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << 64, (number, 4), dtype=np.uint64)


def queries(stored: Words, number: int, seed: int = 2) -> Words:
    """Return queries, a fifth of them stored codes with 0 to 40 bits changed."""
    random = np.random.default_rng(seed)
    asked = codes(number, seed + 1_000)
    for at in range(int(number * NEAR_SHARE)):
        asked[at] = stored[int(random.integers(len(stored)))]
        for bit in random.choice(256, int(random.integers(0, 41)), replace=False).tolist():
            asked[at, bit // 64] ^= np.uint64(1 << (bit % 64))
    random.shuffle(asked)
    return asked


def brute_force(stored: Words, asked: Words, radius: int) -> Answers:
    """Compare every query with every code."""
    columns = np.ascontiguousarray(stored.T)
    return Answers(asked, [set(_near(columns, query, radius)) for query in asked])


def _near(columns: Words, query: NDArray[np.uint64], radius: int) -> list[int]:
    bits = np.zeros(columns.shape[1], dtype=np.uint16)
    for column, word in zip(columns, query, strict=True):
        bits += np.bitwise_count(column ^ word)
    found: list[int] = np.flatnonzero(bits <= radius).tolist()
    return found
