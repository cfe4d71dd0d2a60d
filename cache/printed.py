"""Finds the pictures fingerprinted here whose PDQ is near given codes: all of them, exactly.

Decides nothing of what a neighbour means: near clean (`twins`) asks for one picture's neighbours,
retro-action for those of many new codes. Follows the table `prints`, whose ids only grow; a
picture of quality under 50 is never matched, for its hash collides.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select

from cache.case_tables import prints
from cache.near import CODE_BYTES, MIN_QUALITY
from cache.prepared import Prepared
from cache.snapshot import Snapshot, snapshot_of
from cache.tables import images

_NEW = Prepared(
    select(prints.c.id, images.c.id.label("image_id"), images.c.pdq, images.c.pdq_quality)
    .join_from(prints, images, images.c.id == prints.c.image_id)
    .where(prints.c.id > bindparam("since"))
    .order_by(prints.c.id)
)

Words = NDArray[np.uint64]


class PrintedIndex:
    """The PDQ codes of all pictures fingerprinted here; any thread may refresh and search."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0
        self._snapshot: Snapshot | None = None
        self._image_ids = np.zeros(0, dtype=np.int64)
        self._words: Words = np.zeros((4, 0), dtype=np.uint64)  # a column a word

    def __len__(self) -> int:
        return len(self._image_ids)

    def refresh(self, connection: Connection) -> None:
        """Take over the pictures that came since the last call; never from within a write."""
        snapshot = snapshot_of(connection)
        if snapshot is not None and snapshot is self._snapshot:
            return
        with self._lock:
            rows = _NEW.rows(connection, since=self._since)
            if rows:
                self._take(rows)
            self._snapshot = snapshot

    def within(self, variants: Sequence[bytes], radius: int) -> list[tuple[int, int]]:
        """Return (image_id, distance in bits) of every picture within `radius`, nearest first.

        `variants` are codes of one picture; the nearest of them counts.
        """
        nearest: dict[int, int] = {}
        for _, image_id, distance in self.match(variants, radius):
            nearest[image_id] = min(distance, nearest.get(image_id, distance))
        return sorted(nearest.items(), key=lambda found: (found[1], found[0]))

    def match(self, codes: Sequence[bytes], radius: int) -> list[tuple[int, int, int]]:
        """Return (i, image_id, distance) for every picture within `radius` bits of `codes[i]`."""
        with self._lock:
            image_ids, words = self._image_ids, self._words
        found: list[tuple[int, int, int]] = []
        for i, code in enumerate(codes):
            distances = _distances(words, code)
            at = np.flatnonzero(distances <= radius)
            found += [(i, int(image_ids[j]), int(distances[j])) for j in at]
        return found

    def _take(self, rows: Sequence[Sequence[object]]) -> None:
        usable = [row for row in rows if _is_usable(row[2], row[3])]
        ids = np.array([row[1] for row in usable], dtype=np.int64)
        flat = np.frombuffer(b"".join([row[2] for row in usable]), dtype=np.uint64)  # type: ignore[misc]
        self._image_ids = np.concatenate([self._image_ids, ids])
        self._words = np.concatenate([self._words, flat.reshape(-1, 4).T], axis=1)
        self._since = rows[-1][0]  # type: ignore[assignment]


def _is_usable(pdq: object, quality: object) -> bool:
    return (
        isinstance(pdq, bytes)
        and len(pdq) == CODE_BYTES
        and isinstance(quality, int)
        and quality >= MIN_QUALITY
    )


def _distances(words: Words, code: bytes) -> NDArray[np.uint16]:
    total = np.zeros(words.shape[1], dtype=np.uint16)
    for column, word in zip(words, np.frombuffer(code, dtype=np.uint64), strict=True):
        total += np.bitwise_count(column ^ word)
    return total
