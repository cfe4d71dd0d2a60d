"""An instance for measuring: a fresh database, the real judge over it, and its CPU time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection

import migrations
from cache.memory.codes import Code, set_codes
from cache.memory.record import image_rows, own_issuer
from cache.storage.database import Store
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.parts import build_judge

NANOSECONDS = 1e-9


@contextmanager
def instance(folder: Path, codes_count: int = 0, **scanner: Any) -> Iterator[Judge]:
    """Give a judge over a fresh SQLite database whose near index holds so many codes."""
    url = f"sqlite:///{folder}/{time.monotonic_ns()}.sqlite3"
    migrations.upgrade(url)
    store = Store.open(url)
    judge = build_judge(Config.model_validate({"scanner": scanner}), store, purpose="scan")
    if codes_count:
        store.write_now(fill, codes_count)
    try:
        yield judge
    finally:
        judge.close()
        store.close()


def cpu_seconds(judge: Judge) -> float:
    """Return the CPU time so far of this process and of the judge's decoders, all threads."""
    return time.process_time() + sum(_of_process(pid) for pid in judge.decoder_processes)


def _of_process(pid: int) -> float:
    """Return the CPU time of a process of one thread; Linux counts it in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) * NANOSECONDS


def fill(connection: Connection, count: int) -> None:
    """Store `count` own codes of random pictures."""
    now = int(time.time())
    issuer = own_issuer(connection, now=now)
    rng = np.random.default_rng(1)
    hashes = [rng.bytes(32) for _ in range(count)]
    ids = image_rows(connection, hashes, now=now).values()
    set_codes(connection, issuer, {one: Code(rng.bytes(32), 100, rng.bytes(32)) for one in ids})
