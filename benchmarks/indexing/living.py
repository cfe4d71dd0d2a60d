"""An index that lives: a code added, files opened, files verified, all read from the table."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import migrations
from benchmarks.indexing.data import codes
from benchmarks.report import Report, Row, note
from cache.index.building import build
from cache.index.entries import Entries
from cache.index.folder import IndexFolder
from cache.index.generation import verify
from cache.index.near import NEAR_BITS, NearIndex
from cache.index.segment import Budget
from cache.memory.codes import Code, set_codes
from cache.memory.record import image_row, own_issuer
from cache.storage.database import Store

ADDED = 50
OPENED = 5
ADD_GOAL_MS = 1.0
OPEN_GOAL_MS = 50.0


def adding(report: Report, number: int) -> None:
    """What a lookup pays to see a code that was just committed, over `number` codes in SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        store = _filled(Path(folder), number)
        index = NearIndex(Path(folder) / "index")
        begun = time.perf_counter()
        store.read_now(index.refresh)
        report.add(Row(f"{number:,} codes: read from SQLite", time.perf_counter() - begun, "s"))
        index.followed.settle()
        times = [_added(store, index, i) for i in range(ADDED)]
        name = f"{number:,} codes: taking a code over, so that the next lookup finds it"
        report.add(Row(name, statistics.median(times) * 1e3, "ms", ADD_GOAL_MS, "at most"))
        store.close()


def _added(store: Store, index: NearIndex, number: int) -> float:
    """Add one code; returns the seconds that taking it over took, before it is searched for."""
    code = codes(1, 1_000_000 + number)[0].tobytes()
    store.write_now(_add, f"added {number}".encode().ljust(32), code)
    begun = time.perf_counter()
    store.read_now(index.refresh)
    seconds = time.perf_counter() - begun
    found = index.search([code], 90, None)
    assert [hit.distance for hit in found] == [0]
    return seconds


def _add(connection: object, sha256: bytes, code: bytes) -> None:
    image_id = image_row(connection, sha256, now=0)  # type: ignore[arg-type]
    own = own_issuer(connection, now=0)  # type: ignore[arg-type]
    set_codes(connection, own, {image_id: Code(code, 90)})  # type: ignore[arg-type]


def _filled(folder: Path, number: int) -> Store:
    """Return a store with so many codes of a peer, written past SQLAlchemy for speed."""
    note(f"{number:,} codes: filling SQLite")
    url = f"sqlite:///{folder / 'bench.sqlite3'}"
    migrations.upgrade(url)
    store = Store.open(url)
    stored = [code.tobytes() for code in codes(number)]

    def fill(connection: object) -> None:
        raw = connection.connection.driver_connection  # type: ignore[attr-defined]
        issuer = raw.execute(
            "INSERT INTO issuers (origin, state, clean_weight, flag_weight, labels, max_age_days,"
            " audit_rate, min_agreement, created)"
            " VALUES ('https://a.example', 'trusted', 0, 100, '*', 180, 5, 95, 0)"
        ).lastrowid
        raw.executemany(
            "INSERT INTO images (sha256, fingerprinted, created) VALUES (?, 0, 0)",
            ((code,) for code in stored),
        )
        raw.executemany(
            "INSERT INTO codes (image_id, issuer_id, pdq, pdq_quality, withdrawn, changed)"
            f" VALUES (?, {issuer}, ?, 90, 0, ?)",
            ((i, code, i) for i, code in enumerate(stored, 1)),
        )

    store.write_now(fill)
    return store


def opening(report: Report, number: int) -> None:
    """Open a saved index in a process of its own, first search included, then read all of it."""
    with tempfile.TemporaryDirectory() as folder:
        note(f"{number:,} codes: building and saving")
        numbers = np.arange(number)
        segment = build(Entries(numbers, numbers, numbers % 2, codes(number)))
        saved = IndexFolder(Path(folder), "codes", ["pdq"])
        with saved.locked():
            begun = time.perf_counter()
            written = saved.write(1, (), {"pdq": segment})
        took = time.perf_counter() - begun
        report.add(Row(f"{number:,} codes: save, on disk and read back", took, "s"))
        report.add(Row(f"{number:,} codes: files", written.size_bytes / 1e6, "MB"))
        command = [sys.executable, "-m", "benchmarks.indexing.living", folder]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(OPENED)
        ]
    opened, searched, verified = (statistics.median(run) for run in zip(*runs, strict=True))
    name = f"{number:,} codes: open what was saved"
    report.add(Row(name, opened * 1e3, "ms", OPEN_GOAL_MS, "at most"))
    report.add(Row(f"{name}, first lookup", searched * 1e3, "ms"))
    report.add(Row(f"{name}, verify every byte, in the background", verified * 1e3, "ms"))


def _open(folder: Path) -> tuple[float, float, float]:
    begun = time.perf_counter()
    found = IndexFolder(folder, "codes", ["pdq"]).newest()
    opened = time.perf_counter()
    assert found is not None
    found.segments["pdq"].search(codes(1, 9), NEAR_BITS, Budget(10_000_000))
    searched = time.perf_counter()
    verify(found)
    return opened - begun, searched - opened, time.perf_counter() - searched


if __name__ == "__main__":
    print(json.dumps(_open(Path(sys.argv[1]))))
