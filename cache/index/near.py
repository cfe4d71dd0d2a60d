"""Finds stored codes near a picture's: every one, exactly, up to limits that it tells of.

Decides what is near (PDQ <= 31 bits, any of the eight dihedral variants) and what is probable
(PDQ 32..40, or pHash <= 47 to a code of our own; neither with dihedral variants). Pictures of
quality under 50 are never matched: their hashes collide. SQL is the truth: the index follows
the `changed` sequence of the table `codes`, in every process. How codes are found and kept in
files is left to `cache.index`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select

from cache.index.crowding import Crowding
from cache.index.followed import Followed, Merging, State
from cache.index.generation import Anchor
from cache.index.hamming import Hits
from cache.index.segment import Budget
from cache.index.table import MAX_ANCHORS, Changes, entries_at
from cache.index.words import CODE_BYTES, words_of
from cache.settings import IndexSettings
from cache.storage.prepared import Prepared
from cache.storage.tables import codes, issuers
from cache.verdict import SELF, MatchKind

__all__ = ["CODE_BYTES", "NearCode", "NearCodes", "NearIndex", "met_limit", "split_variants"]

NEAR_BITS = 31
PROBABLE_BITS = 40
PROBABLE_PHASH_BITS = 47
MIN_QUALITY = 50
MAX_OWN_HITS = 256
MAX_PEER_HITS = 32
"""How many codes of one peer are looked at for one picture, the nearest first."""
MAX_REMEMBERED = 10_000
"""How many answers are remembered; some 4 MB."""

PIECE = 32
"""How many pictures a thread takes at a time, where many are searched for."""

PDQ, PHASH = "pdq", "phash"

_COLUMNS = (
    codes.c.id,
    codes.c.changed,
    codes.c.image_id,
    codes.c.issuer_id,
    (issuers.c.origin == SELF).label("own"),
    codes.c.pdq,
    codes.c.pdq_quality,
    codes.c.phash,
    codes.c.withdrawn,
)
_CHANGED = Prepared(
    select(*_COLUMNS)
    .join_from(codes, issuers, issuers.c.id == codes.c.issuer_id)
    .where(codes.c.changed > bindparam("since"))
    .order_by(codes.c.changed)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class NearCode:
    """A code within reach: whose, of which picture, and how far (bits of PDQ, else of pHash)."""

    image_id: int
    issuer_id: int
    own: bool  # a code of this instance
    kind: MatchKind
    distance: int


class NearCodes(list[NearCode]):
    """What a search found; `cut` where it may have left some out."""

    __slots__ = ("cut",)

    def __init__(self, found: Sequence[NearCode] = (), *, cut: bool = False) -> None:
        super().__init__(found)
        self.cut = cut


class CodesTable:
    """The table `codes` as an index follows it: PDQ of everybody, pHash of our own."""

    name = "codes"

    def __init__(self, crowding: Crowding) -> None:
        self.parts: Mapping[str, Crowding | None] = {PDQ: crowding, PHASH: crowding}

    def changes(self, connection: Connection, since: int, limit: int) -> Changes:
        """Return the first rows that changed after `since`."""
        rows = _CHANGED.rows(connection, since=since, most=limit)
        columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
        ids, sequence, image_ids, issuer_ids, own = (
            np.array(column, dtype=np.int64) for column in columns[:5]
        )
        of_all = [_usable(*row[5:]) for row in rows]
        of_own = [row[7] if pdq and row[4] else None for pdq, row in zip(of_all, rows, strict=True)]
        owners = issuer_ids * 2 + own
        parts = {
            PDQ: entries_at(ids, image_ids, owners, of_all),
            PHASH: entries_at(ids, image_ids, owners, [_whole(phash) for phash in of_own]),
        }
        last = [Anchor(row[0], row[1], row[5].hex()) for row in rows[-MAX_ANCHORS:]]
        return Changes(ids, sequence, parts, last)

    def anchors(self, connection: Connection, rows: Sequence[int]) -> Sequence[Anchor]:
        """Return these rows as they are now."""
        found = connection.execute(
            select(codes.c.id, codes.c.changed, codes.c.pdq).where(codes.c.id.in_(rows))
        )
        return [Anchor(row, number, pdq.hex()) for row, number, pdq in found]


class NearIndex:
    """The codes in memory, and in files under `folder`; any thread may refresh and search."""

    def __init__(self, folder: Path | None = None, settings: IndexSettings | None = None) -> None:
        limits = settings or IndexSettings()
        self._work = limits.search_work
        table = CodesTable(Crowding(limits.peer_codes, limits.ball_codes))
        self.followed = Followed(
            table,
            folder / table.name if folder else None,
            Merging(limits.merge_rows, limits.merge_percent),
        )
        self._remembered: tuple[State, dict[tuple[bytes, ...], NearCodes]]
        self._remembered = (self.followed.state, {})

    def __len__(self) -> int:
        return self.followed.state.moments[PDQ].count()

    def refresh(self, connection: Connection) -> None:
        """Take over what changed in `codes` since the last call.

        Never from within a write: what it rolled back would stay here.
        """
        self.followed.refresh(connection)

    def search(
        self, variants: Sequence[bytes], quality: int | None, phash: bytes | None
    ) -> NearCodes:
        """Return every code near or probably near the picture, near ones first.

        `variants` are PDQ codes of 32 bytes, the identity first. At most MAX_OWN_HITS codes of
        our own and MAX_PEER_HITS of each peer, the nearest, are returned of each kind. An answer
        is remembered until a code changes: a picture that is asked for again costs no search.
        """
        if not variants or quality is None or quality < MIN_QUALITY:
            return NearCodes()
        state, remembered = self.followed.state, self._remembered
        if remembered[0] is not state:
            remembered = self._remembered = (state, {})
        key = (*variants, phash or b"")
        if (found := remembered[1].get(key)) is None:
            if len(remembered[1]) >= MAX_REMEMBERED:
                remembered[1].clear()
            found = remembered[1][key] = self._searched(state, variants, phash)
        return found

    def search_many(
        self, pictures: Sequence[tuple[Sequence[bytes], int | None, bytes | None]]
    ) -> list[NearCodes]:
        """Do as `search` for many pictures (variants, quality, phash), on every core."""
        pieces = [pictures[at : at + PIECE] for at in range(0, len(pictures), PIECE)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda piece: [self.search(*one) for one in piece], pieces)
            return [hits for piece in found for hits in piece]

    def _searched(self, state: State, variants: Sequence[bytes], phash: bytes | None) -> NearCodes:
        try:
            return _search(state, variants, phash, Budget(self._work))
        except IndexError:  # only a file that is not as it was written points behind its end
            self.followed.damaged()
            return NearCodes(cut=True)


def _search(
    state: State, variants: Sequence[bytes], phash: bytes | None, budget: Budget
) -> NearCodes:
    moment, queries = state.moments[PDQ], words_of(variants)
    parts = [
        moment.search(queries[:1], PROBABLE_BITS, budget),
        moment.search(queries[1:], NEAR_BITS, budget),
    ]
    if _whole(phash) is not None:
        alike = state.moments[PHASH].search(words_of([phash or b""]), PROBABLE_PHASH_BITS, budget)
        parts.append(alike)
    cut = not (state.is_trusted and all(part.complete for part in parts))
    if not any(map(len, parts)):
        return NearCodes(cut=cut)
    nearest = _nearest(parts[:2])
    is_near = nearest.distances <= NEAR_BITS
    found = [
        *_capped(nearest, is_near, MatchKind.NEAR),
        *_capped(nearest, ~is_near, MatchKind.PROBABLE),
    ]
    for alike in parts[2:]:
        others = ~np.isin(alike.ids, nearest.ids)
        found += _capped(alike, others, MatchKind.PROBABLE)
    return NearCodes(found, cut=cut)


def _nearest(parts: Sequence[Hits]) -> Hits:
    """Return every entry once, as near as any query is to it."""
    if not len(parts[1]):
        return parts[0]  # of one query: each is there once
    ids = np.concatenate([part.ids for part in parts])
    bits = np.concatenate([part.distances for part in parts])
    order = np.lexsort((bits, ids))
    first = np.ones(len(ids), dtype=np.bool_)
    first[1:] = ids[order][1:] != ids[order][:-1]
    at = order[first]
    queries, image_ids, owners = (
        np.concatenate([getattr(part, name) for part in parts])[at]
        for name in ("queries", "image_ids", "owners")
    )
    return Hits(queries, ids[at], image_ids, owners, bits[at], complete=True)


def met_limit(hits: Sequence[NearCode]) -> bool:
    """Tell whether the search may have left codes out, or an issuer's limit was met."""
    if isinstance(hits, NearCodes) and hits.cut:
        return True
    if not hits:
        return False
    counted = Counter((hit.issuer_id, hit.own, hit.kind) for hit in hits)
    return any(
        number >= (MAX_OWN_HITS if own else MAX_PEER_HITS)
        for (_, own, _), number in counted.items()
    )


