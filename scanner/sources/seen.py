"""Remembers what a watch has given already, in 8 bytes an item.

Every item is remembered by a keyed 64-bit digest of its key and mark: with ten million items the
chance that a new one is taken for an old one is 1 in 10^12, and nobody without the process's
secret can make it happen. What a whole listing no longer holds is dropped with the next.
"""

import hashlib
import os

import numpy as np
import numpy.typing as npt

from scanner.sources.source import Item, Report

TOLD_MAX = 10_000
"""Sentences that are told once; further ones are told each time."""
FRESH = 65_536
"""Digests kept in a set before they are merged into the sorted array."""


class Seen:
    """Which items were given; past `limit` items, further ones are given again at each listing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._secret = os.urandom(16)
        self._before: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._now: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._fresh: set[int] = set()
        self._forgotten: set[int] = set()

    def is_new(self, item: Item) -> bool:
        """Tell whether an item was not given yet, and remember it."""
        digest = self._digest(item)
        known = digest in self._fresh or _holds(self._now, digest)
        if not known:
            self._remember(digest)
            known = _holds(self._before, digest)
        if digest in self._forgotten:
            self._forgotten.discard(digest)
            return True
        return not known

    def forget(self, item: Item) -> None:
        """Take an item for new once more."""
        if len(self._forgotten) < self._limit:
            self._forgotten.add(self._digest(item))

    def turn(self) -> None:
        """A whole listing has ended: drop what it did not hold and was not met since."""
        self._merge()
        self._before, self._now = self._now, np.empty(0, np.uint64)

    def _remember(self, digest: int) -> None:
        if len(self._now) + len(self._fresh) >= self._limit:
            return
        self._fresh.add(digest)
        if len(self._fresh) == FRESH:
            self._merge()

    def _merge(self) -> None:
        fresh = np.fromiter(self._fresh, np.uint64, len(self._fresh))
        self._now = np.union1d(self._now, fresh)
        self._fresh = set()

    def _digest(self, item: Item) -> int:
        text = f"{len(item.key)} {item.key}{item.mark}".encode(errors="surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big")


class Told:
    """Tells each sentence once, however often a listing comes upon its cause."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: set[int] = set()

    def __call__(self, sentence: str) -> None:
        """Tell a sentence that was not told yet."""
        if hash(sentence) in self._told:
            return
        if len(self._told) < TOLD_MAX:
            self._told.add(hash(sentence))
        self._report(sentence)


def _holds(digests: npt.NDArray[np.uint64], digest: int) -> bool:
    index = int(np.searchsorted(digests, np.uint64(digest)))
    return index < len(digests) and int(digests[index]) == digest
