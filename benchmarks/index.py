"""The near-match index beside what others run: speed, build, memory, and that it is exact.

`python -m benchmarks.index` takes some ten minutes and 8 GB; `--small` a minute, at a twentieth
of the size and without telling which goals are met. Prints a table and writes
benchmarks/results/index.json. The peers come with `pip install -e '.[bench]'`.
"""

import sys

from benchmarks.indexing.living import adding, opening
from benchmarks.indexing.near_search import ball, batches, probable
from benchmarks.indexing.peers import missing
from benchmarks.indexing.side_by_side import one_million, ten_million
from benchmarks.report import Report, note

MILLION = 1_000_000
SMALL = 20


def main(arguments: list[str]) -> int:
    """Run everything; 1 when a goal was missed, 2 where a peer is not installed."""
    if absent := missing():
        note(f"not installed: {', '.join(absent)}; run: pip install -e '.[bench]'")
        return 2
    size = SMALL if "--small" in arguments else 1
    report = Report("index", ["threatexchange", "faiss-cpu"])
    one_million(report, MILLION // size)
    probable(report, (10_000 // size, 100_000 // size, MILLION // size), 100_000 // size)
    ball(report, MILLION // size)
    batches(report, MILLION // size)
    adding(report, MILLION // size)
    opening(report, 10 * MILLION // size)
    ten_million(report, 10 * MILLION // size)
    if size > 1:
        print(report.table())
        return 0
    code = report.finish()
    short = [row.metric for row in report.rows if row.verdict == "short"]
    met = sum(row.verdict == "met" for row in report.rows)
    print(f"goals met: {met}; short: {', '.join(short) or 'none'}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
