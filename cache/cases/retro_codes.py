"""The flat column of sighted codes: finds the pictures here that new codes may be near.

A code of a peer is one PDQ; the picture it may be near has eight, one for each way to turn and
mirror it, and they cannot be told from each other's bits. So each picture's eight are kept, the
first half of each (128 bits), in a file that follows the table `prints` row by row, and many new
codes are compared with all of it in one pass. What is within the radius by half its bits may be
near; nothing else can be. Whether it is near is left to `decide`, which looks anew.

The file is derived: one that is missing, cut off, or of another database is written anew. Several
processes may share it: whoever appends holds its lock, and rows never change.
"""

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select

from cache.index.near import CODE_BYTES, MIN_QUALITY, split_variants
from cache.storage.case_tables import prints
from cache.storage.prepared import Prepared
from cache.storage.tables import images

VARIANTS = 8
HALF_BYTES = CODE_BYTES // 2
ROW = np.dtype([("print_id", "<i8"), ("image_id", "<i8"), ("halves", "<u8", (VARIANTS, 2))])
"""A picture: 144 bytes. `image_id` is 0 where it cannot be matched."""

READ_ROWS = 2_000
"""Pictures taken from the table at once."""
BLOCK_ROWS = 4_096
"""Pictures compared at once: their columns fit in a processor's cache."""
MAX_THREADS = 4

_PRINTED = select(
    prints.c.id,
    images.c.id.label("image_id"),
    images.c.pdq,
    images.c.pdq_quality,
    images.c.pdq_variants,
).join_from(prints, images, images.c.id == prints.c.image_id)
_NEW = Prepared(
    _PRINTED.where(prints.c.id > bindparam("since")).order_by(prints.c.id).limit(READ_ROWS)
)
_ONE = Prepared(_PRINTED.where(prints.c.id == bindparam("print_id")))

Rows = NDArray[np.void]
Ids = NDArray[np.int64]


class SightedCodes:
    """The codes of every picture fingerprinted here, in a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._stopped = path, threading.Event()

    def stop(self) -> None:
        """Let a pass under way end at once; what it returns then is of no use."""
        self._stopped.set()

    def __len__(self) -> int:
        return self._path.stat().st_size // ROW.itemsize if self._path.exists() else 0

    def refresh(self, connection: Connection) -> bool:
        """Append at most READ_ROWS pictures that came since; tell whether there may be more.

        A file that does not belong to this database is begun anew.
        """
        with self._appending() as file:
            since = self._last_of(file, connection)
            new = _NEW.rows(connection, since=since)
            file.write(_packed(new).tobytes())
            file.flush()
            os.fsync(file.fileno())
        return len(new) == READ_ROWS

    def maybe_near(self, codes: Sequence[bytes], radius: int) -> Ids:
        """Return the image ids, sorted, of all pictures that may be within `radius` bits of a code.

        Every picture that is, by any of its eight codes, is among them; a few others may be.
        Codes are of 32 bytes. Uses several threads; call it in one of its own.
        """
        count = len(self)
        if not codes or not count:
            return np.zeros(0, dtype=np.int64)
        halves = np.frombuffer(b"".join(code[:HALF_BYTES] for code in codes), "<u8").reshape(-1, 2)
        threads = min(MAX_THREADS, os.cpu_count() or 1)
        bounds = np.linspace(0, count, threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads, thread_name_prefix="retro") as pool:
            parts = [
                pool.submit(self._compared, first, last, halves, radius)
                for first, last in pairwise(bounds)
            ]
            found: Ids = np.unique(np.concatenate([part.result() for part in parts]))
        return found

    def _compared(self, first: int, last: int, halves: NDArray[np.uint64], radius: int) -> Ids:
        """Compare the rows from `first` up to `last` with every code."""
        found = [np.zeros(0, dtype=np.int64)]
        comparing = _Comparing()
        with self._path.open("rb") as file:
            file.seek(first * ROW.itemsize)
            for at in range(first, last, BLOCK_ROWS):
                if self._stopped.is_set():
                    break
                block = file.read(min(BLOCK_ROWS, last - at) * ROW.itemsize)
                rows = np.frombuffer(block[: len(block) - len(block) % ROW.itemsize], ROW)
                near = comparing.rows_near(rows, halves, radius)
                found.append(rows["image_id"][near])
        together: Ids = np.concatenate(found)
        matchable: Ids = together[together != 0]
        return matchable

    @contextmanager
    def _appending(self) -> Iterator[BinaryIO]:
        """Hold the file's lock for the block, at its end and without a row cut off."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(opened, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            file.truncate(size - size % ROW.itemsize)
            yield file

    def _last_of(self, file: BinaryIO, connection: Connection) -> int:
        """Return the print up to which the file follows; 0, and the file empty, if not ours."""
        size = file.seek(0, os.SEEK_END)
        if not size:
            return 0
        file.seek(size - ROW.itemsize)
        held = file.read(ROW.itemsize)
        print_id = int(np.frombuffer(held, ROW)["print_id"][0])
        if _packed(_ONE.rows(connection, print_id=print_id)).tobytes() == held:
            return print_id
        file.truncate(0)
        return 0


class _Comparing:
    """Compares blocks with codes; its arrays are made once, for that took longer than the rest."""

    def __init__(self) -> None:
        cells = BLOCK_ROWS * VARIANTS
        self._mixed = np.empty(cells, np.uint64)
        self._bits, self._more = np.empty(cells, np.uint8), np.empty(cells, np.uint8)

    def rows_near(self, rows: Rows, halves: NDArray[np.uint64], radius: int) -> Ids:
        """Return which rows are within `radius` of any code by half of any of their codes."""
        first = np.ascontiguousarray(rows["halves"][:, :, 0]).ravel()
        second = np.ascontiguousarray(rows["halves"][:, :, 1]).ravel()
        count = len(first)
        mixed, bits, more = self._mixed[:count], self._bits[:count], self._more[:count]
        near: set[int] = set()
        for one, other in halves:
            np.bitwise_count(np.bitwise_xor(first, one, out=mixed), out=bits)
            np.bitwise_count(np.bitwise_xor(second, other, out=mixed), out=more)
            np.add(bits, more, out=bits)
            if bits.min() <= radius:
                near.update((np.flatnonzero(bits <= radius) // VARIANTS).tolist())
        return np.array(sorted(near), dtype=np.int64)


def _packed(rows: Sequence[Sequence[object]]) -> Rows:
    packed = np.zeros(len(rows), ROW)
    if not rows:
        return packed
    packed["print_id"] = [row[0] for row in rows]
    for at, (_, image_id, pdq, quality, variants) in enumerate(rows):
        codes = split_variants(variants) if isinstance(variants, bytes) else ()
        codes = codes or ((pdq,) if isinstance(pdq, bytes) else ())
        if _matchable(codes, quality):
            halves = [code[:HALF_BYTES] for code in codes]
            halves += halves[:1] * (VARIANTS - len(halves))
            packed[at]["image_id"] = image_id
            packed[at]["halves"] = np.frombuffer(b"".join(halves), "<u8").reshape(VARIANTS, 2)
    return packed


def _matchable(codes: Sequence[bytes], quality: object) -> bool:
    enough = isinstance(quality, int) and quality >= MIN_QUALITY
    return enough and 0 < len(codes) <= VARIANTS and all(len(code) == CODE_BYTES for code in codes)
