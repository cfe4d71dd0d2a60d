"""The one reporter of every benchmark: a table for people, JSON for the record.

A row is a metric with its unit, the goal it is held against, the peer it is compared with and
that peer's value, measured in the same run. `verdict` is `met` or `short` where a goal is
given. `finish` writes benchmarks/results/NAME.json and returns the exit code: 1 if a goal was
missed. Absolute times drift on shared machines; ratios within one run hold.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "pillow", "imagehash", "sqlalchemy", "aiohttp", "cryptography")


@dataclass(frozen=True)
class Row:
    """One measured figure."""

    metric: str
    value: float
    unit: str
    goal: float | None = None
    goal_is: str = "at least"  # or "at most"
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the peer's value is ours, or None without a peer."""
        if self.peer_value is None or not self.value:
            return None
        return self.peer_value / self.value

    @property
    def verdict(self) -> str | None:
        """`met` or `short` of the goal, or None where no goal is set."""
        if self.goal is None:
            return None
        met = self.value >= self.goal if self.goal_is == "at least" else self.value <= self.goal
        return "met" if met else "short"


class Report:
    """Collects the rows of one benchmark, then prints and writes them."""

    def __init__(self, name: str, packages: Iterable[str] = ()) -> None:
        self.name = name
        self.rows: list[Row] = []
        self._packages = (*PACKAGES, *packages)

    def add(self, row: Row) -> None:
        """Take one row."""
        self.rows.append(row)

    def finish(self, folder: Path = RESULTS) -> int:
        """Print the table, write the JSON, and return 0, or 1 when a goal was missed."""
        print(self.table())
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_json(), indent=2) + "\n"
        (folder / f"{self.name}.json").write_text(text, "utf-8")
        return int(any(row.verdict == "short" for row in self.rows))

    def table(self) -> str:
        """Return the rows as a Markdown table."""
        head = ("metric", "value", "unit", "goal", "peer", "peer's value", "ratio", "verdict")
        body = [_cells(row) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
        return "\n".join([f"# {self.name}", *lines, *(_line(cells, widths) for cells in body)])

    def as_json(self) -> dict[str, object]:
        """Return the rows with the machine and the versions they were measured on."""
        rows = [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in self.rows]
        return {"benchmark": self.name, "machine": machine(self._packages), "rows": rows}


def _cells(row: Row) -> tuple[str, ...]:
    goal = "" if row.goal is None else f"{row.goal_is} {row.goal:,.4g}"
    numbers = [_number(row.peer_value), _number(row.ratio)]
    verdict = row.verdict or ""
    return (row.metric, _number(row.value), row.unit, goal, row.peer or "", *numbers, verdict)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def machine(packages: Iterable[str]) -> dict[str, object]:
    """Return what the figures were measured on: processor, cores, Python, package versions."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in packages if (version := _version(name))},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def median_seconds(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each work's median wall time in seconds over `rounds`, after one warm-up round.

    The works take turns, so that a machine that drifts slows all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            seconds = _seconds(work)
            if turn:
                times[name].append(seconds)
    return {name: statistics.median(found) for name, found in times.items()}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def note(text: str) -> None:
    """Tell a person what is being measured, apart from the table."""
    print(text, file=sys.stderr, flush=True)
