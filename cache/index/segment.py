"""An immutable part of an index: multi-index hashing over distinct codes, in numpy arrays.

Decides exactly: every code within the radius is found, or the search says that it left some out.
For each of 16 bands the rows of the codes stand ordered by that band's key (`rows`), and
`offsets` says where each key's begin (compressed rows). Equal codes are one code with many
entries. Which entries still count is left to `hamming`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cache.index.bands import BANDS, KEYS, MAX_PROBED_RADIUS, Probes, probes
from cache.index.entries import Entries
from cache.index.words import Distances, Integers, Words, set_bits

CHUNK = 65_536
"""Codes compared at a time; some 6 MB."""

SCAN_FACTOR = 4
"""Comparing a code in passing costs a quarter of fetching it by its row."""

_BAND_STARTS = np.arange(BANDS, dtype=np.int64) * (KEYS + 1)


class Budget:
    """What a search may still spend, in codes fetched and compared."""

    __slots__ = ("is_spent", "left")

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.is_spent = False  # something was left out

    def take(self, costs: Integers) -> NDArray[np.bool_]:
        """Tell which of the costs, in order, can be paid, and pay them."""
        payable = np.cumsum(costs) <= self.left
        self.left -= int(costs[payable].sum())
        self.is_spent = self.is_spent or not bool(payable.all())
        return payable


@dataclass(frozen=True, slots=True)
class Found:
    """Codes found: for which query, at which place in the segment, how far (bits)."""

    queries: Integers
    places: Integers
    distances: Distances


@dataclass(frozen=True, slots=True)
class Segment:
    """The arrays, as they stand in files; a position in `ids` is an entry, in `codes` a place."""

    codes: Words  # (m, 4), distinct
    offsets: NDArray[np.uint32]  # (16 * 65,537)
    rows: NDArray[np.uint32]  # (16 * m)
    starts: NDArray[np.uint32]  # (m + 1) where each code's entries begin; (0) where each has one
    ids: NDArray[np.unsignedinteger]
    image_ids: NDArray[np.unsignedinteger]
    owners: NDArray[np.unsignedinteger]
    crowds: NDArray[np.uint32]  # places that stand for several codes of one owner

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: Words, radius: int, budget: Budget) -> Found:
        """Return every code within `radius` bits of each of (k, 4) queries, each once."""
        if not len(self.codes) or not len(queries):
            return _none()
        if radius > MAX_PROBED_RADIUS:
            return self._scanned(queries, np.arange(len(queries)), radius, budget)
        return self._probed(queries, radius, budget)

    def entries_of(self, places: Integers, most: int | None) -> tuple[Integers, Integers, bool]:
        """Return the entries of codes, at most `most` of an owner and code.

        Also for each the number of its place in `places`, and whether all were taken.
        """
        numbers = np.arange(len(places))
        if not len(self.starts):
            return places, numbers, True
        first = self.starts[places].astype(np.int64)
        counts = self.starts[places + 1].astype(np.int64) - first
        if most is None or int(counts.max(initial=0)) <= most:
            return spread(first, counts), np.repeat(numbers, counts), True
        return self._few_entries(first, counts, most)

    def counts(self) -> Integers:
        """Return how many entries each code has, where some have several."""
        return self.starts[1:].astype(np.int64) - self.starts[:-1]

    def all_entries(self) -> Entries:
        """Return every entry with its code."""
        codes = self.codes
        if len(self.starts):
            codes = np.repeat(codes, self.counts(), axis=0)
        wide = [one.astype(np.int64) for one in (self.ids, self.image_ids, self.owners)]
        return Entries(wide[0], wide[1], wide[2], codes)

    def _probed(self, queries: Words, radius: int, budget: Budget) -> Found:
        plan = probes(radius)
        starts, counts = self._buckets(queries, plan)
        totals = counts.sum(axis=1)
        crowded = (totals > CHUNK) & (totals * SCAN_FACTOR > len(self.codes))
        payable = budget.take(np.where(crowded, self._scan_cost(), totals))
        probed = np.flatnonzero(payable & ~crowded)
        parts = [self._fetched(queries, probed, starts[probed], counts[probed], radius)]
        if crowded.any():
            parts.append(self._compared(queries, np.flatnonzero(payable & crowded), radius))
        return _once(_joined(parts), len(self.codes))

    def _buckets(self, queries: Words, plan: Probes) -> tuple[Integers, Integers]:
        """Return (k, probes) where in `rows` each probe's bucket begins, and how long it is."""
        keys = queries.view(np.uint16)[:, plan.bands] ^ plan.masks
        slots = keys.astype(np.int64) + _BAND_STARTS[plan.bands]
        starts = self.offsets.take(slots).astype(np.int64)
        counts = self.offsets.take(slots + 1).astype(np.int64) - starts
        return starts + plan.bands * len(self.codes), counts

    def _fetched(
        self, queries: Words, which: Integers, starts: Integers, counts: Integers, radius: int
    ) -> Found:
        """Compare the queries with the codes of their buckets, some at a time."""
        owners = np.repeat(which, counts.shape[1])
        flat_starts, flat_counts = starts.reshape(-1), counts.reshape(-1)
        parts = []
        for begin, end in _pieces(flat_counts):
            some = flat_counts[begin:end]
            places = self.rows.take(spread(flat_starts[begin:end], some))
            asking = np.repeat(owners[begin:end], some)
            bits = set_bits(self.codes.take(places, axis=0) ^ queries.take(asking, axis=0))
            near = np.flatnonzero(bits <= radius)
            parts.append(Found(asking[near], places[near].astype(np.int64), bits[near]))
        return _joined(parts)

    def _scan_cost(self) -> int:
        return max(1, len(self.codes) // SCAN_FACTOR)

    def _scanned(self, queries: Words, which: Integers, radius: int, budget: Budget) -> Found:
        payable = budget.take(np.full(len(which), self._scan_cost(), dtype=np.int64))
        return self._compared(queries, which[payable], radius)

    def _compared(self, queries: Words, which: Integers, radius: int) -> Found:
        """Compare the queries with every code, in passing."""
        parts = []
        for query in which.tolist():
            row = np.tile(queries[query], (min(CHUNK, len(self.codes)), 1))
            for begin in range(0, len(self.codes), CHUNK):
                some = self.codes[begin : begin + CHUNK]
                bits = set_bits(some ^ row[: len(some)])
                near = np.flatnonzero(bits <= radius)
                parts.append(Found(np.full(len(near), query), near + begin, bits[near]))
        return _joined(parts)

    def _few_entries(
        self, first: Integers, counts: Integers, most: int
    ) -> tuple[Integers, Integers, bool]:
        """Do as `entries_of`, where a code has many; its entries stand ordered by owner."""
        taken, numbers, all_taken = [], [], True
        for number, (begin, count) in enumerate(zip(first.tolist(), counts.tolist(), strict=True)):
            at, end = begin, begin + count
            while at < end:
                owners = self.owners[at:end]
                behind = at + int(np.searchsorted(owners, owners[0], side="right"))
                some = np.arange(at, min(behind, at + most))
                taken.append(some)
                numbers.append(np.full(len(some), number))
                all_taken = all_taken and len(some) == behind - at
                at = behind
        return np.concatenate(taken), np.concatenate(numbers), all_taken


def spread(starts: Integers, counts: Integers) -> Integers:
    """Return starts[0], starts[0] + 1, ... (counts[0] of them), then those of starts[1], ..."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    positions = np.repeat(starts - (ends - counts), counts)
    positions += np.arange(total)
    return positions


def _pieces(counts: Integers) -> list[tuple[int, int]]:
    """Cut buckets into runs of about CHUNK codes."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    if total <= 2 * CHUNK:
        return [(0, len(counts))] if total else []
    cuts = np.searchsorted(ends, np.arange(CHUNK, total, CHUNK), side="left") + 1
    bounds = np.unique(np.concatenate([[0], cuts, [len(counts)]])).tolist()
    return list(pairwise(bounds))


def _none() -> Found:
    nothing = np.zeros(0, dtype=np.int64)
    return Found(nothing, nothing, nothing.astype(np.uint32))


def _joined(parts: list[Found]) -> Found:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return _none()
    return Found(
        np.concatenate([part.queries for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.distances for part in parts]),
    )


def _once(found: Found, places: int) -> Found:
    """Name each pair of query and place once: a code is met in every band that it is near in."""
    if len(found.places) < 2:
        return found
    _, first = np.unique(found.queries * places + found.places, return_index=True)
    return Found(found.queries[first], found.places[first], found.distances[first])
