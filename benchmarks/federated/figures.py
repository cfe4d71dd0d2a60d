"""Turns the results of the runs into charts and into the numbers of the JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.federated.cost import PageBytes, fitted
from benchmarks.federated.plan import BASE, HOSTILE, Run
from benchmarks.federated.simulate import Result
from benchmarks.federated.svg import Chart, Line

Pair = tuple[Run, Result]
WORST = 100 * HOSTILE[-1]
SAVED = "scans saved, % of the pictures new to an instance"


def charts(done: Sequence[Pair], pages: Sequence[PageBytes]) -> dict[str, Chart]:
    """Return every chart by the name of its file."""
    return {
        "federation-peers": Chart(
            "Inference saved by how many peers an instance trusts",
            "trusted peers (those whose posts it sees most)",
            SAVED,
            _lines(done, "peers", _saved),
            logarithmic=True,
        ),
        "federation-choice": Chart(
            "Whom to trust",
            "trusted peers",
            SAVED,
            _lines(done, "choice", _saved),
            logarithmic=True,
        ),
        "federation-delay": Chart(
            "Pages come later than the pictures they judge",
            "seconds until a page is sealed (default 60)",
            SAVED,
            _lines(done, "delay", _saved),
            logarithmic=True,
        ),
        "federation-audits": Chart(
            "What audits cost",
            "peers.defaults.audit_rate, %",
            SAVED,
            _lines(done, "audits", _saved),
            logarithmic=True,
        ),
        "federation-newcomers": Chart(
            "New peers are audited often at first",
            "day",
            "scans saved on that day, %",
            _by_day(done),
        ),
        "federation-taking-part": Chart(
            "When not every instance takes part",
            "instances that take part, %",
            SAVED,
            [
                *_lines(done, "taking part", _saved),
                Line(
                    "the median instance",
                    [(r.x, 100 * o.saved_median()) for r, o in _of(done, "taking part")],
                ),
            ],
            logarithmic=True,
        ),
        "federation-hostile-clean": Chart(
            "Hostile peers call abusive pictures clean",
            "hostile share of the trusted peers, %",
            "abusive pictures passed as clean, %",
            lines := _lines(done, "hostile", _wrong_clean),
            top=_top(lines),
        ),
        "federation-hostile-flags": Chart(
            "Hostile peers flag innocuous pictures",
            "hostile share of the trusted peers, %",
            "innocuous pictures wrongly flagged, in 1,000",
            flags := _flag_lines(done),
            top=_top(flags),
        ),
        "federation-hostile-days": Chart(
            f"Audits find the liars ({WORST:g} % hostile, quorums 1.0)",
            "day",
            "abusive pictures passed as clean up to that day, %",
            days := _passed_by_day(done),
            top=_top(days),
        ),
        "federation-bytes": Chart(
            "What an attestation takes on the wire, by how full its page is",
            "rows of a page",
            "bytes an attestation, sent to one follower (without HTTP and TLS)",
            rows := [
                Line(f"{feed} feed", [(p.rows, p.by_row) for p in pages if p.feed == feed])
                for feed in ("clean", "flagged")
            ],
            top=_top(rows),
            logarithmic=True,
        ),
    }


def numbers(one: Run, result: Result) -> dict[str, object]:
    """Return what the JSON holds of one run."""
    return {
        "figure": one.figure,
        "line": one.line,
        "x": one.x,
        "world": asdict(one.world),
        "policy": asdict(one.policy),
        "pictures_met": int(result.met.sum()),
        "scanned": int(result.scanned.sum()),
        "saved": round(result.saved, 5),
        "saved_median_instance": round(result.saved_median(), 5),
        "reasons": {str(name): number for name, number in sorted(result.reasons.items())},
        "abusive_met": result.abusive_met,
        "wrong_clean": result.wrong_clean,
        "wrong_review": result.wrong_review,
        "wrong_flagged": result.wrong_flagged,
        "hostile_instances": result.hostile,
        "hostile_trusted_pairs": result.hostile_trusted,
        "weights_ended_of_hostile": result.demoted_hostile,
        "weights_ended_of_honest": result.demoted_honest,
        "decisions": result.asked,
        "distinct_evidence": result.distinct,
        "decided_again": result.checked,
    }


def traffic(one: Run, result: Result, pages: Sequence[PageBytes]) -> dict[str, float]:
    """Return what the median instance of a run sends and receives, by the measured bytes."""
    a_page, a_row = fitted(pages, "clean")
    received = result.received_pages * a_page + result.received * a_row
    full = next(page.by_row for page in pages if (page.feed, page.rows) == ("clean", 1_000))
    sent = result.pages * a_page + result.published * a_row
    saved = result.met - result.scanned
    of = saved > 0
    return {
        "pictures a day": float(np.median(result.met)) / one.world.days,
        "rows published a day": float(np.median(result.published)) / one.world.days,
        "rows received a day": float(np.median(result.received)) / one.world.days,
        "rows of a page": float(result.published.sum() / result.pages.sum()),
        "MB received a day": float(np.median(received)) / one.world.days / 1e6,
        "KB sent a day and follower": float(np.median(sent)) / one.world.days / 1e3,
        "KB received a scan saved": float(np.median(received[of] / saved[of])) / 1e3,
        "KB received a scan saved, were all pages full": float(
            np.median(full * result.received[of] / saved[of])
        )
        / 1e3,
    }


def find(done: Sequence[Pair], figure: str, line: str, x: float) -> Pair:
    """Return the run at one point of a curve."""
    return next(p for p in _of(done, figure) if (p[0].line, p[0].x) == (line, x))


def _of(done: Sequence[Pair], figure: str) -> list[Pair]:
    return [pair for pair in done if pair[0].figure == figure]


def _lines(done: Sequence[Pair], figure: str, value: Callable[[Result], float]) -> list[Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for one, result in _of(done, figure):
        points.setdefault(one.line, []).append((one.x, value(result)))
    return [Line(name, found) for name, found in points.items()]


def _by_day(done: Sequence[Pair]) -> list[Line]:
    pairs = _of(done, "audits")
    wanted = [pair for pair in pairs if pair[0].x == 100 * BASE.audit_floor]
    off = next(pair for pair in pairs if not pair[0].policy.terms.audits)
    named = [("without audits", off), *((one.line, (one, result)) for one, result in wanted)]
    return [Line(name, list(_saved_by_day(*pair))) for name, pair in named]


def _saved_by_day(one: Run, result: Result) -> Iterable[tuple[float, float]]:
    for day in range(int(one.world.days)):
        if met := int(result.met_by_day[day]):
            yield day + 1, 100 * (1 - int(result.scanned_by_day[day]) / met)


def _flag_lines(done: Sequence[Pair]) -> list[Line]:
    """Return the lines of wrong flags by veterans; those of new peers lie close above them."""
    return [
        Line(line.name.replace("veterans, quorums", "flag_quorum"), line.points)
        for line in _lines(done, "hostile", _wrong_flags)
        if line.name.startswith("veterans")
    ]


def _passed_by_day(done: Sequence[Pair]) -> list[Line]:
    """Return what passed up to each day, for the lines of quorum 1.0."""
    lines = []
    for one, result in _of(done, "hostile"):
        if one.x == WORST and one.policy.terms.clean_quorum == BASE.terms.clean_quorum:
            passed, met = (
                np.cumsum(found)[: int(one.world.days)]
                for found in (result.wrong_clean_by_day, result.abusive_by_day)
            )
            share = 100 * passed / np.maximum(met, 1)
            lines.append(Line(one.line, [(day, float(y)) for day, y in enumerate(share, 1)]))
    return lines


def _saved(result: Result) -> float:
    return 100 * result.saved


def _wrong_clean(result: Result) -> float:
    return 100 * result.wrong_clean / max(1, result.abusive_met)


def _wrong_flags(result: Result) -> float:
    return 1_000 * (result.wrong_flagged + result.wrong_review) / max(1, result.clean_met)


def _top(lines: Sequence[Line]) -> float:
    """Return a round number that no point passes."""
    highest = max((y for line in lines for _, y in line.points), default=1.0) or 1.0
    scale = 10.0 ** np.floor(np.log10(highest))
    return float(next(n * scale for n in (1, 1.5, 2, 2.5, 4, 5, 10) if n * scale >= highest))
