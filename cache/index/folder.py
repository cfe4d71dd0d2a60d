"""The folder of an index: its generations, and the lock of the one process that writes there.

Decides which generation is the newest that can be believed, and removes the others. Whoever has
an older one open goes on using it: its files have no names any more, but stay until they are
closed.
"""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cache.errors import IndexDamaged
from cache.index.generation import (
    Anchor,
    Generation,
    generations,
    open_generation,
    verify,
    write_generation,
)
from cache.index.segment import Segment

logger = logging.getLogger(__name__)

LOCK = "lock"


class IndexFolder:
    """Where the generations of one table's index are kept."""

    def __init__(self, path: Path, table: str, parts: Sequence[str]) -> None:
        self._path, self._table, self._parts = path, table, tuple(parts)

    def newest(self, after: int = -1) -> Generation | None:
        """Open the newest generation past this sequence number; None where none can be used."""
        for path in generations(self._path):
            try:
                found = open_generation(path, self._table, self._parts)
            except IndexDamaged as error:
                logger.warning("an index is not used and will be built again: %s", error)
                continue
            return found if found.sequence > after else None
        return None

    def write(
        self, sequence: int, anchors: Sequence[Anchor], segments: Mapping[str, Segment]
    ) -> Generation:
        """Write a generation and read it back; only under `locked`."""
        self._remove("tmp-*")
        path = write_generation(self._path, self._table, sequence, anchors, segments)
        written = open_generation(path, self._table, self._parts)
        verify(written)
        return written

    def keep_only(self, generation: Generation) -> None:
        """Remove every other generation; only under `locked`."""
        self._remove("tmp-*")
        self._remove("gen-*", but=generation.path)

    def discard(self, generation: Generation) -> None:
        """Remove a generation that is not to be believed."""
        _delete(generation.path)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the folder for writing; gives False at once where another process does.

        The lock goes with the process that holds it, however that ends.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _remove(self, pattern: str, but: Path | None = None) -> None:
        for path in self._path.glob(pattern):
            if path != but:
                _delete(path)


def _delete(path: Path) -> None:
    """Remove a folder; its name goes first, so that a generation's name stands for the whole."""
    with contextlib.suppress(OSError):
        path = path.rename(path.with_name(f"tmp-{path.name.removeprefix('tmp-')}"))
    shutil.rmtree(path, ignore_errors=True)
