"""Knows the near codes that must not act by themselves: allowed here, or held as too hot.

Decides, for a code near a picture, whether it may do no more than ask for a scan: where the
picture lies near an entry of the allow-list (`allow`), or the code is held (`hot`); never where a
person here upheld or escalated the code's picture. Exact evidence never comes here. What both
tables say is read again when something was committed, where that can be told (SQLite), else after
TABLE_SECONDS. Codes that became hot are written by the writer that is handed in, never in a read.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from cache.guards.allow import Surroundings
from cache.guards.hot import CodeKey, Heat, bears_finding, hold
from cache.index.near import CODE_BYTES, NearCode
from cache.settings import DecideSettings
from cache.storage.case_tables import allowed, held_codes
from cache.storage.prepared import Prepared
from cache.storage.snapshot import Snapshot, snapshot_of
from cache.verdict import FingerprintLike, MatchKind

logger = logging.getLogger(__name__)

TABLE_SECONDS = 1.0

_ALLOWED = Prepared(select(allowed.c.pdq))
_HELD = Prepared(
    select(held_codes.c.image_id, held_codes.c.issuer_id).where(held_codes.c.released.is_(None))
)

Later = Callable[..., Future[Any]]
"""Queues a write and returns at once, as `Store.write_later`."""


@dataclass(frozen=True, slots=True)
class _Tables:
    """What the tables say; never changed once made, so readers need no lock."""

    surroundings: Surroundings
    held: frozenset[CodeKey]
    snapshot: Snapshot | None
    read_at: float  # monotonic


class TableGuards:
    """The guards of one process; any thread may ask.

    `later` None leaves heat uncounted, for commands that only look.
    """

    def __init__(
        self,
        settings: DecideSettings,
        later: Later | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._later, self._clock = later, clock
        self._heat = Heat(settings.hot_hash_pictures)
        self._lock = threading.Lock()
        self._tables: _Tables | None = None
        self._asked: tuple[_Tables, bytes, bool] | None = None  # the last picture, and the answer

    def only_suspects(self, connection: Connection, hit: NearCode, pdq: bytes) -> bool:
        """Tell whether this near code may do no more than ask for a scan of the picture."""
        tables = self._current(connection)
        is_held = (hit.image_id, hit.issuer_id) in tables.held
        if not is_held and not self._is_allowed(tables, pdq):
            return False
        return not (hit.own and bears_finding(connection, hit.image_id))

    def seen(self, fingerprint: FingerprintLike, hits: Sequence[NearCode]) -> None:
        """Count the picture for every code near it that acts; queue those that became hot."""
        if self._later is None:
            return
        picture, now = fingerprint.content or fingerprint.sha256, self._clock()
        for hit in hits:
            if hit.kind is not MatchKind.NEAR:
                continue
            with self._lock:
                hot = self._heat.note((hit.image_id, hit.issuer_id), picture, now)
            if hot is not None:
                self._later(hold, hot, int(now)).add_done_callback(log_failure)

    def _is_allowed(self, tables: _Tables, pdq: bytes) -> bool:
        """Tell whether an entry is near; asked for each code near one picture, searched once."""
        asked = self._asked
        if asked is None or asked[0] is not tables or asked[1] != pdq:
            found = len(pdq) == CODE_BYTES and tables.surroundings.hold(pdq)
            asked = self._asked = (tables, pdq, found)
        return asked[2]

    def _current(self, connection: Connection) -> _Tables:
        snapshot, tables = snapshot_of(connection), self._tables
        if tables is not None and tables.snapshot is snapshot:  # None, too, is None
            aged = snapshot is None and time.monotonic() - tables.read_at > TABLE_SECONDS
            if not aged:
                return tables
        read_at = time.monotonic()
        tables = _Tables(
            Surroundings([bytes(row[0]) for row in _ALLOWED.rows(connection)]),
            frozenset((row[0], row[1]) for row in _HELD.rows(connection)),
            snapshot,
            read_at,
        )
        self._tables = tables
        return tables


def log_failure(done: Future[Any]) -> None:
    """Log a write that nobody waits for, should it have failed."""
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning("what a guard found could not be stored: %s", error)
