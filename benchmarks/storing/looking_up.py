"""How long an exact lookup takes in the serving process, and how many a second in batches.

Image and verdicts joined, by the functions that serve: `evidence` and `evidence_many` in a read
transaction each, then `decide`. Hashes are drawn at random from all that is stored. Warm: the
file was just written or read, and other hashes were looked up before.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from benchmarks.report import Report, Row, note
from benchmarks.storing.filling import LABELS, NOW, ORIGINS, PIPELINE
from cache.decide import decide
from cache.index.near import NearIndex
from cache.judgement import Judgement, PeerState, PipelineTerms, Trust
from cache.memory.lookup import evidence
from cache.memory.lookup_many import evidence_many
from cache.rules import parse
from cache.storage.database import Store
from cache.storage.tables import images, verdicts
from cache.verdict import Decision, Evidence

SINGLE, BATCHES, BATCH = 20_000, 40, 1_000
GOAL_SIZE = 10_000_000
MEDIAN_US, P99_US, STORE_RATE, DECIDE_RATE = 80.0, 300.0, 50_000.0, 15_000.0
JUDGEMENT = Judgement(
    {"suspect": parse("sexual and minor"), "gore": parse("gore")},
    {PIPELINE: PipelineTerms(dict.fromkeys(LABELS, 8_000))},
    {origin: Trust(clean=100, state=PeerState.TRUSTED) for origin in ORIGINS},
)


@dataclass(frozen=True)
class Asked:
    """What is known of a picture that is looked up."""

    sha256: bytes
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    phash: bytes | None = None


def measure_lookups(report: Report, path: Path, size: int) -> None:
    """Measure single lookups and batches in the database at `path`."""
    note(f"looking up among {size:,} pictures")
    store = Store.open(f"sqlite:///{path}")
    asked = store.read_now(_drawn, size)
    gc.collect()
    gc.freeze()  # what this program holds is not what serving holds
    goals = (MEDIAN_US, P99_US, STORE_RATE, DECIDE_RATE) if size == GOAL_SIZE else (None,) * 4
    by_sha256 = [Asked(one.sha256) for one in asked]
    for name, some, limits in (("sha256", by_sha256, goals), ("sha256 and content", asked, goals)):
        _add_single(report, store, f"{size:,} stored, by {name}", some, limits)
    _add_batches(report, store, f"{size:,} stored", by_sha256, goals)
    store.close()


def _add_single(
    report: Report, store: Store, metric: str, asked: Sequence[Asked], goals: Sequence[float | None]
) -> None:
    times = sorted(_times(store, asked))
    median, p99 = statistics.median(times), times[len(times) * 99 // 100]
    at_most: dict[str, Any] = {"goal_is": "at most"}
    report.add(Row(f"lookup, {metric}: median", median * 1e6, "us", goals[0], **at_most))
    report.add(Row(f"lookup, {metric}: p99", p99 * 1e6, "us", goals[1], **at_most))


def _times(store: Store, asked: Sequence[Asked]) -> list[float]:
    times = []
    for one in asked[:SINGLE]:
        start = time.perf_counter()
        found = store.read_now(evidence, None, fingerprint=one)
        times.append(time.perf_counter() - start)
        _check([found])
    return times[len(times) // 4 :]  # the first quarter warms


def _add_batches(
    report: Report, store: Store, metric: str, asked: Sequence[Asked], goals: Sequence[float | None]
) -> None:
    near = NearIndex()

    def look(connection: Connection, some: Sequence[Asked]) -> list[Evidence]:
        return evidence_many(connection, None, [(one, ()) for one in some])

    def judge(connection: Connection, some: Sequence[Asked]) -> list[Evidence]:
        found = evidence_many(connection, near, [(one, ()) for one in some])
        for one in found:
            outcome = decide(one, JUDGEMENT, now=NOW, can_scan=True, throw=1.0)
            assert outcome.decision is not Decision.FLAGGED
        return found

    of_store, through = _rate(store, look, asked), _rate(store, judge, asked)
    report.add(Row(f"batches of {BATCH:,}, {metric}: from the store", of_store, "/s", goals[2]))
    report.add(Row(f"batches of {BATCH:,}, {metric}: through decide", through, "/s", goals[3]))


def _rate(
    store: Store,
    work: Callable[[Connection, Sequence[Asked]], list[Evidence]],
    asked: Sequence[Asked],
) -> float:
    """Return hashes a second, the median over the batches; a first round of them warms."""
    times = []
    for number in range(2 * BATCHES):
        some = asked[number % BATCHES * BATCH % len(asked) :][:BATCH]
        start = time.perf_counter()
        found = store.read_now(work, some)
        times.append(time.perf_counter() - start)
        _check(found)
    return BATCH / statistics.median(times[BATCHES:])


def _check(found: Sequence[Evidence]) -> None:
    assert all(one.matches for one in found), "a picture that is stored was not found"


def _drawn(connection: Connection, size: int) -> list[Asked]:
    rng = random.Random(3)
    ids = sorted(rng.sample(range(1, size + 1), min(size, BATCHES * BATCH)))
    drawn = []
    for first in range(0, len(ids), BATCH):
        some = ids[first : first + BATCH]
        rows = select(images.c.sha256, verdicts.c.content).join_from(verdicts, images)
        drawn += [Asked(*row) for row in connection.execute(rows.where(images.c.id.in_(some)))]
    rng.shuffle(drawn)
    return drawn
