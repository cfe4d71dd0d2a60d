"""The index over one kind of code: an immutable base, what came since, and what has gone.

Decides which entries count: of a row that changed since the base was built, what stands in the
delta, and nothing else. Exact, up to limits that a search tells of (`Hits.complete`). Who
calls from several threads takes a `Moment` under its own lock and searches that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.index.building import build
from cache.index.crowding import BALL_BITS, Crowding, built, kept_under
from cache.index.delta import Delta, View
from cache.index.entries import Entries, joined, no_entries
from cache.index.segment import Budget, Segment
from cache.index.words import Distances, Integers, Words, set_bits

COMPACT_ROWS = 1_000
"""How many dead entries the delta may have beyond as many as live."""

FEW_OWNERS = 1 << 20

MAX_EQUAL = 512
"""How many entries of one owner a code may show in one search, where searches are limited."""

MAX_HITS = 100_000
"""How many codes a limited search may find; past it, it gives up and says so."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Entries found, parallel arrays; an entry may stand twice for two queries, never for one."""

    queries: Integers
    ids: Integers
    image_ids: Integers
    owners: Integers
    distances: Distances  # bits
    complete: bool

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Moment:
    """An index as it stands now, to be searched by any thread."""

    base: Segment
    view: View
    hidden: frozenset[int]  # rows of the base that changed since
    is_limited: bool

    def count(self) -> int:
        """Return how many entries count."""
        return int(self.counting().sum()) + int(self.view.alive.sum())

    def counting(self) -> NDArray[np.bool_]:
        """Tell which entries of the base count."""
        if not self.hidden:
            return np.ones(len(self.base), dtype=np.bool_)
        gone = np.fromiter(self.hidden, dtype=np.int64, count=len(self.hidden))
        return ~np.isin(self.base.ids, gone)

    def search(self, queries: Words, radius: int, budget: Budget) -> Hits:
        """Return every entry within `radius` bits of each of (k, 4) queries."""
        base = self._in_base(queries, radius, budget)
        recent = [self._in_delta(query, row, radius) for query, row in enumerate(queries)]
        parts = [part for part in (base, *recent) if len(part)]
        complete = base.complete and self._reaches_no_crowd(queries, radius)
        if len(parts) == 1:
            only = parts[0]
            fields = (only.queries, only.ids, only.image_ids, only.owners, only.distances)
            return Hits(*fields, complete=complete)
        return _all(parts, complete=complete)

    def _in_base(self, queries: Words, radius: int, budget: Budget) -> Hits:
        spent_before, budget.is_spent = budget.is_spent, False
        found = self.base.search(queries, radius, budget)
        complete, budget.is_spent = not budget.is_spent, budget.is_spent or spent_before
        places, most = found.places, MAX_EQUAL if self.is_limited else None
        if self.is_limited and len(places) > MAX_HITS:
            places, complete = places[:MAX_HITS], False
        if not len(places):
            return _all([], complete=complete)
        positions, numbers, all_taken = self.base.entries_of(places, most)
        ids = self.base.ids[positions].astype(np.int64)
        if self.hidden:
            count = [row not in self.hidden for row in ids.tolist()]
            positions, numbers, ids = positions[count], numbers[count], ids[count]
        return Hits(
            found.queries[numbers],
            ids,
            self.base.image_ids[positions].astype(np.int64),
            self.base.owners[positions].astype(np.int64),
            found.distances[numbers],
            complete and all_taken,
        )

    def _in_delta(self, query: int, row: Words, radius: int) -> Hits:
        if not len(self.view.ids):
            return _all([], complete=True)
        at, bits = self.view.search(row, radius)
        asking, ids = np.full(len(at), query), self.view.ids[at]
        return Hits(asking, ids, self.view.image_ids[at], self.view.owners[at], bits, True)

    def _reaches_no_crowd(self, queries: Words, radius: int) -> bool:
        """Tell whether no folded code can be within reach: it lies near the one it is shown by."""
        if not len(self.base.crowds):
            return True
        crowds = self.base.codes.take(self.base.crowds, axis=0)
        return not any(
            bool((set_bits(crowds ^ np.tile(row, (len(crowds), 1))) <= radius + BALL_BITS).any())
            for row in queries
        )