def split_variants(packed: bytes | None) -> tuple[bytes, ...]:
    """Return packed codes (32 bytes each) one by one."""
    packed = packed or b""
    return tuple(packed[at : at + CODE_BYTES] for at in range(0, len(packed), CODE_BYTES))


def _usable(pdq: bytes, quality: int, _phash: bytes | None, withdrawn: bool) -> bytes | None:
    """Return the code of a row where it counts."""
    if withdrawn or quality < MIN_QUALITY:
        return None
    return _whole(pdq)


def _whole(code: bytes | None) -> bytes | None:
    return code if code is not None and len(code) == CODE_BYTES else None


def _capped(hits: Hits, mask: NDArray[np.bool_], kind: MatchKind) -> list[NearCode]:
    """Return the nearest entries under `mask`, of each issuer no more than its limit."""
    found: list[NearCode] = []
    at = np.flatnonzero(mask)
    for owner in np.unique(hits.owners[at]).tolist():
        issuer, own = divmod(owner, 2)
        theirs = at[hits.owners[at] == owner]
        limit = MAX_OWN_HITS if own else MAX_PEER_HITS
        nearest = theirs[np.argsort(hits.distances[theirs], kind="stable")][:limit]
        found += [
            NearCode(int(hits.image_ids[i]), issuer, bool(own), kind, int(hits.distances[i]))
            for i in nearest
        ]
    return found
