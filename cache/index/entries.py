"""What an index holds: rows of a table, each with its code, its picture and its owner."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.index.words import WORDS, Integers, Words


@dataclass(frozen=True, slots=True)
class Entries:
    """Parallel arrays, one entry a row of the table; an owner is odd where it is ourselves."""

    ids: Integers
    image_ids: Integers
    owners: Integers
    codes: Words  # (n, 4)

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, positions: Integers) -> "Entries":
        """Return the entries at these positions."""
        return Entries(
            self.ids.take(positions),
            self.image_ids.take(positions),
            self.owners.take(positions),
            self.codes.take(positions, axis=0),
        )

    def under(self, mask: NDArray[np.bool_]) -> "Entries":
        """Return the entries under the mask."""
        return self if bool(mask.all()) else self.at(np.flatnonzero(mask))


def no_entries() -> Entries:
    """Return none."""
    nothing = np.zeros(0, dtype=np.int64)
    return Entries(nothing, nothing, nothing, np.zeros((0, WORDS), dtype=np.uint64))


def joined(parts: Sequence[Entries]) -> Entries:
    """Return the entries of all parts, in order."""
    if not parts:
        return no_entries()
    return Entries(
        np.concatenate([part.ids for part in parts]).astype(np.int64, copy=False),
        np.concatenate([part.image_ids for part in parts]).astype(np.int64, copy=False),
        np.concatenate([part.owners for part in parts]).astype(np.int64, copy=False),
        np.concatenate([part.codes for part in parts]),
    )


def is_own(owners: Integers) -> NDArray[np.bool_]:
    """Tell which owners are this instance itself."""
    return (owners & 1).astype(np.bool_)
