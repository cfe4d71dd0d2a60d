"""Finds the pictures fingerprinted here whose PDQ is near given codes: all of them, exactly.

Decides nothing of what a neighbour means: near clean (`twins`) asks for one picture's neighbours,
others for those of many codes. Follows the table `prints`, whose ids only grow and whose rows
never change; a picture of quality under 50 is never matched, for its hash collides. How codes are
found and kept in files is left to `cache.index`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, bindparam, select

from cache.errors import IndexDamaged
from cache.index.crowding import Crowding
from cache.index.followed import Followed, Merging
from cache.index.generation import Anchor
from cache.index.hamming import Hits, Moment
from cache.index.near import MIN_QUALITY
from cache.index.segment import Budget
from cache.index.table import MAX_ANCHORS, Changes, entries_at
from cache.index.words import CODE_BYTES, words_of
from cache.settings import IndexSettings
from cache.storage.case_tables import prints
from cache.storage.prepared import Prepared
from cache.storage.tables import images

PDQ = "pdq"
CODES_AT_ONCE = 256
WITHOUT_LIMIT = 1 << 60

_NEW = Prepared(
    select(prints.c.id, images.c.id.label("image_id"), images.c.pdq, images.c.pdq_quality)
    .join_from(prints, images, images.c.id == prints.c.image_id)
    .where(prints.c.id > bindparam("since"))
    .order_by(prints.c.id)
    .limit(bindparam("most"))
)


class PrintsTable:
    """The table `prints` as an index follows it."""

    name = "prints"
    parts: Mapping[str, Crowding | None] = {PDQ: None}

    def changes(self, connection: Connection, since: int, limit: int) -> Changes:
        """Return the first pictures that came after `since`."""
        rows = _NEW.rows(connection, since=since, most=limit)
        ids, image_ids = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(2))
        codes = [_usable(pdq, quality) for _, _, pdq, quality in rows]
        part = entries_at(ids, image_ids, np.zeros_like(ids), codes)
        last = [_anchor(row, pdq) for row, _, pdq, _ in rows[-MAX_ANCHORS:]]
        return Changes(ids, ids, {PDQ: part}, last)

    def anchors(self, connection: Connection, rows: Sequence[int]) -> Sequence[Anchor]:
        """Return these pictures as they are now."""
        found = connection.execute(
            select(prints.c.id, images.c.pdq)
            .join_from(prints, images, images.c.id == prints.c.image_id)
            .where(prints.c.id.in_(rows))
        )
        return [_anchor(row, pdq) for row, pdq in found]


class PrintedIndex:
    """The PDQ codes of all pictures fingerprinted here; any thread may refresh and search."""

    def __init__(self, folder: Path | None = None, settings: IndexSettings | None = None) -> None:
        table, limits = PrintsTable(), settings or IndexSettings()
        merging = Merging(limits.merge_rows, limits.merge_percent)
        self.followed = Followed(table, folder / table.name if folder else None, merging)

    def __len__(self) -> int:
        return self.followed.state.moments[PDQ].count()

    def refresh(self, connection: Connection) -> None:
        """Take over the pictures that came since the last call; never from within a write."""
        self.followed.refresh(connection)

    def within(self, variants: Sequence[bytes], radius: int) -> list[tuple[int, int]]:
        """Return (image_id, distance in bits) of every picture within `radius`, nearest first.

        `variants` are codes of one picture; the nearest of them counts. Raises IndexDamaged.
        """
        nearest: dict[int, int] = {}
        for _, image_id, distance in self.match(variants, radius):
            nearest[image_id] = min(distance, nearest.get(image_id, distance))
        return sorted(nearest.items(), key=lambda found: (found[1], found[0]))

    def match(self, codes: Sequence[bytes], radius: int) -> list[tuple[int, int, int]]:
        """Return (i, image_id, distance) for every picture within `radius` bits of `codes[i]`.

        Waits until files that were just opened are verified; raises IndexDamaged where they are
        not as they were written. The next `refresh` mends that.
        """
        moment = self._trusted()
        return [
            hit for first, hits in _matched(moment, codes, radius) for hit in _rows(first, hits)
        ]

    def _trusted(self) -> Moment:
        if not self.followed.state.is_trusted:
            self.followed.settle()
        state = self.followed.state
        if not state.is_trusted:
            raise IndexDamaged("The index of pictures is being built again; ask again.")
        return state.moments[PDQ]


def _matched(moment: Moment, codes: Sequence[bytes], radius: int) -> Iterator[tuple[int, Hits]]:
    for first in range(0, len(codes), CODES_AT_ONCE):
        some = words_of(codes[first : first + CODES_AT_ONCE])
        yield first, moment.search(some, radius, Budget(WITHOUT_LIMIT))


def _rows(first: int, hits: Hits) -> Iterator[tuple[int, int, int]]:
    numbers = (hits.queries + first).tolist()
    return zip(numbers, hits.image_ids.tolist(), hits.distances.tolist(), strict=True)


def _anchor(row: int, pdq: bytes | None) -> Anchor:
    return Anchor(row, row, (pdq or b"").hex())


def _usable(pdq: bytes | None, quality: int | None) -> bytes | None:
    if pdq is None or quality is None or quality < MIN_QUALITY or len(pdq) != CODE_BYTES:
        return None
    return pdq
