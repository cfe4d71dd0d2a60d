"""Finds stored codes near a picture's: exhaustive search over all codes, held in memory.

Decides what is near (PDQ <= 31 bits, any of the eight dihedral variants) and what is probable
(PDQ 32..40, or pHash <= 47 to a code of our own; neither with dihedral variants). Pictures of
quality under 50 are never matched: their hashes collide. SQL is the truth: the arrays follow
the `changed` sequence of the table `codes`, in every process.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select

from cache.prepared import Prepared
from cache.snapshot import Snapshot, snapshot_of
from cache.tables import codes, issuers
from cache.verdict import SELF, MatchKind

NEAR_BITS = 31
PROBABLE_BITS = 40
PROBABLE_PHASH_BITS = 47
MIN_QUALITY = 50
CODE_BYTES = 32
MAX_OWN_HITS = 256
MAX_PEER_HITS = 32
"""How many codes of one peer are looked at for one picture, the nearest first."""
MAX_REMEMBERED = 10_000
"""How many answers are remembered; some 4 MB."""

_CHANGED = Prepared(
    select(
        codes.c.id,
        codes.c.image_id,
        codes.c.issuer_id,
        codes.c.pdq,
        codes.c.pdq_quality,
        codes.c.phash,
        codes.c.withdrawn,
        codes.c.changed,
        (issuers.c.origin == SELF).label("own"),
    )
    .join_from(codes, issuers, issuers.c.id == codes.c.issuer_id)
    .where(codes.c.changed > bindparam("since"))
    .order_by(codes.c.changed)
)

Words = NDArray[np.uint64]


class _Changed(NamedTuple):
    """A row of `_CHANGED`."""

    id: int
    image_id: int
    issuer_id: int
    pdq: bytes
    pdq_quality: int
    phash: bytes | None
    withdrawn: bool
    changed: int
    own: bool


@dataclass(frozen=True, slots=True)
class NearCode:
    """A code within reach: whose, of which picture, and how far (bits of PDQ, else of pHash)."""

    image_id: int
    issuer_id: int
    own: bool  # a code of this instance
    kind: MatchKind
    distance: int


@dataclass(frozen=True, slots=True)
class _Codes:
    """Parallel arrays, one entry a code; never changed once made, so readers need no lock."""

    ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    issuer_ids: NDArray[np.int64]
    own: NDArray[np.bool_]
    has_phash: NDArray[np.bool_]
    pdq: Words  # (4, n), a column a word
    phash: Words  # (4, n)


class NearIndex:
    """The codes in memory; any thread may refresh and search."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0
        self._snapshot: Snapshot | None = None  # the last one that was read
        self._codes = _codes_of([])
        self._remembered: dict[tuple[bytes, ...], list[NearCode]] = {}  # of these very codes

    def __len__(self) -> int:
        return len(self._codes.ids)

    def refresh(self, connection: Connection) -> None:
        """Take over what changed in `codes` since the last call.

        Never from within a write: what it rolled back would stay here.
        """
        snapshot = snapshot_of(connection)
        if snapshot is not None and snapshot is self._snapshot:
            return
        with self._lock:
            rows = [_Changed(*row) for row in _CHANGED.rows(connection, since=self._since)]
            if rows:
                kept = _without(self._codes, [row.id for row in rows])
                codes_now = _joined(kept, _codes_of([row for row in rows if _usable(row)]))
                self._codes, self._remembered = codes_now, {}
                self._since = rows[-1].changed
            self._snapshot = snapshot

    def search(
        self, variants: Sequence[bytes], quality: int | None, phash: bytes | None
    ) -> list[NearCode]:
        """Return every code near or probably near the picture, near ones first.

        `variants` are PDQ codes of 32 bytes, the identity first. Exact: all codes are compared.
        At most MAX_OWN_HITS codes of our own and MAX_PEER_HITS of each peer, the nearest, are
        returned of each kind. An answer is remembered until a code changes: a picture that is
        asked for again costs no search.
        """
        with self._lock:
            held, remembered = self._codes, self._remembered
        if not variants or quality is None or quality < MIN_QUALITY or not len(held.ids):
            return []
        key = (*variants, phash or b"")
        if (found := remembered.get(key)) is None:
            if len(remembered) >= MAX_REMEMBERED:
                remembered.clear()
            found = remembered[key] = _search(held, variants, phash)
        return found


