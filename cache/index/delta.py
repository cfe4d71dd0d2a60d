"""What came after the base: a plain array, compared column by column.

An entry that changes again, or goes, is marked dead. Whoever searches holds a `View`, which never
changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.index.entries import Entries
from cache.index.words import WORDS, Distances, Integers, Words

FIRST_ROOM = 64


@dataclass(frozen=True, slots=True)
class View:
    """The delta as it stood."""

    columns: Words  # (4, n)
    ids: Integers
    image_ids: Integers
    owners: Integers
    alive: NDArray[np.bool_]

    def search(self, query: NDArray[np.uint64], radius: int) -> tuple[Integers, Distances]:
        """Return the positions of all living entries within `radius` bits, and how far they are."""
        bits = np.zeros(len(self.ids), dtype=np.uint16)
        for column, word in zip(self.columns, query, strict=True):
            bits += np.bitwise_count(column ^ word)
        near = np.flatnonzero((bits <= radius) & self.alive)
        return near, bits[near].astype(np.uint32)

    def entries(self) -> Entries:
        """Return the living entries."""
        codes = np.ascontiguousarray(self.columns.T)
        return Entries(self.ids, self.image_ids, self.owners, codes).under(self.alive)


class Delta:
    """Grows at its end; not for several threads at once."""

    def __init__(self) -> None:
        self._used = 0
        self._columns = np.zeros((WORDS, FIRST_ROOM), dtype=np.uint64)
        self._rest = np.zeros((4, FIRST_ROOM), dtype=np.int64)  # ids, images, owners, sequence
        self._alive = np.zeros(FIRST_ROOM, dtype=np.bool_)
        self._positions: dict[int, int] = {}  # of the living, by id
        self.view = self._view()

    def __len__(self) -> int:
        """Return how many entries take up room, dead ones too."""
        return self._used

    @property
    def living(self) -> int:
        """Return how many entries are not dead."""
        return len(self._positions)

    def drop(self, ids: Iterable[int]) -> list[int]:
        """Mark entries dead, as far as they are here; returns their owners."""
        found = [self._positions.pop(one) for one in ids if one in self._positions]
        if found:
            self._alive = self._alive.copy()  # views hold the other
            self._alive[found] = False
            self.view = self._view()
        owners: list[int] = self._rest[2, found].tolist()
        return owners

    def append(self, entries: Entries, sequence: Integers) -> None:
        """Take entries, none of which is here, and the numbers of their changes."""
        if not len(entries):
            return
        begin, end = self._used, self._used + len(entries)
        self._make_room(end)
        self._columns[:, begin:end] = entries.codes.T
        for row, values in enumerate((entries.ids, entries.image_ids, entries.owners, sequence)):
            self._rest[row, begin:end] = values
        self._alive[begin:end] = True
        self._positions.update(zip(entries.ids.tolist(), range(begin, end), strict=True))
        self._used = end
        self.view = self._view()

    def since(self, sequence: int) -> "Delta":
        """Return a delta of the living entries that changed after `sequence`."""
        later = Delta()
        numbers = self._rest[3, : self._used]
        keep = np.flatnonzero((numbers > sequence) & self._alive[: self._used])
        everything = self.view
        codes = np.ascontiguousarray(everything.columns[:, keep].T)
        ids, images, owners = (self._rest[row, keep] for row in range(3))
        later.append(Entries(ids, images, owners, codes), numbers[keep])
        return later

    def _view(self) -> View:
        end = self._used
        ids, images, owners = (self._rest[row, :end] for row in range(3))
        return View(self._columns[:, :end], ids, images, owners, self._alive[:end])

    def _make_room(self, wanted: int) -> None:
        room = len(self._alive)
        if wanted <= room:
            return
        more = max(wanted, 2 * room) - room
        self._columns = np.pad(self._columns, ((0, 0), (0, more)))
        self._rest = np.pad(self._rest, ((0, 0), (0, more)))
        self._alive = np.pad(self._alive, (0, more))
