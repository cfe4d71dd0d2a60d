"""How many attestations are verified and stored in a second, by what is stored already.

The real path of a reader that catches up, from bytes to what the next look-up finds: strict
parse, proof and rows verified, stored by a `Store` while the next are verified, a few in one commit
(`behind`), from the first document to the end of the final checkpoint; SQLite, synchronous=FULL,
one core, every row on a picture not met before. Documents are those a reader gets: merged pages of
up to 5,000 rows for what is older than a day, single pages of 1,000 beside them. They are made
before the clock starts. Given is the median of ROUNDS, each into the same file as the one before,
or, above COPIED_UP_TO rows, into one that grew by a hundredth.
"""

import asyncio
import gc
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, delete, update

from benchmarks.report import Row, note
from benchmarks.storing.filling import NOW, Peers, fill_sqlite, prepare
from benchmarks.storing.inserting import checkpoint, one_core
from benchmarks.wire.pages import feed_actor, merged, pages
from cache.storage.database import Store
from cache.storage.feed_tables import follows, remote_pages
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.reading.applying import APPLIED, apply_merged, apply_page
from federation.reading.behind import Behind
from federation.wire.chain import Step
from federation.wire.merged import verify_merged
from federation.wire.page import verify_page
from federation.wire.strictjson import parse, to_bytes

GOALS = {100_000: 20_000, 1_000_000: 15_000, 10_000_000: 7_000}
PAGE_ROWS = 1_000
MORE = 100_000
ROUNDS = 3
COPIED_UP_TO = 1_000_000
_MAX_BYTES = 2**21
_FEED = Feed.CLEAN

_Apply = Callable[[Connection], Step]
Take = Callable[[bytes, RemoteActor], _Apply]
"""Verifies bytes and returns what stores them."""


def store_rows(sizes: Sequence[int], more: int = MORE, folder: Path | None = None) -> Iterator[Row]:
    """Measure `more` attestations into each of the sizes, the same file growing."""
    with tempfile.TemporaryDirectory(dir=folder) as held:
        path = Path(held) / "wire.sqlite3"
        peers = prepare(f"sqlite:///{path}")
        for size in sorted(sizes):
            note(f"filling up to {size:,} rows")
            fill_sqlite(path, peers, size)
            yield from _of_size(path, peers, size, more)


def _of_size(path: Path, peers: Peers, size: int, more: int) -> Iterator[Row]:
    found: dict[str, list[tuple[float, float]]] = {}
    filled = path.with_suffix(".filled")
    if size <= COPIED_UP_TO:
        shutil.copyfile(path, filled)
    for number in range(ROUNDS):
        for name, bodies, take in _works(f"{size} {number}", more):
            found.setdefault(name, []).append(_seconds(path, peers, bodies, take))
            if size <= COPIED_UP_TO:
                _put_back(filled, path)
    for name, times in found.items():
        seconds, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        goal = GOALS.get(size) if "merged" in name else None
        metric = f"verified and stored into {size:,} rows, {name}"
        yield Row(metric, more / seconds, "attestations/s", goal=goal)
        yield Row(f"{metric}: processor", cpu / more * 1e6, "core-us an attestation")


def _put_back(filled: Path, path: Path) -> None:
    """Let the database be what it was; its log was emptied and belongs to the other one."""
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    shutil.copyfile(filled, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())  # else what is measured next waits for it


def _works(seed: str, more: int) -> Iterator[tuple[str, list[bytes], Take]]:
    count = more // PAGE_ROWS
    together = merged(_FEED, PAGE_ROWS, count, _epoch(f"{seed} merged"))
    yield "merged pages of 5,000", [to_bytes(one) for one in together], _take_merged
    alone = pages(_FEED, PAGE_ROWS, count, _epoch(f"{seed} alone"))
    yield f"pages of {PAGE_ROWS:,}", [to_bytes(one) for one in alone], _take_page


def _epoch(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()[:32]


def _take_merged(body: bytes, actor: RemoteActor) -> _Apply:
    run = verify_merged(parse(body, _MAX_BYTES), actor, NOW)
    return partial(apply_merged, follow_id=1, verified=run, now=NOW)


def _take_page(body: bytes, actor: RemoteActor) -> _Apply:
    page = verify_page(parse(body, _MAX_BYTES), actor, NOW)
    return partial(apply_page, follow_id=1, verified=page, now=NOW)


def _seconds(path: Path, peers: Peers, bodies: list[bytes], take: Take) -> tuple[float, float]:
    """Return seconds by the clock and of the processor, on one core.

    As in `serve`, the garbage collector is spared what was loaded.
    """
    actor, store = feed_actor(_FEED), Store.open(f"sqlite:///{path}")
    store.write_now(_begin, peers, actor)
    gc.collect()
    gc.freeze()
    with one_core():
        start, cpu = time.perf_counter(), time.process_time()
        asyncio.run(_read(store, actor, bodies, take))
        checkpoint(path)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    gc.unfreeze()
    store.close()
    return seconds, cpu


async def _read(store: Store, actor: RemoteActor, bodies: list[bytes], take: Take) -> None:
    """Verify each document while the one before is stored, as a turn of the puller does."""

    async def keep(documents: Sequence[_Apply]) -> list[Step]:
        return await store.write(_apply, documents)

    async with Behind(keep) as storing:
        for body in bodies:
            await storing.put(await asyncio.to_thread(take, body, actor))


def _apply(conn: Connection, documents: Sequence[_Apply]) -> list[Step]:
    steps = [apply(conn) for apply in documents]
    if not set(steps) <= set(APPLIED):
        raise AssertionError("what is measured was not applied")
    return steps


def _begin(conn: Connection, peers: Peers, actor: RemoteActor) -> None:
    """Let the peer's feed be one of which nothing was read yet."""
    conn.execute(delete(remote_pages))
    values = {"actor_id": actor.id, "epoch": None, "page": 0, "digest": None}
    conn.execute(update(follows).where(follows.c.id == peers.first).values(**values))
