"""What travels between instances: how fast it is verified and stored, how large, how it holds up.

`python -m benchmarks.federation_wire [verify] [store] [bytes] [deliver] [flood]` runs the parts
named, or all (fifteen minutes and 12 GB of disk on two cores, most of it filling the databases);
`--sizes 100000` is a quick look. Prints a table, writes benchmarks/results/federation_wire.json,
ends 1 when a goal is missed.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.report import RESULTS, Report, Row
from benchmarks.wire.delivering import delivery_rows
from benchmarks.wire.flooding import flood_rows
from benchmarks.wire.receiving import MORE, store_rows
from benchmarks.wire.sizes import size_rows
from benchmarks.wire.verifying import verify_rows

SIZES = (100_000, 1_000_000, 10_000_000)


def main(arguments: list[str]) -> int:
    """Run the parts that are asked for."""
    asked = _parser().parse_args(arguments)
    parts = _parts(asked)
    report = Report("federation_wire", ("http-message-signatures",))
    for name in asked.parts or parts:
        for row in parts[name]():
            report.add(row)
    return report.finish(asked.results)


def _parts(asked: argparse.Namespace) -> dict[str, Callable[[], Iterable[Row]]]:
    return {
        "bytes": size_rows,
        "verify": verify_rows,
        "deliver": delivery_rows,
        "flood": flood_rows,
        "store": lambda: store_rows(asked.sizes, asked.more, asked.folder),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.federation_wire", description=__doc__)
    names = ["bytes", "verify", "deliver", "flood", "store"]
    parser.add_argument("parts", nargs="*", choices=[*names, []], help="those to run; else all")
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="rows, e.g. 100000,1000000")
    parser.add_argument("--more", type=int, default=MORE, help="attestations that are stored")
    parser.add_argument("--folder", type=Path, help="where the databases are kept")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
