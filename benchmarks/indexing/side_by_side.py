"""Radius 31 beside the peers: median lookup, build and memory, every answer as brute force says."""

import statistics
import time

from benchmarks.indexing.data import (
    FEDIVERDICT,
    FLAT,
    MULTI_HASH,
    PDQ_INDEX,
    Answers,
    brute_force,
    codes,
    queries,
)
from benchmarks.indexing.memory import built_alone
from benchmarks.indexing.peers import Search, built, inputs
from benchmarks.report import Report, Row, note
from cache.index.near import NEAR_BITS

ROUNDS = 5
QUERIES = 200
FEWER_QUERIES = 60


def one_million(report: Report, number: int) -> None:
    """Fediverdict, threatexchange and faiss over 1 million codes."""
    names = [FEDIVERDICT, PDQ_INDEX, MULTI_HASH, FLAT]
    median = _medians(names, number, QUERIES)
    took = {name: built_alone(name, number) for name in names if name != FLAT}
    report.add(_beside(f"{number:,} codes: lookup", median, FLAT))
    for name in (PDQ_INDEX, MULTI_HASH):
        is_goal = name == PDQ_INDEX
        goals: tuple[float | None, ...] = (3.5, 10.0, 5.0) if is_goal else (None,) * 3
        megabytes, seconds = took[name]
        ours_mb, ours_seconds = took[FEDIVERDICT]
        for what, value, goal in (
            ("lookup faster than", median[name] / median[FEDIVERDICT], goals[0]),
            ("build faster than", seconds / ours_seconds, goals[1]),
            ("memory less than", megabytes / ours_mb, goals[2]),
        ):
            report.add(Row(f"{number:,} codes: {what} {name}", value, "times", goal))
        report.add(_beside(f"{number:,} codes: lookup", median, name))
        report.add(
            Row(f"{number:,} codes: build", ours_seconds, "s", peer=name, peer_value=seconds)
        )
        report.add(Row(f"{number:,} codes: memory", ours_mb, "MB", peer=name, peer_value=megabytes))


def ten_million(report: Report, number: int) -> None:
    """Fediverdict and faiss over 10 million codes."""
    median = _medians([FEDIVERDICT, MULTI_HASH], number, FEWER_QUERIES)
    ratio = median[MULTI_HASH] / median[FEDIVERDICT]
    goal = Row(f"{number:,} codes: lookup", median[FEDIVERDICT] * 1e3, "ms", 7.0, "at most")
    report.add(goal)
    report.add(Row(f"{number:,} codes: lookup faster than {MULTI_HASH}", ratio, "times", 2.5))
    report.add(_beside(f"{number:,} codes: lookup", median, MULTI_HASH))
    megabytes, seconds = built_alone(FEDIVERDICT, number)
    report.add(Row(f"{number:,} codes: build", seconds, "s"))
    report.add(Row(f"{number:,} codes: memory", megabytes, "MB"))


def _beside(metric: str, median: dict[str, float], name: str) -> Row:
    ours, theirs = median[FEDIVERDICT] * 1e3, median[name] * 1e3
    return Row(metric, ours, "ms", peer=name, peer_value=theirs)


def _medians(names: list[str], number: int, asked: int) -> dict[str, float]:
    """Return the median seconds of a lookup; raises where an answer differs from brute force."""
    stored = codes(number)
    truth = brute_force(stored, queries(stored, asked), NEAR_BITS)
    found = sum(map(len, truth.sets))
    note(f"{number:,} codes: {len(truth.sets)} queries, {found} matches by brute force")
    searches: dict[str, Search] = {}
    for name in names:
        note(f"{number:,} codes: building {name}")
        searches[name] = built(name, inputs(name, stored))
        _check(name, searches[name], truth)
    return _timed(searches, truth)


def _check(name: str, search: Search, truth: Answers) -> None:
    for query, expected in zip(truth.queries, truth.sets, strict=True):
        found = search(query)
        if len(found) != len(expected) or set(found) != expected:
            raise AssertionError(f"{name} found {found}, brute force {expected}")


def _timed(searches: dict[str, Search], truth: Answers) -> dict[str, float]:
    """Return each search's median; they take turns, so that a machine that drifts is fair."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for name, search in searches.items():
            for query in truth.queries:
                begun = time.perf_counter()
                search(query)
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(found) for name, found in times.items()}
