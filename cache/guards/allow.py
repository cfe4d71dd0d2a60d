"""Keeps the allow-list: pictures that an admin knows to be harmless, though near something flagged.

Decides what is near an entry (PDQ <= NEAR_BITS, as it stands, no rotations) and how many there may
be. An entry makes nothing clean: near one, near flag evidence only asks for a scan (`guards`). A
code that a person here upheld keeps its effect beside any entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, select

from cache.errors import AllowListFull, NotAllowed
from cache.guards.hot import bears_finding
from cache.index.near import CODE_BYTES, NEAR_BITS
from cache.storage.case_tables import allowed
from cache.storage.rows import insert_into
from cache.storage.tables import codes, images, issuers
from cache.verdict import SELF

_CODES_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Allowed:
    """An entry: around which PDQ, why, and who said so."""

    id: int
    pdq: bytes
    reason: str
    allowed_by: str
    added: int


@dataclass(frozen=True, slots=True)
class FlaggedCode:
    """A code of the near-match index: whose, of which picture, and how far (bits)."""

    sha256: bytes
    origin: str
    distance: int
    upheld: bool  # or escalated, by a person here: it keeps its effect beside any entry


class Surroundings:
    """The PDQ codes of some entries, to be asked what lies near one."""

    def __init__(self, pdqs: Sequence[bytes]) -> None:
        self._words = _words(pdqs)

    def hold(self, pdq: bytes) -> bool:
        """Tell whether `pdq` lies within NEAR_BITS of an entry."""
        return bool(len(self._words)) and bool((_distances(self._words, pdq) <= NEAR_BITS).any())


def allow(
    connection: Connection, pdq: bytes, *, reason: str, allowed_by: str, now: int, limit: int
) -> Allowed:
    """Store an entry; one that stands already stays as it is. Raises AllowListFull at `limit`."""
    if (found := _entry(connection, pdq)) is not None:
        return found
    if connection.execute(select(func.count()).select_from(allowed)).scalar_one() >= limit:
        raise AllowListFull(
            f"the allow-list holds {limit} entries, which is decide.allow_entries; "
            "remove some, or raise that setting"
        )
    values = {"pdq": pdq, "reason": reason, "allowed_by": allowed_by, "added": now}
    connection.execute(insert_into(connection, allowed).values(**values))
    return _known(_entry(connection, pdq))


def disallow(connection: Connection, entry_id: int) -> Allowed:
    """Remove an entry and return it; raises NotAllowed."""
    row = connection.execute(select(allowed).where(allowed.c.id == entry_id)).one_or_none()
    if row is None:
        raise NotAllowed(f"there is no entry {entry_id}; see `fediverdict allow list`")
    connection.execute(delete(allowed).where(allowed.c.id == entry_id))
    return Allowed(*row)


def list_allowed(connection: Connection) -> list[Allowed]:
    """Return every entry, the oldest first."""
    return [Allowed(*row) for row in connection.execute(select(allowed).order_by(allowed.c.id))]


def codes_near(connection: Connection, pdq: bytes) -> list[FlaggedCode]:
    """Return the codes within NEAR_BITS of `pdq`, nearest first: what an entry there would touch.

    Goes through all of them; for a person's question, not for the hot path.
    """
    rows = connection.execute(
        select(codes.c.pdq, codes.c.image_id, images.c.sha256, issuers.c.origin)
        .join_from(codes, images, images.c.id == codes.c.image_id)
        .join(issuers, issuers.c.id == codes.c.issuer_id)
        .where(~codes.c.withdrawn)
        .execution_options(yield_per=_CODES_AT_ONCE)
    )
    near = []
    for some in rows.partitions():
        bits = _distances(_words([row.pdq for row in some]), pdq)
        near += [(int(bits[at]), some[int(at)]) for at in np.flatnonzero(bits <= NEAR_BITS)]
    found = [
        FlaggedCode(
            row.sha256, row.origin, distance, _is_upheld(connection, row.origin, row.image_id)
        )
        for distance, row in near
    ]
    return sorted(found, key=lambda one: (one.distance, one.sha256, one.origin))


def _is_upheld(connection: Connection, origin: str, image_id: int) -> bool:
    return origin == SELF and bears_finding(connection, image_id)


def _entry(connection: Connection, pdq: bytes) -> Allowed | None:
    row = connection.execute(select(allowed).where(allowed.c.pdq == pdq)).one_or_none()
    return None if row is None else Allowed(*row)


def _known(found: Allowed | None) -> Allowed:
    if found is None:
        raise NotAllowed("the entry was not stored; try again")
    return found


def _words(pdqs: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return codes of 32 bytes as (n, 4) words."""
    return np.frombuffer(b"".join(pdqs), dtype=np.uint64).reshape(-1, CODE_BYTES // 8)


def _distances(words: NDArray[np.uint64], pdq: bytes) -> NDArray[np.intp]:
    """Return the Hamming distance (0..256) of `pdq` to every code."""
    different = words ^ np.frombuffer(pdq, dtype=np.uint64)
    return np.asarray(np.bitwise_count(different).sum(axis=1, dtype=np.intp))
