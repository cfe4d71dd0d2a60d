"""Hostile files through the whole path: is each answered for in time, and does the service live?

The crafted corpus and 10,000 mutations of the tests, judged by the bundled model, as uploads are:
decoders in processes of their own, two files at once. A process that ends is counted; so is what
the slowest file took, and the memory that a decoder ever had.
"""

import asyncio
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from benchmarks.report import Report, Row, note
from benchmarks.scan.instance import instance
from cache.verdict import Decision
from fediverdict.judge import Judge
from scanner.settings import ScannerSettings
from tests.scanner.decoding.hostile import corpus, mutations

MUTATIONS = int(os.environ.get("FEDIVERDICT_BENCH_MUTATIONS", "10000"))
SEED, TOGETHER = 20261124, 2
MEGABYTE = 1e6


class Trial:
    """What became of the files."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.decisions: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest, self.slowest_name = 0.0, ""
        self.processes: set[int] = set()
        self.peak_bytes = 0

    async def run(self, files: Iterator[tuple[str, bytes]]) -> None:
        """Judge every file."""
        await asyncio.gather(*(self._some(files) for _ in range(TOGETHER)))

    async def _some(self, files: Iterator[tuple[str, bytes]]) -> None:
        for name, data in files:
            started = time.perf_counter()
            try:
                answer = await self.judge.judge(data, name=name)
            except Exception as error:  # noqa: BLE001  whatever it is, it is a failure of ours
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
            else:
                self.decisions[answer.decision] += 1
            if (seconds := time.perf_counter() - started) > self.slowest:
                self.slowest, self.slowest_name = seconds, name
            self._look_at_decoders()

    def _look_at_decoders(self) -> None:
        for process in self.judge.decoder_processes:
            self.processes.add(process)
            with suppress(OSError):
                status = Path(f"/proc/{process}/status").read_text()
                peak = re.search(r"VmHWM:\s+(\d+) kB", status)
                self.peak_bytes = max(self.peak_bytes, int(peak[1]) * 1024 if peak else 0)


def main() -> int:
    """Measure, print, write benchmarks/results/scanner_hostile.json; 1 when a goal is missed."""
    settings = ScannerSettings()
    files = chain(corpus(SEED), mutations(SEED, MUTATIONS))
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner() as runner,
        instance(Path(folder), backend="onnx") as judge,
    ):
        trial = Trial(judge)
        runner.run(trial.run(files))
    for failure in trial.failures:
        note(failure)
    note(f"the slowest was {trial.slowest_name}")
    report = Report("scanner_hostile", ("onnxruntime", "av"))
    total = sum(trial.decisions.values())
    report.add(Row("files answered for", total, "files", goal=MUTATIONS))
    report.add(Row("files that got an error instead", len(trial.failures), "files", 0, "at most"))
    for decision in Decision:
        report.add(Row(f"decision {decision}", trial.decisions[decision], "files"))
    lost = len(trial.processes) - TOGETHER
    report.add(Row("decoder processes that ended", lost, "processes"))
    limit = settings.decode_seconds
    report.add(Row("slowest file", trial.slowest, "s", limit, "at most"))
    most = settings.decoder_bytes / MEGABYTE
    report.add(Row("most memory of a decoder", trial.peak_bytes / MEGABYTE, "MB", most, "at most"))
    return report.finish()
