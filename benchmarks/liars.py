"""What an attacker who holds a trusted peer's key gets through before audits catch it.

`python -m benchmarks.liars`, or `python -m benchmarks.judgement liars`. Fixed seeds, no pictures.

An attacker attests honestly but for a share of its clean hits (the lie rate), which are surely
bad. Two ways, which must agree: the real code, hit by hit (`decide`, the HMAC throw, comparing and
the track record), and the chain that follows from the audit rate, solved exactly. A new peer has
no comparison yet; a veteran has 2,000 honest ones. A hit is scanned at once; what an attacker gets
through in the seconds before a scan ends comes on top.

Honest peers: on the same pipeline, a million comparisons with numeric noise; on another model,
simulated years of 100,000 clean hits. The noise between two models is *assumed*: logits of two
classes of pictures, normal with one spread and one correlation. What matters of it is one figure,
the share of clean hits that our own model surely contradicts, so the years are given by that figure
as well.
"""

import statistics
import sys

import numpy as np

from benchmarks.peers.attackers import Chain, played
from benchmarks.peers.honest import (
    COMPARISONS,
    HITS_A_YEAR,
    NOISES,
    NUMERIC_NOISE,
    Rates,
    rates_of,
    same_pipeline,
    years_demoted,
)
from benchmarks.report import Report, Row, note

VETERAN = 2_000  # honest comparisons
LIE_RATES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.002)
AUDIT_RATES = (0.01, 0.05, 0.2)
PLAYED = (1.0, 0.2, 0.05)  # lie rates that the real code plays as well
TAIL = 50  # wrong cleans


def main() -> int:
    """Play, solve, print and write; 1 where a goal was missed."""
    report = Report("judgement_liars")
    for honest, who in ((0, "new peer"), (VETERAN, f"veteran of {VETERAN:,}")):
        for floor in AUDIT_RATES:
            for lie_rate in LIE_RATES:
                note(f"{who}, lies in {lie_rate:.1%}, audit rate {floor:.0%}")
                _add_attack(report, honest, who, lie_rate, floor)
    note(f"an honest peer on the same pipeline, {COMPARISONS:,} comparisons")
    metric = f"same pipeline, noise {NUMERIC_NOISE:g} points, {COMPARISONS:,} comparisons: falls"
    report.add(Row(metric, same_pipeline(), "times", goal=0, goal_is="at most"))
    _add_other_models(report)
    return report.finish()


def _add_attack(report: Report, honest: int, who: str, lie_rate: float, floor: float) -> None:
    chain, case = Chain(lie_rate, floor), f"{who}, lies in {lie_rate:.1%}, audited {floor:.0%}"
    mean, tail = chain.mean(honest), chain.tail(honest, TAIL)
    goals: dict[str, float] = {}
    if (honest, lie_rate, floor) == (0, 0.05, 0.05):
        goals = {"mean": 3}
    if (honest, lie_rate, floor) == (VETERAN, 1.0, 0.05):
        goals = {"mean": 20, "tail": 0.08}
    report.add(_at_most(f"{case}: wrong cleans, mean", mean, "pictures", goals.get("mean")))
    report.add(_at_most(f"{case}: {TAIL} or more", tail, "probability", goals.get("tail")))
    if lie_rate in PLAYED:
        found = played(lie_rate, floor, honest)
        mean_played = statistics.fmean(found)
        report.add(Row(f"{case}: mean of {len(found):,} played", mean_played, "pictures"))
        report.add(Row(f"{case}: median played", statistics.median(found), "pictures"))
        report.add(Row(f"{case}: 95 % played", float(np.quantile(found, 0.95)), "pictures"))
        off = abs(mean_played - mean) / (_error(found) or 1)
        report.add(_at_most(f"{case}: played off the exact mean", off, "standard errors", 4.5))


def _error(found: list[int]) -> float:
    return float(np.std(found)) / float(np.sqrt(len(found)))


def _at_most(metric: str, value: float, unit: str, goal: float | None) -> Row:
    return Row(metric, value, unit, goal=goal, goal_is="at most")


def _add_other_models(report: Report) -> None:
    for i, noise in enumerate(NOISES):
        note(f"an honest peer on another model: {noise.name}")
        rates = rates_of(noise)
        clean, flag = years_demoted(rates)
        case, goal = f"another model ({noise.name})", 0.01 if i == 0 else None
        report.add(Row(f"{case}: false cleans", rates.false_clean, "of clean hits"))
        report.add(Row(f"{case}: false flags", rates.false_flag, "of flags"))
        report.add(_at_most(f"{case}: clean weight falls", clean, "of years", goal))
        report.add(_at_most(f"{case}: flag weight falls", flag, "of years", goal))
    for false in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3):
        clean, _ = years_demoted(Rates(false, 0.0, 0.0))
        case = f"any model with {false:.0e} false cleans a hit, {HITS_A_YEAR:,} hits a year"
        report.add(Row(f"{case}: clean weight falls", clean, "of years"))
    for false in (0.02, 0.03, 0.04, 0.05, 0.06):
        _, flag = years_demoted(Rates(0.0, false, 0.02))
        case = f"any model with {false:.0%} false flags, 2,000 flags a year"
        report.add(Row(f"{case}: flag weight falls", flag, "of years"))


if __name__ == "__main__":
    sys.exit(main())
