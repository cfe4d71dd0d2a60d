"""The federation, simulated: how much inference reuse saves, what it costs, what liars get through.

`python -m benchmarks.federation [--instances 10,100,1000,10000] [--quick] [--into FOLDER]` draws
federations of those sizes (`federated.world`), runs them with the real `decide`
(`federated.simulate`), measures what a node pays (`federated.cost`), prints a table, and writes
benchmarks/results/federation.json and docs/figures/federation-*.svg. The runs are the same each
time; only the measured times differ. Ten minutes on two cores; `--quick` takes one and is for
looking at the program, not at its figures.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.federated import figures, svg
from benchmarks.federated.cost import NodeCost, PageBytes, node_cost, page_bytes
from benchmarks.federated.figures import Pair, find
from benchmarks.federated.plan import ASKED, BASE, Run, perform_all, plan
from benchmarks.federated.simulate import Result
from benchmarks.report import RESULTS, Report, Row, note

SIZES = (10, 100, 1_000, 10_000)
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
QUICK = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; 1 when a law that must hold does not."""
    asked = _asked(arguments)
    started = time.monotonic()
    runs = plan(asked.instances, QUICK if asked.quick else 1.0)
    note(f"{len({(one.world, one.policy) for one in runs})} runs")
    done = list(zip(runs, perform_all(runs, asked.processes, _tell), strict=True))
    pages, node = page_bytes(), node_cost()
    report = Report("federation")
    for row in (*_laws(done), *_saved(done), *_hostile(done), *_cost(done, pages, node)):
        report.add(row)
    code = report.finish(asked.into or RESULTS)
    _write(report, done, pages, asked.into or RESULTS)
    _draw(done, pages, asked.into or FIGURES)
    note(f"{time.monotonic() - started:.0f} s; {_goals(report)}")
    return code


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.federation")
    parser.add_argument("--instances", type=_sizes, default=SIZES, help="comma-separated, from 3")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the posts")
    parser.add_argument("--into", type=Path, help="write everything there instead")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args(arguments)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted({int(part) for part in text.split(",")}))
    if not sizes or sizes[0] < 3:
        raise argparse.ArgumentTypeError("a federation has at least 3 instances")
    return sizes


def _tell(one: Run, result: Result) -> None:
    note(f"{one.figure}, {one.line}, {one.x:g}: saved {100 * result.saved:.1f} %")


def _laws(done: Sequence[Pair]) -> list[Row]:
    """What must hold whatever the numbers are."""
    alone = [result for one, result in done if one.policy.trusted == 0]
    honest = [result for one, result in done if one.policy.hostile_share == 0]
    wrong = sum(r.wrong_clean + r.wrong_review + r.wrong_flagged for r in honest)
    ended = sum(r.demoted_honest for _, r in done)
    distinct = {(one.world, one.policy): result for one, result in done}.values()
    again, asked = sum(r.checked for r in distinct), sum(r.asked for r in distinct)
    at_most = {"goal": 0.0, "goal_is": "at most"}
    return [
        Row("saved with no peer trusted", max(r.saved for r in alone), "share", **at_most),  # type: ignore[arg-type]
        Row("wrong decisions without hostile peers", wrong, "pictures", **at_most),  # type: ignore[arg-type]
        Row("weights of honest peers that were ended", ended, "pairs", **at_most),  # type: ignore[arg-type]
        Row("decisions in all runs", asked, "decisions"),
        Row("of them decided again, and the same", again, "decisions"),
    ]


def _saved(done: Sequence[Pair]) -> list[Row]:
    units = {
        "peers": "trusted",
        "choice": "trusted",
        "delay": "s to seal",
        "taking part": "%",
        "audits": "%",
        "sensitivity": "trusted",
    }
    rows = []
    for one, result in done:
        if one.figure in units:
            at = f"{one.x:g} {units[one.figure]}"
            rows.append(Row(f"saved: {one.figure}, {one.line}, {at}", 100 * result.saved, "%"))
    return rows


def _hostile(done: Sequence[Pair]) -> list[Row]:
    rows = []
    for one, result in done:
        if one.figure == "hostile" and one.x:
            at = f"{one.x:g} % hostile, {one.line}"
            passed = 100 * result.wrong_clean / max(1, result.abusive_met)
            flagged = result.wrong_flagged + result.wrong_review
            rows.append(Row(f"abusive passed as clean: {at}", passed, "%"))
            rows.append(
                Row(
                    f"innocuous flagged or in review: {at}",
                    1_000 * flagged / max(1, result.clean_met),
                    "in 1,000",
                )
            )
    return rows


def _cost(done: Sequence[Pair], pages: Sequence[PageBytes], node: NodeCost) -> list[Row]:
    base = find(done, "choice", "peers seen most", BASE.trusted)
    traffic = figures.traffic(*base, pages)
    return [
        *(
            Row(f"bytes an attestation, {p.feed} page of {p.rows:,}", p.by_row, "bytes")
            for p in pages
        ),
        *(Row(f"median instance, 10 peers: {name}", v, name) for name, v in traffic.items()),
        *_cost_by_seal(done, pages),
        Row("disk a row held (SQLite)", node.disk_bytes_a_row, "bytes"),
        Row("verify a received row (full page)", node.verify_us_a_row, "us"),
        Row("store a received row", node.store_us_a_row, "us"),
        Row("answer from a peer's verdict: look-up, throw, decide", node.answer_us, "us"),
        Row("look-up of an unknown picture", node.miss_us, "us"),
    ]


def _cost_by_seal(done: Sequence[Pair], pages: Sequence[PageBytes]) -> Iterable[Row]:
    """Return what the median instance receives a day when pages are sealed sooner or later."""
    for one, result in done:
        if one.figure == "delay" and one.line == ASKED:
            megabytes = figures.traffic(one, result, pages)["MB received a day"]
            at = f"median instance, 10 peers, pages sealed after {one.x:,.0f} s: received"
            yield Row(at, megabytes, "MB a day")


def _write(report: Report, done: Sequence[Pair], pages: Sequence[PageBytes], folder: Path) -> None:
    """Write the JSON once more, with every run in it."""
    document = report.as_json()
    document["runs"] = [figures.numbers(one, result) for one, result in done]
    document["pages"] = [vars(page) for page in pages]
    path = folder / f"{report.name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _draw(done: Sequence[Pair], pages: Sequence[PageBytes], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in figures.charts(done, pages).items():
        (folder / f"{name}.svg").write_text(svg.draw(chart), "utf-8")


def _goals(report: Report) -> str:
    short = [row.metric for row in report.rows if row.verdict == "short"]
    return f"short of: {', '.join(short)}" if short else "every law holds"


if __name__ == "__main__":
    sys.exit(main())
