"""What an answer costs by the way it is found, in core-milliseconds, on the code that serves.

For JPEGs of 2 megapixels and at most 400 kB: an exact hit; the first hit on a trusted peer's
verdict (decodes once, so that our own flagged twins count); the perceptual path of a picture
nobody knows (decode, PDQ, pHash, near search over 10,000 codes); and a whole scan at batch 8.
CPU time of all processes and threads; the ways take turns, medians over the rounds.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.report import Report, Row, note
from benchmarks.scan.instance import cpu_seconds, instance
from benchmarks.scan.pictures import checkpoint, distinct, quiet_policy
from benchmarks.scan.trusted_peer import CLEAN_PEER, let_peer_judge
from cache.verdict import Decision
from fediverdict.judge import Answer, Judge
from scanner.decoding.fingerprint import sha256_of

CODES = 10_000
BATCH = 8
EXACT, FIRST, PERCEPTUAL = "exact hit", "first hit on a peer's verdict", "perceptual path"
GOALS = {"ViT-B-32": {EXACT: 250.0, PERCEPTUAL: 7.0}, "ViT-L-14": {EXACT: 2500.0, PERCEPTUAL: 60.0}}
ROUNDS = {"ViT-B-32": 7, "ViT-L-14": 3}
HITS, DECODED = 200, 16


def main() -> int:
    """Measure, print, write benchmarks/results/scanner_cost.json; 1 when a goal is missed."""
    report = Report("scanner_cost", ("torch", "open_clip_torch"))
    with tempfile.TemporaryDirectory() as folder:
        for architecture in GOALS:
            note(f"{architecture} with random weights, torch fp32 on the CPU")
            measured = asyncio.run(_measure(Path(folder), architecture))
            _add(report, architecture, measured)
    return report.finish()


def _add(report: Report, architecture: str, measured: dict[str, float]) -> None:
    scan = f"scan, {architecture}"
    for name, seconds in measured.items():
        report.add(Row(f"{name} (beside {scan})", seconds * 1e3, "core-ms a picture"))
    for way in (EXACT, FIRST, PERCEPTUAL):
        goal = GOALS[architecture].get(way)
        report.add(Row(f"{scan} / {way}", measured[scan] / measured[way], "times", goal=goal))


async def _measure(folder: Path, architecture: str) -> dict[str, float]:
    weights = str(checkpoint(folder, architecture))
    settings = {
        "model": weights,
        "architecture": architecture,
        "backend": "torch",
        "device": "cpu",
        "batch": BATCH,
        "policy": str(quiet_policy(folder)),
    }
    with instance(folder, CODES, **settings) as judge:
        ways = await _ways(judge, architecture)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(ROUNDS[architecture] + 1):
            for name, way in ways.items():
                seconds = await way()
                if turn:  # the first round warms up
                    found[name].append(seconds)
    return {name: statistics.median(values) for name, values in found.items()}


async def _ways(judge: Judge, architecture: str) -> dict[str, Callable[[], Awaitable[float]]]:
    numbers = iter(range(1_000_000))
    let_peer_judge(judge.store, [])
    await asyncio.sleep(1.5)  # trust is read once a second
    known = distinct(next(numbers))
    first = await judge.judge(known)
    if not first.scanned:
        raise RuntimeError(f"the first picture should be scanned, not {first.decision}")

    async def exact() -> float:
        return await _timed(judge, [known] * HITS, judge.judge, together=1)

    async def from_peer() -> float:
        fresh = [distinct(next(numbers)) for _ in range(DECODED)]
        let_peer_judge(judge.store, [sha256_of(data) for data in fresh])
        return await _timed(judge, fresh, _expect_reuse(judge), together=2)

    async def perceptual() -> float:
        fresh = [distinct(next(numbers)) for _ in range(DECODED)]

        async def look(data: bytes) -> object:
            return await judge.look(data, sha256_of(data))

        return await _timed(judge, fresh, look, together=2)

    async def scan() -> float:
        fresh = [distinct(next(numbers)) for _ in range(2 * BATCH)]
        return await _timed(judge, fresh, judge.judge, together=2 * BATCH)

    return {EXACT: exact, FIRST: from_peer, PERCEPTUAL: perceptual, f"scan, {architecture}": scan}


def _expect_reuse(judge: Judge) -> Callable[[bytes], Awaitable[Answer]]:
    async def ask(data: bytes) -> Answer:
        answer = await judge.judge(data)
        if answer.scanned or answer.decision is not Decision.CLEAN:
            raise RuntimeError(f"{CLEAN_PEER}'s verdict should be reused, not {answer.decision}")
        return answer

    return ask


async def _timed(
    judge: Judge,
    pictures: Sequence[bytes],
    work: Callable[[bytes], Awaitable[object]],
    together: int,
) -> float:
    """Return the core-seconds a picture, so many of them under way at once."""
    places = asyncio.Semaphore(together)

    async def one(data: bytes) -> None:
        async with places:
            await work(data)

    time.sleep(0.05)  # noqa: ASYNC251  nothing of the turn before is still running
    started = cpu_seconds(judge)
    await asyncio.gather(*(one(data) for data in pictures))
    return (cpu_seconds(judge) - started) / len(pictures)
