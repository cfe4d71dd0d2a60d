"""Memory and crash safety over a long backlog: 100,000 generated pictures in a folder.

The real command, `fediverdict scan`, in processes of its own, by ONNX Runtime and by torch; the
proportional set size (PSS) of its whole tree is read every second. The torch run is killed with
-9 at half and started again: it has to finish, and to scan nothing that was stored before.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import func, select

import migrations
from benchmarks.report import Report, Row, note
from cache.storage.database import Store
from cache.storage.tables import verdicts

PICTURES = int(os.environ.get("FEDIVERDICT_BENCH_PICTURES", "100000"))
SETTLED = PICTURES // 10
"""From this picture on the memory of a process must not grow any more."""
MEGABYTE = 1e6
GOALS = {"onnx": 400.0, "torch": 1_300.0}
GROWTH_GOAL = 30.0
A_FOLDER = 1_000


@dataclass
class Run:
    """One process tree over (a part of) the backlog."""

    seconds: float = 0.0
    seen: int = 0
    scanned: int = 0
    samples: list[tuple[int, float]] = field(default_factory=list)  # (pictures seen, MB)

    @property
    def peak(self) -> float:
        """The largest PSS, in MB."""
        return max(megabytes for _, megabytes in self.samples)

    @property
    def growth(self) -> float:
        """MB from the 10,000th picture (of 100,000) to the last: medians of ten samples."""
        settled = [megabytes for seen, megabytes in self.samples if seen >= SETTLED]
        return float(np.median(settled[-10:]) - np.median(settled[:10]))


def main() -> int:
    """Measure, print, write benchmarks/results/scanner_memory.json; 1 when a goal is missed."""
    report = Report("scanner_memory", ("torch", "open_clip_torch", "onnxruntime"))
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        generate(pictures)
        whole = scan(_config(Path(folder), "onnx"), pictures)
        _report(report, "onnx", [whole])
        config = _config(Path(folder), "torch")
        first = scan(config, pictures, stop_at=PICTURES // 2)
        stored = _stored(config)
        second = scan(config, pictures)
        _report(report, "torch", [first, second])
        _report_restart(report, stored, second, _stored(config))
    return report.finish()


def _report(report: Report, backend: str, runs: list[Run]) -> None:
    seen, seconds = sum(run.seen for run in runs), sum(run.seconds for run in runs)
    report.add(Row(f"{backend}: pictures seen", seen, "pictures"))
    report.add(Row(f"{backend}: rate", seen / seconds, "pictures a second"))
    peak, growth = max(run.peak for run in runs), max(run.growth for run in runs)
    report.add(Row(f"{backend}: peak PSS of the tree", peak, "MB", GOALS[backend], "at most"))
    report.add(Row(f"{backend}: growth past {SETTLED:,}", growth, "MB", GROWTH_GOAL, "at most"))


def _report_restart(report: Report, stored: int, second: Run, end: int) -> None:
    report.add(Row("verdicts stored when it was killed", stored, "pictures"))
    report.add(Row("scanned after the restart", second.scanned, "pictures"))
    twice = stored + second.scanned - PICTURES
    report.add(Row("scanned twice", twice, "pictures", goal=0, goal_is="at most"))
    report.add(Row("verdicts in the end", end, "pictures", goal=PICTURES))


def generate(folder: Path) -> None:
    """Write the pictures, 320x240 JPEGs, a thousand a folder; no two are alike."""
    note(f"drawing {PICTURES:,} pictures")
    starts = range(0, PICTURES, A_FOLDER)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_generate_some, folder), starts))


def _generate_some(folder: Path, start: int) -> None:
    inner = folder / f"{start:07}"
    inner.mkdir(parents=True)
    for number in range(start, min(start + A_FOLDER, PICTURES)):
        rng = np.random.default_rng(number)
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        image = small.resize((320, 240), Image.Resampling.BICUBIC)
        image.save(inner / f"{number:07}.jpg", "JPEG", quality=75)


def _config(folder: Path, backend: str) -> Path:
    config = folder / backend / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[scanner]\nbackend = "{backend}"\n')
    command(config, "init")
    if backend == "onnx":
        command(config, "model", "export")
    return config


def command(config: Path, *arguments: str) -> None:
    """Run a command of ours to its end."""
    subprocess.run([*_FEDIVERDICT, "--config", str(config), *arguments], check=True)


_FEDIVERDICT = (sys.executable, "-m", "fediverdict")


def scan(config: Path, pictures: Path, stop_at: int | None = None) -> Run:
    """Scan the folder, or kill the process with -9 when so many pictures were seen."""
    run, started = Run(), time.monotonic()
    output = config.parent / "scan.jsonl"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*_FEDIVERDICT, "--config", str(config), "scan", str(pictures), "--json"],
            stdout=file,
            start_new_session=True,
        )
        with output.open() as reader:
            while process.poll() is None:
                _take(run, reader)
                run.samples.append((run.seen, _tree_pss(process.pid)))
                if stop_at is not None and run.seen >= stop_at:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    break
                time.sleep(1)
            _take(run, reader)
    run.seconds = time.monotonic() - started
    note(f"{run.seen:,} seen, {run.scanned:,} scanned, {run.seconds:.0f} s, peak {run.peak:.0f} MB")
    return run


def _take(run: Run, lines: Iterator[str]) -> None:
    for line in lines:
        with suppress(ValueError):  # the last line before a kill may be cut
            found = json.loads(line)
            run.seen += "key" in found
            run.scanned += bool(found.get("scanned"))


def _stored(config: Path) -> int:
    url = f"sqlite:///{config.parent}/fediverdict.sqlite3"
    migrations.check(url)
    store = Store.open(url)
    try:
        counted = select(func.count()).select_from(verdicts)
        return store.read_now(lambda connection: int(connection.execute(counted).scalar_one()))
    finally:
        store.close()


def _tree_pss(root: int) -> float:
    """Return the PSS of a process and all it started, in MB."""
    return sum(map(_pss, [root, *_children(root)])) / MEGABYTE


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in _paths(f"/proc/{process}/task"):
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *_children(int(child))]
    return found


def _paths(folder: str) -> list[Path]:
    try:
        return list(Path(folder).iterdir())
    except OSError:
        return []


def _pss(process: int) -> int:
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
