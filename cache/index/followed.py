"""Follows a table: takes over what changed, keeps bases in files, merges in the background.

Decides which state a search sees: everything committed before the last `refresh`, whatever the
files say. Files that are missing, damaged, old or of another database are not used, and the
bases are built from the table. Until every byte of a base has been verified, or while it is
being built again, a `State` is not trusted: nobody may conclude from it that there is no match.
Several processes may share a folder: one merges, the others take its generation over.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from cache.errors import IndexDamaged
from cache.index.crowding import Crowding
from cache.index.entries import joined
from cache.index.folder import IndexFolder
from cache.index.generation import Anchor, Generation, verify
from cache.index.hamming import HammingIndex, Moment, loaded, merged
from cache.index.segment import Segment
from cache.index.table import MAX_ANCHORS, Changes, Table
from cache.storage.snapshot import Snapshot, snapshot_of

logger = logging.getLogger(__name__)

READ_ROWS = 50_000
"""Rows read from the table at a time."""

SMALL_ENTRIES = 20_000
"""Up to so many there is no base and no file: comparing with each takes no longer."""

MIN_MERGE_ROWS = 1_000
VERIFY_AT_ONCE_BYTES = 1 << 26
"""Files up to this size, some 20 ms, are verified before they are used."""

LOOK_AGAIN_SECONDS = 60.0
"""How often a process looks for a generation that another has written."""

BUSY_SECONDS = 1.0
"""How long it waits for another process that merges."""

RETRY_SECONDS = 60.0
"""How long after a folder could not be written it is tried again."""


@dataclass(frozen=True, slots=True)
class Merging:
    """When a base is built anew: past so many changes, or this share of it."""

    rows: int = 50_000
    percent: float = 5.0

    def due(self, changes: int, base: int) -> bool:
        """Tell whether so many changes are worth a new base."""
        if not base:
            return changes > SMALL_ENTRIES
        return changes > min(self.rows, max(MIN_MERGE_ROWS, base * self.percent / 100))


@dataclass(frozen=True, slots=True)
class State:
    """What a search sees; a new one after each change."""

    moments: Mapping[str, Moment]
    is_trusted: bool


class Followed:
    """The indexes over one table; any thread may refresh and search."""

    def __init__(
        self, table: Table, folder: Path | None = None, merging: Merging | None = None
    ) -> None:
        self._table, self._merging = table, merging or Merging()
        self._folder = IndexFolder(folder, table.name, list(table.parts)) if folder else None
        self._lock = threading.RLock()
        self._snapshot: Snapshot | None = None  # the last one that was read
        self._job: threading.Thread | None = None
        self._has_result = False  # the job left something that the next refresh takes over
        self._offered: Generation | None = None  # of another process, verified
        self._is_damaged = self._is_opened = False
        self._retry_at, self._look_at = math.inf, 0.0  # by the monotonic clock
        self._state: State
        self._forget()

    @property
    def state(self) -> State:
        """What is held now."""
        return self._state

    def refresh(self, connection: Connection) -> None:
        """Take over what changed in the table since the last call.

        Never from within a write: what it rolled back would stay here.
        """
        snapshot = snapshot_of(connection)
        is_same = snapshot is not None and snapshot is self._snapshot
        if is_same and not self._has_result and time.monotonic() < self._retry_at:
            return
        with self._lock:
            self._take_over(connection)
            self._follow(connection)
            self._start_if_due()
            self._snapshot = snapshot

    def damaged(self) -> None:
        """Believe the base no longer; the next refresh builds it from the table."""
        with self._lock:
            self._is_damaged = self._has_result = True
            self._state = replace(self._state, is_trusted=False)

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until nothing is done in the background; tells whether that is so."""
        job = self._job
        if job is not None:
            job.join(seconds)
        return job is None or not job.is_alive()

    # --- what the table says ------------------------------------------------------------------

    def _forget(self) -> None:
        """Begin with nothing."""
        self._since = self._base_sequence = 0
        self._anchors: deque[Anchor] = deque(maxlen=MAX_ANCHORS)
        self._indexes = {name: HammingIndex(limits) for name, limits in self._table.parts.items()}
        self._generation: Generation | None = None  # that the bases are of
        self._is_saved = True
        self._show(is_trusted=True)

    def _show(self, *, is_trusted: bool) -> None:
        moments = {name: index.moment() for name, index in self._indexes.items()}
        self._state = State(moments, is_trusted)

    def _follow(self, connection: Connection) -> None:
        """Take over what is new; a read that fails half way leaves what it read for the next."""
        is_first, since, pieces = self._since == 0, self._since, []
        while len(changes := self._table.changes(connection, since, READ_ROWS)):
            since = int(changes.sequence[-1])
            pieces.append(changes)
            if not is_first:
                self._apply([changes])
            if len(changes) < READ_ROWS:
                break
        if not pieces:
            return
        if is_first and sum(map(len, pieces)) > SMALL_ENTRIES:
            self._load(pieces, since)
        elif is_first:
            self._apply(pieces)
        self._show(is_trusted=self._state.is_trusted)

    def _apply(self, pieces: Sequence[Changes]) -> None:
        for changes in pieces:
            for name, index in self._indexes.items():
                at, entries = changes.parts[name]
                index.apply(changes.ids, changes.sequence, entries, at)
            self._read(changes)

    def _load(self, pieces: Sequence[Changes], since: int) -> None:
        """Build the bases from all rows of the table."""
        for name, index in self._indexes.items():
            entries = joined([piece.parts[name][1] for piece in pieces])
            index.use(loaded(entries, index.crowding), since)
        for changes in pieces:
            self._read(changes)
        self._base_sequence, self._is_saved = since, False

    def _read(self, changes: Changes) -> None:
        """Note how far the table was taken over."""
        self._since = int(changes.sequence[-1])
        self._anchors.extend(changes.anchors)

    # --- what the files say -------------------------------------------------------------------

    def _take_over(self, connection: Connection) -> None:
        """Use what the background has prepared, or what the folder holds at the start."""
        self._has_result = False
        if self._is_damaged:
            self._begin_anew()
        offered, self._offered = self._offered, None
        if offered is not None and offered.sequence > self._base_sequence:
            self._use_offered(connection, offered)
        if not self._is_opened:
            self._open(connection)
            self._is_opened = True

    def _begin_anew(self) -> None:
        """Forget what is damaged; all is read from the table next."""
        if self._generation is not None and self._folder is not None:
            self._folder.discard(self._generation)
        self._is_damaged = self._has_result = False
        self._forget()

    def _use_offered(self, connection: Connection, offered: Generation) -> None:
        if self._belongs(connection, offered):
            self._use(offered)
        elif self._folder is not None:
            self._folder.discard(offered)

    def _open(self, connection: Connection) -> None:
        found = self._folder.newest() if self._folder is not None else None
        if found is None:
            return
        if not self._belongs(connection, found):
            logger.warning("%s is not of this database and is not used", found.path)
            return
        self._use(found)
        if found.size_bytes > VERIFY_AT_ONCE_BYTES:
            self._show(is_trusted=False)
            self._start(self._verify, found)
            return
        self._verify(found)
        if self._is_damaged:
            self._begin_anew()

    def _belongs(self, connection: Connection, generation: Generation) -> bool:
        """Tell whether a generation was made of this very table: its last rows tell.

        Each stands there as it did, or has changed since; and one at least stands.
        """
        if not generation.anchors:
            return False
        rows = [anchor.row for anchor in generation.anchors]
        now = {anchor.row: anchor for anchor in self._table.anchors(connection, rows)}
        same = [now.get(anchor.row) == anchor for anchor in generation.anchors]
        later = [
            (found := now.get(anchor.row)) is not None and found.sequence > generation.sequence
            for anchor in generation.anchors
        ]
        return any(same) and all(x or y for x, y in zip(same, later, strict=True))

    def _use(self, generation: Generation) -> None:
        for name, index in self._indexes.items():
            index.use(generation.segments[name], generation.sequence)
        if generation.sequence > self._since:
            self._since = generation.sequence
            self._anchors = deque(generation.anchors, maxlen=MAX_ANCHORS)
        self._generation, self._is_saved = generation, True
        self._base_sequence = generation.sequence
        self._show(is_trusted=True)

    def _verify(self, generation: Generation) -> None:
        try:
            verify(generation)
        except IndexDamaged as error:
            logger.warning("an index is not used and will be built again: %s", error)
            with self._lock:
                if self._generation is generation:
                    self.damaged()
            return
        with self._lock:
            if self._generation is generation and not self._is_damaged:
                self._show(is_trusted=True)

    # --- in the background --------------------------------------------------------------------

    def _start_if_due(self) -> None:
        """Begin what is to be done in the background; while something is, try again soon."""
        now, work = time.monotonic(), self._due_work()
        if work is None:
            self._retry_at = math.inf
            return
        if self._job is not None and self._job.is_alive():
            self._retry_at = min(self._retry_at, now + BUSY_SECONDS)
        elif math.isinf(self._retry_at) or now >= self._retry_at:
            self._retry_at, self._look_at = math.inf, now + LOOK_AGAIN_SECONDS
            self._start(work)

    def _due_work(self) -> Callable[[], None] | None:
        if self._folder is not None and not self._is_saved:
            return self._merge
        indexes = self._indexes.values()
        if any(self._merging.due(index.changes, index.base_codes) for index in indexes):
            return self._merge
        if self._generation is not None and time.monotonic() >= self._look_at:
            return self._look
        return None

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._job = threading.Thread(target=work, args=arguments, name="index", daemon=True)
        self._job.start()

    def _look(self) -> None:
        try:
            self._look_for_another()
        except OSError as error:
            logger.warning("the folder of an index cannot be read: %s", error)

    def _look_for_another(self) -> bool:
        """Open and verify what another process has written since; tells whether there is any."""
        found = self._folder.newest(after=self._base_sequence) if self._folder else None
        if self._folder is None or found is None:
            return False
        try:
            verify(found)
        except IndexDamaged as error:
            logger.warning("an index of another process is not used: %s", error)
            self._folder.discard(found)
            return False
        with self._lock:
            self._offered, self._has_result = found, True
        return True

    def _merge(self) -> None:
        """Build new bases of all that is held now, and write them; or take another process's."""
        try:
            with self._folder.locked() if self._folder else nullcontext(True) as is_ours:
                if not is_ours:
                    self._retry_at = time.monotonic() + BUSY_SECONDS
                elif not self._look_for_another():
                    self._merge_alone()
        except (OSError, MemoryError, IndexDamaged) as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            logger.warning("an index could not be saved, and is kept in memory: %s", error)

    def _merge_alone(self) -> None:
        with self._lock:
            indexes, since, anchors = self._indexes, self._since, tuple(self._anchors)
            state = self._state
        if not state.is_trusted:
            return
        segments = {
            name: _merged(moment, indexes[name].crowding) for name, moment in state.moments.items()
        }
        self._swap(indexes, segments, since, None)
        if self._folder is None:
            return
        generation = self._folder.write(since, anchors, segments)
        if self._swap(indexes, generation.segments, since, generation):
            self._folder.keep_only(generation)
        else:
            self._folder.discard(generation)

    def _swap(
        self,
        indexes: Mapping[str, HammingIndex],
        segments: Mapping[str, Segment],
        since: int,
        generation: Generation | None,
    ) -> bool:
        """Search new bases from now on; not where all was begun anew meanwhile."""
        with self._lock:
            if self._indexes is not indexes or self._is_damaged:
                return False
            for name, index in indexes.items():
                index.use(segments[name], since)
            self._base_sequence, self._is_saved = since, generation is not None
            self._generation = generation or self._generation
            self._show(is_trusted=self._state.is_trusted)
            return True


def _merged(moment: Moment, crowding: Crowding | None) -> Segment:
    if not moment.hidden and not len(moment.view.ids):
        return moment.base
    return merged(moment, crowding)
