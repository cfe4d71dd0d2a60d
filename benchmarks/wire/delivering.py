"""What it costs to deliver a page to its followers: our processor time, and how long it takes.

The real path, from rows that wait in a feed to 202 of every inbox: sealed, signed and written down
for each host, sent over HTTP on loopback by the deliverer and deleted once it arrived, in SQLite
with synchronous=FULL. 150 followers live on 50 hosts, which are a process of their own
(`standing_in.py`). Three on each host share an inbox, so a page goes to each host once; beside it
the same without shared inboxes, and a page that is too large for a Create and is announced.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select

from benchmarks.report import Row, note
from benchmarks.wire.pages import DESCRIPTION, RULES
from benchmarks.wire.standing_in import standing_in, taken
from cache.memory.record import pipeline_row
from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, feed_rows, followers
from cache.storage.tables import metadata
from cache.verdict import Basis, Feed
from federation.following.followers import APPROVED
from federation.instance import Instance
from federation.origin import Origin
from federation.service import Federation
from federation.settings import FederationSettings, FeedSettings
from federation.signing.keystore import ensure_keys

HOSTS, FOLLOWERS = 50, 150
INLINE_ROWS, FULL_ROWS = 100, 1_000
ROUNDS = 5
BASE = Origin("http://127.0.0.1:9")  # nobody asks us anything here


def delivery_rows() -> Iterator[Row]:
    """Return the figures as rows of the report."""
    for metric, value in deliver().items():
        unit = metric.rpartition(", ")[2]
        yield Row(metric.removesuffix(f", {unit}"), value, unit)


def deliver() -> dict[str, float]:
    """Measure; each figure is the median of so many pages, and its name ends with its unit."""
    note(f"delivering to {FOLLOWERS} followers on {HOSTS} hosts")
    with standing_in(HOSTS) as ports, tempfile.TemporaryDirectory() as held:
        return asyncio.run(_deliver(ports, Path(held)))


async def _deliver(ports: Sequence[int], folder: Path) -> dict[str, float]:
    store = Store.open(f"sqlite:///{folder / 'ours.sqlite3'}")
    store.write_now(metadata.create_all)
    federation = _federation(store, folder)
    await federation.feeds.start()
    found: dict[str, float] = {}
    try:
        for name, rows, is_shared in (
            ("inline, shared inboxes", INLINE_ROWS, True),
            ("inline, an inbox each", INLINE_ROWS, False),
            ("announced, shared inboxes", FULL_ROWS, True),
        ):
            store.write_now(_follow, ports, is_shared)
            found |= await _measure(name, rows, store, federation, ports[0])
    finally:
        await federation.stop()
        store.close()
    return found


def _federation(store: Store, folder: Path) -> Federation:
    def clock() -> int:
        return int(time.time())

    instance = Instance(BASE, store.write_now(ensure_keys, clock()), clock)
    settings = FederationSettings(allow_private_addresses=True)
    at_once = FeedSettings(seal_seconds=0, seal_flagged_seconds=0)
    agent = {"state_dir": folder / "state", "user_agent": "benchmark"}
    return Federation(store, instance, settings, at_once, **agent, rules=RULES)  # type: ignore[arg-type]


async def _measure(
    name: str, rows: int, store: Store, federation: Federation, port: int
) -> dict[str, float]:
    """Return what a page costs, and check that every host took it."""
    costs = [await _page(store, federation, rows, number) for number in range(ROUNDS + 1)]
    told = await asyncio.to_thread(taken, port)
    note(f"{name}: {told}")
    sealed, cpu, wall, sent = (sorted(kind) for kind in zip(*costs[1:], strict=True))
    middle = ROUNDS // 2
    whole = f"a page to {FOLLOWERS} followers on {HOSTS} hosts, {name}"
    return {
        f"{whole}: messages, messages": sent[middle],
        f"{whole}: sealed and written down, ms": 1_000 * sealed[middle],
        f"{whole}: delivered, processor time of ours, ms": 1_000 * cpu[middle],
        f"{whole}: delivered, on the clock, ms": 1_000 * wall[middle],
    }


async def _page(
    store: Store, federation: Federation, rows: int, number: int
) -> tuple[float, float, float, float]:
    """Seal and deliver a page; return seconds of sealing, of processor and clock, and messages."""
    store.write_now(_append, rows, number)
    start = time.process_time()
    while await federation.feeds.seal():
        pass
    sealed = time.process_time() - start
    waiting = select(func.count()).select_from(deliveries)
    sent = store.read_now(lambda conn: conn.scalar(waiting) or 0)
    start_cpu, start = time.process_time(), time.perf_counter()
    await federation.deliverer.run_once()
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - start
    if store.read_now(lambda conn: conn.scalar(waiting)):
        raise AssertionError("what is measured was not delivered")
    return sealed, cpu, wall, sent


def _follow(conn: Connection, ports: Sequence[int], is_shared: bool) -> None:
    """Let three actors of each host follow the clean feed."""
    conn.execute(delete(followers))
    for number in range(FOLLOWERS):
        origin = f"http://127.0.0.1:{ports[number % HOSTS]}"
        actor_id = f"{origin}/users/{number}"
        values = {
            "feed": int(Feed.CLEAN),
            "actor_id": actor_id,
            "origin": origin,
            "inbox": f"{actor_id}/inbox",
            "shared_inbox": f"{origin}/inbox" if is_shared else None,
            "state": APPROVED,
            "follow_id": f"{actor_id}/follow",
            "created": 0,
        }
        conn.execute(insert(followers).values(**values))


def _append(conn: Connection, rows: int, number: int) -> None:
    """Append so many attestations to the clean feed, as `cache.feeds.publish` does."""
    rng, now = random.Random(number), int(time.time())
    pipeline = pipeline_row(conn, DESCRIPTION)
    values = [
        {
            "feed": int(Feed.CLEAN),
            "op": 0,
            "sha256": rng.randbytes(32),
            "content": rng.randbytes(32),
            "pipeline_id": pipeline,
            "basis": int(Basis.MODEL),
            "scores": '{"gore":3,"minor":5,"sexual":12,"test-pattern":0,"violence":7}',
            "issued": now - now % 86_400,
            "expires": now + 30 * 86_400,
            "added": now,
        }
        for _ in range(rows)
    ]
    conn.execute(insert(feed_rows), values)
