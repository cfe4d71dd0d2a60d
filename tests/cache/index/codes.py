"""Codes for the tests of the index: random ones, near ones, and brute force."""

import numpy as np

from cache.index.entries import Entries
from cache.index.words import words_of


def random_codes(random, number):
    return [random.bytes(32) for _ in range(number)]


def noisy(random, code, bits):
    """The code with that many of its bits changed, anywhere."""
    value = int.from_bytes(code, "big")
    for at in random.choice(256, bits, replace=False):
        value ^= 1 << int(at)
    return value.to_bytes(32, "big")


def bits_between(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def entries(codes, ids=None, owners=None):
    """Entries with ids 1, 2, ..., image ids ten times as great, and owner 2 (a peer)."""
    numbers = np.arange(1, len(codes) + 1) if ids is None else np.array(ids, dtype=np.int64)
    whose = np.full(len(codes), 2) if owners is None else np.array(owners, dtype=np.int64)
    return Entries(numbers, numbers * 10, whose, words_of(codes))


def crowd(seed, number):
    """Random codes, half of them near one another, some equal."""
    random = np.random.default_rng(seed)
    codes = random_codes(random, max(1, number // 2))
    while len(codes) < number:
        codes.append(noisy(random, codes[0], int(random.integers(0, 70))))
    codes[-3:] = codes[:3]
    return codes
