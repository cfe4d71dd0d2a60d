"""What an index asks of the table that it follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sqlalchemy import Connection

from cache.index.crowding import Crowding
from cache.index.entries import Entries
from cache.index.generation import Anchor
from cache.index.words import Integers, words_of

MAX_ANCHORS = 64
"""How many of the table's last rows a generation knows, to tell whether it is of that table."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of the table that changed, in the order of their sequence."""

    ids: Integers
    sequence: Integers
    parts: Mapping[str, tuple[Integers, Entries]]  # which rows have an entry there now, and it
    anchors: Sequence[Anchor]

    def __len__(self) -> int:
        return len(self.ids)


class Table(Protocol):
    """A table to follow: each change of a row gives it a new, higher sequence number."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def parts(self) -> Mapping[str, Crowding | None]:
        """The kinds of code that an index is kept of, and what limits them."""

    def changes(self, connection: Connection, since: int, limit: int) -> Changes:
        """Return the first rows that changed after `since`."""

    def anchors(self, connection: Connection, rows: Sequence[int]) -> Sequence[Anchor]:
        """Return these rows as they are now."""


def entries_at(
    ids: Integers, image_ids: Integers, owners: Integers, codes: Sequence[bytes | None]
) -> tuple[Integers, Entries]:
    """Return which rows have a code, and their entries."""
    at = np.array([i for i, code in enumerate(codes) if code is not None], dtype=np.int64)
    words = words_of([code for code in codes if code is not None])
    return at, Entries(ids[at], image_ids[at], owners[at], words)