class HammingIndex:
    """Takes changes in, and gives moments to search; not for several threads at once.

    A moment never changes, so nothing that a search is to see can slip away under it.
    """

    def __init__(self, crowding: Crowding | None = None) -> None:
        self.crowding = crowding
        self._delta = Delta()
        self._last_id: int | None = None  # the greatest of the base, once it was needed
        self._log: dict[int, int] = {}  # every row that changed since the base: its sequence
        self.use(build(no_entries()), 0)

    def use(self, base: Segment, sequence: int) -> None:
        """Search `base` from now on, which holds every change up to `sequence`; keep later ones."""
        self._base, self._last_id = base, None
        self._delta = self._delta.since(sequence)
        self._log = {row: number for row, number in self._log.items() if number > sequence}
        self._hidden = self._of_base(self._log)
        self._held: dict[int, int] | None = None

    @property
    def changes(self) -> int:
        """Return how many changes the base does not hold yet."""
        return max(len(self._log), len(self._delta))

    @property
    def base_codes(self) -> int:
        """Return how many entries the base has."""
        return len(self._base)

    def __len__(self) -> int:
        """Return how many entries count."""
        return self.moment().count()

    def moment(self) -> Moment:
        """Return the index as it stands."""
        return Moment(self._base, self._delta.view, self._hidden, self.crowding is not None)

    def apply(self, rows: Integers, sequence: Integers, entries: Entries, at: Integers) -> None:
        """Take changes in: the ids of all rows that changed, and the entries that stand now.

        `sequence` numbers the rows, `at` says which of them each entry is.
        """
        self._log.update(zip(rows.tolist(), sequence.tolist(), strict=True))
        if older := self._of_base(rows.tolist()):
            self._hidden |= older
        gone = self._delta.drop(rows.tolist())
        if self.crowding is not None:
            kept = self._kept(entries.owners, gone, self.crowding)
            entries, at = entries.under(kept), at[kept]
        self._delta.append(entries, sequence[at])
        if len(self._delta) > 2 * self._delta.living + COMPACT_ROWS:
            self._delta = self._delta.since(0)

    def _kept(self, owners: Integers, gone: Sequence[int], crowding: Crowding) -> NDArray[np.bool_]:
        """Tell which new entries are within their owner's limit, and count them."""
        if self._held is None:
            self._held = _counted(self.moment())
        else:
            _add(self._held, np.array(gone, dtype=np.int64), -1)
        kept = kept_under(crowding.peer_codes, owners, self._held)
        if not bool(kept.all()):
            self._held = _counted(self.moment())  # what left the base was not taken off yet
            kept = kept_under(crowding.peer_codes, owners, self._held)
        _add(self._held, owners[kept])
        return kept

    def _of_base(self, rows: Iterable[int]) -> frozenset[int]:
        """Return those of the rows that may be in the base; newer ones have greater ids."""
        rows = list(rows)
        if not rows or not len(self._base):
            return frozenset()
        if self._last_id is None:
            self._last_id = int(self._base.ids.max())
        last = self._last_id
        return frozenset(row for row in rows if row <= last)


def merged(moment: Moment, crowding: Crowding | None) -> Segment:
    """Return a base of all that counts in a moment."""
    old = moment.base.all_entries()
    old = old.under(moment.counting())
    crowded = moment.base.codes.take(moment.base.crowds, axis=0)
    return built(joined([old, moment.view.entries()]), crowding, crowded)


def loaded(entries: Entries, crowding: Crowding | None) -> Segment:
    """Return a base of entries read from the table in the order of their changes."""
    if crowding is not None:
        entries = entries.under(kept_under(crowding.peer_codes, entries.owners, {}))
    return built(entries, crowding)


def _all(parts: list[Hits], *, complete: bool) -> Hits:
    nothing = np.zeros(0, dtype=np.int64)
    return Hits(
        np.concatenate([nothing, *(part.queries for part in parts)]),
        np.concatenate([nothing, *(part.ids for part in parts)]),
        np.concatenate([nothing, *(part.image_ids for part in parts)]),
        np.concatenate([nothing, *(part.owners for part in parts)]),
        np.concatenate([nothing.astype(np.uint32), *(part.distances for part in parts)]),
        complete,
    )


def _counted(moment: Moment) -> dict[int, int]:
    """Return how many entries each peer has."""
    counts: dict[int, int] = {}
    _add(counts, moment.base.owners[moment.counting()])
    _add(counts, moment.view.owners[moment.view.alive])
    return counts


def _add(counts: dict[int, int], owners: NDArray[np.integer], sign: int = 1) -> None:
    """Count peers' owners in, or out."""
    if not len(owners):
        return
    if owners.max() < FEW_OWNERS:  # counting is far quicker than sorting
        numbers = np.bincount(owners)
        found = np.flatnonzero(numbers)
        numbers = numbers[found]
    else:
        found, numbers = np.unique_counts(owners)
    for owner, number in zip(found.tolist(), numbers.tolist(), strict=True):
        if not owner & 1:
            counts[owner] = counts.get(owner, 0) + sign * number