def _search(held: _Codes, variants: Sequence[bytes], phash: bytes | None) -> list[NearCode]:
    identity = _distances(held.pdq, variants[0])
    nearest = identity.copy()
    for variant in variants[1:]:
        np.minimum(nearest, _distances(held.pdq, variant), out=nearest)
    near = nearest <= NEAR_BITS
    probable = ~near & (identity <= PROBABLE_BITS)
    alike, phash_bits = _alike(held, phash)
    by_phash = alike & ~near & ~probable
    return [
        *_capped(held, near, MatchKind.NEAR, nearest),
        *_capped(held, probable, MatchKind.PROBABLE, identity),
        *_capped(held, by_phash, MatchKind.PROBABLE, phash_bits),
    ]


def met_limit(hits: Sequence[NearCode]) -> bool:
    """Tell whether the search may have left codes out, since an issuer's limit was met."""
    counted = Counter((hit.issuer_id, hit.own, hit.kind) for hit in hits)
    return any(
        number >= (MAX_OWN_HITS if own else MAX_PEER_HITS)
        for (_, own, _), number in counted.items()
    )


def split_variants(packed: bytes | None) -> tuple[bytes, ...]:
    """Return packed codes (32 bytes each) one by one."""
    packed = packed or b""
    return tuple(packed[at : at + CODE_BYTES] for at in range(0, len(packed), CODE_BYTES))


def _usable(row: _Changed) -> bool:
    return not row.withdrawn and row.pdq_quality >= MIN_QUALITY and len(row.pdq) == CODE_BYTES


def _words(hashes: Sequence[bytes]) -> Words:
    """Return hashes of 32 bytes as (4, n) words."""
    flat = np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 4)
    return np.ascontiguousarray(flat.T)


def _codes_of(rows: Sequence[_Changed]) -> _Codes:
    phashes = [_whole(row.phash) for row in rows]
    return _Codes(
        np.array([row.id for row in rows], dtype=np.int64),
        np.array([row.image_id for row in rows], dtype=np.int64),
        np.array([row.issuer_id for row in rows], dtype=np.int64),
        np.array([row.own for row in rows], dtype=np.bool_),
        np.array([phash is not None for phash in phashes], dtype=np.bool_),
        _words([row.pdq for row in rows]),
        _words([phash or bytes(CODE_BYTES) for phash in phashes]),
    )


def _whole(code: bytes | None) -> bytes | None:
    return code if code is not None and len(code) == CODE_BYTES else None


def _without(held: _Codes, ids: Sequence[int]) -> _Codes:
    keep = ~np.isin(held.ids, np.array(ids, dtype=np.int64))
    if bool(keep.all()):
        return held
    return _Codes(
        held.ids[keep],
        held.image_ids[keep],
        held.issuer_ids[keep],
        held.own[keep],
        held.has_phash[keep],
        held.pdq[:, keep],
        held.phash[:, keep],
    )


def _joined(first: _Codes, second: _Codes) -> _Codes:
    return _Codes(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.image_ids, second.image_ids]),
        np.concatenate([first.issuer_ids, second.issuer_ids]),
        np.concatenate([first.own, second.own]),
        np.concatenate([first.has_phash, second.has_phash]),
        np.concatenate([first.pdq, second.pdq], axis=1),
        np.concatenate([first.phash, second.phash], axis=1),
    )


def _distances(columns: Words, code: bytes) -> NDArray[np.uint16]:
    """Return the Hamming distance (0..256) of `code` to every column entry."""
    words = np.frombuffer(code, dtype=np.uint64)
    total = np.zeros(columns.shape[1], dtype=np.uint16)
    for column, word in zip(columns, words, strict=True):
        total += np.bitwise_count(column ^ word)
    return total


def _alike(held: _Codes, phash: bytes | None) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    if phash is None or len(phash) != CODE_BYTES:
        nothing = np.zeros(len(held.ids), dtype=np.bool_)
        return nothing, nothing.astype(np.uint16)
    bits = _distances(held.phash, phash)
    return held.own & held.has_phash & (bits <= PROBABLE_PHASH_BITS), bits


def _capped(
    held: _Codes, mask: NDArray[np.bool_], kind: MatchKind, bits: NDArray[np.uint16]
) -> list[NearCode]:
    """Return the nearest codes under `mask`, of each issuer no more than its limit."""
    found: list[NearCode] = []
    at = np.flatnonzero(mask)
    for issuer in np.unique(held.issuer_ids[at]):
        theirs = at[held.issuer_ids[at] == issuer]
        own = bool(held.own[theirs[0]])
        limit = MAX_OWN_HITS if own else MAX_PEER_HITS
        nearest = theirs[np.argsort(bits[theirs], kind="stable")][:limit]
        found += [
            NearCode(int(held.image_ids[i]), int(issuer), own, kind, int(bits[i])) for i in nearest
        ]
    return found
