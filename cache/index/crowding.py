"""Limits what one peer's codes may cost: how many there are, and how densely they lie.

Decides which codes of a peer stand for others: where more than `ball_codes` of them lie within
8 bits of one, that one stands for all, each under its own id. Our own codes are never folded. A
search that comes within 8 bits of reaching a folded code says that it may have left some out, so
nothing is lost by folding. Folding is done when a base is built: what came since is compared in
passing and costs the same wherever it lies.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cache.index.bands import BANDS, KEYS
from cache.index.building import build
from cache.index.entries import Entries, is_own
from cache.index.segment import Budget, Segment
from cache.index.words import WORDS, Integers, Words

BALL_BITS = 8
"""How far from one code others lie that it may stand for."""

SHARED_BANDS = BANDS - BALL_BITS

FOLD_WORK = 200_000_000
"""Codes fetched to find the balls of one build, some 3 s. What is left then stays unfolded: it
costs its searches their budget, and they say so."""

TRY_WORK = 4_000
"""What looking for one ball costs at least, in codes fetched."""


@dataclass(frozen=True, slots=True)
class Crowding:
    """A peer's limits, in codes."""

    peer_codes: int
    ball_codes: int


def built(entries: Entries, crowding: Crowding | None, crowded: Words | None = None) -> Segment:
    """Return a segment of the entries with each dense ball's codes made one.

    `crowded` are codes that stood for others before.
    """
    segment = build(entries, crowded)
    if crowding is None or not _may_be_dense(segment, crowding.ball_codes):
        return segment
    found = _Balls(segment, crowding.ball_codes)
    leaders = found.fold()
    if not found.has_changed:
        return segment
    before = leaders[:0] if crowded is None else crowded
    return build(found.entries, np.concatenate([before, leaders]))


def kept_under(limit: int, owners: Integers, held: dict[int, int]) -> NDArray[np.bool_]:
    """Tell which new entries, in order, a peer may still add; `held` is how many each has.

    Our own are not limited.
    """
    kept = np.ones(len(owners), dtype=np.bool_)
    for owner in np.unique(owners[~is_own(owners)]).tolist():
        theirs = np.flatnonzero(owners == owner)
        kept[theirs[max(0, limit - held.get(owner, 0)) :]] = False
    return kept


def _may_be_dense(segment: Segment, ball_codes: int) -> bool:
    """Tell whether the fullest keys hold enough entries for a ball; costs next to nothing."""
    sizes = np.diff(segment.offsets.reshape(BANDS, KEYS + 1).astype(np.int64), axis=1)
    most_equal = int(segment.counts().max(initial=1))
    return int(sizes.max(axis=1).sum()) * most_equal > SHARED_BANDS * ball_codes


class _Balls:
    """Finds the dense balls of one segment, oldest code first."""

    def __init__(self, segment: Segment, ball_codes: int) -> None:
        self._segment, self._ball_codes = segment, ball_codes
        self.entries = segment.all_entries()
        self.has_changed = False
        self._is_folded = np.zeros(len(segment), dtype=np.bool_)

    def fold(self) -> Words:
        """Give the entries of each ball the code of its first, and return those codes."""
        leaders, budget = [], Budget(FOLD_WORK)
        self._grow_older_balls(budget)
        for position in self._suspects().tolist():
            if self._is_folded[position]:
                continue
            members = self._members(position, budget)
            budget.left -= TRY_WORK
            if budget.is_spent:
                break
            if len(members) > self._ball_codes:
                leader = self.entries.codes[position].copy()
                self._own_codes()[members] = leader
                self._is_folded[members] = True
                leaders.append(leader)
        return np.array(leaders, dtype=np.uint64).reshape(-1, WORDS)

    def _grow_older_balls(self, budget: Budget) -> None:
        """Let balls of earlier builds take in what came since; no code is moved twice."""
        equal = [
            self._segment.entries_of(np.array([place]), None)[0]
            for place in self._segment.crowds.tolist()
        ]
        for positions in equal:
            owners, first = np.unique(self.entries.owners[positions], return_index=True)
            for position in positions[first[~is_own(owners)]].tolist():
                members = self._members(position, budget)
                if len(members) > self._ball_codes and not budget.is_spent:
                    self._own_codes()[members] = self.entries.codes[position].copy()
                    self._is_folded[members] = True
            self._is_folded[positions] = True

    def _own_codes(self) -> Words:
        """Return the entries' codes, no longer those of the segment."""
        if not self.has_changed:
            self.entries = replace(self.entries, codes=self.entries.codes.copy())
            self.has_changed = True
        return self.entries.codes

    def _members(self, position: int, budget: Budget) -> Integers:
        """Return the entries of the same owner within a ball, those of other balls left out."""
        code = self.entries.codes[position : position + 1]
        places = self._segment.search(code, BALL_BITS, budget).places
        members, _, _ = self._segment.entries_of(places, None)
        same = self.entries.owners[members] == self.entries.owners[position]
        free: Integers = members[same & ~self._is_folded[members]]
        return free

    def _suspects(self) -> Integers:
        """Return peers' entries that may have a dense ball around them, by id.

        8 bits spoil at most 8 bands: whoever is in a ball shares at least 8 of 16 bands with the
        code in its middle.
        """
        peers = np.flatnonzero(~is_own(self.entries.owners))
        keys = self.entries.codes.take(peers, axis=0).view(np.uint16)
        sharing = np.zeros(len(peers), dtype=np.int64)
        for band in range(BANDS):
            sharing += np.bincount(keys[:, band], minlength=KEYS)[keys[:, band]]
        suspects = peers[sharing > SHARED_BANDS * self._ball_codes]
        by_id: Integers = suspects[np.argsort(self.entries.ids[suspects], kind="stable")]
        return by_id
