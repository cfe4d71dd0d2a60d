"""How many verdicts of peers are stored in a second, by the size of what is stored already.

The real path: `record_attestations` in write transactions of a `Store`, synchronous=FULL, a
commit a batch, from the first write to the end of the final checkpoint. Batches are those of a
snapshot's parts (5,000 rows), beside them single pages (1,000). Everything runs on one core, the
PostgreSQL server as well. Rows are made before the clock starts.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Row, note
from benchmarks.storing.filling import NOW, ORIGINS, Peers, fill_sqlite, made_up
from cache.memory.peer_rows import record_attestations
from cache.storage.database import WRITER_CACHE_MIB, Store
from cache.verdict import Feed, Verdict

PART_ROWS, PAGE_ROWS = 5_000, 1_000
GOALS = {("SQLite", 100_000): 25_000, ("SQLite", 1_000_000): 15_000, ("SQLite", 10_000_000): 8_000}
GOALS |= {("PostgreSQL", 1_000_000): 15_000}
LARGE_CACHE_MIB = 256
"""`database.cache_mib` of one row, beside the default of the others."""


@dataclass(frozen=True)
class Measured:
    """Rows a second, and what each of them cost this process."""

    rate: float
    cpu_us: float
    written_kib: float
    read_kib: float


@contextmanager
def one_core() -> Iterator[None]:
    """Let this process, and those it starts, run on one core for the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure_sqlite(report: Report, path: Path, peers: Peers, size: int, more: int) -> None:
    """Fill the database up to `size` pictures and measure `more` verdicts of each sort."""
    note(f"SQLite: filling up to {size:,} pictures")
    fill_sqlite(path, peers, size)
    with one_core():
        for name, rows, batch, cache in _works(size, more):
            measured = _on_sqlite(path, peers, rows, batch, cache)
            goal = GOALS.get(("SQLite", size)) if name == NEW else None
            metric = f"SQLite, {size:,} stored: {name}"
            report.add(Row(metric, measured.rate, "verdicts/s", goal=goal))
            report.add(Row(f"{metric}: processor", measured.cpu_us, "core-us a verdict"))
            report.add(Row(f"{metric}: written", measured.written_kib, "KiB a verdict"))
            report.add(Row(f"{metric}: read", measured.read_kib, "KiB a verdict"))


NEW = f"new images, batches of {PART_ROWS:,}"
NEW_PAGES = f"new images, batches of {PAGE_ROWS:,}"
NEW_LARGE = f"{NEW}, cache_mib = {LARGE_CACHE_MIB}"
KNOWN = f"known images, batches of {PART_ROWS:,}"


def _works(size: int, more: int) -> Iterator[tuple[str, list[Verdict], int, int]]:
    yield NEW, made_up(size + 1, more, seed=2), PART_ROWS, WRITER_CACHE_MIB
    yield NEW_PAGES, made_up(size + more + 1, more, seed=2), PAGE_ROWS, WRITER_CACHE_MIB
    yield NEW_LARGE, made_up(size + 2 * more + 1, more, seed=2), PART_ROWS, LARGE_CACHE_MIB
    yield KNOWN, on_known(size, more), PART_ROWS, WRITER_CACHE_MIB


def on_known(size: int, more: int) -> list[Verdict]:
    """Return verdicts of the second peer on pictures that were filled in, in no order."""
    known = made_up(1, min(size, more))
    theirs = [replace(one, issuer=ORIGINS[1], seq=seq) for seq, one in enumerate(known, size)]
    return sorted(theirs, key=lambda one: one.sha256[::-1])


def _on_sqlite(
    path: Path, peers: Peers, rows: Sequence[Verdict], batch: int, cache_mib: int
) -> Measured:
    store = Store.open(f"sqlite:///{path}", writer_cache_mib=cache_mib)
    try:
        return measure(store, peers, rows, batch, lambda: checkpoint(path))
    finally:
        store.close()


def measure(
    store: Store, peers: Peers, rows: Sequence[Verdict], batch: int, finish: Callable[[], None]
) -> Measured:
    """Store the rows and call `finish`, by the clock."""
    issuer_id = peers.first if rows[0].issuer == ORIGINS[0] else peers.second
    values: dict[str, Any] = {
        "issuer_id": issuer_id,
        "feed": Feed.CLEAN,
        "follow_id": issuer_id,
        "now": NOW,
    }
    before, cpu, start = _file_bytes(), time.process_time(), time.perf_counter()
    for first in range(0, len(rows), batch):
        store.write_now(record_attestations, rows=rows[first : first + batch], **values)
    finish()
    seconds, cpu, after = time.perf_counter() - start, time.process_time() - cpu, _file_bytes()
    read, written = ((new - old) / 1024 / len(rows) for old, new in zip(before, after, strict=True))
    return Measured(len(rows) / seconds, cpu / len(rows) * 1e6, written, read)


def checkpoint(path: Path) -> None:
    """Bring what is in the write-ahead log into the database, durably."""
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA synchronous = FULL").fetchall()
    busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    raw.close()
    assert not busy, "the final checkpoint was held up"  # a benchmark of half the work


def _file_bytes() -> tuple[int, int]:
    """Return the bytes that this process has read from files and written to them."""
    found = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(found["rchar"]), int(found["wchar"])
