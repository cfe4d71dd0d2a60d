"""Decides whether a peer agreed with us about one picture, and what its record then leads to.

Pure. A rule is *surely* true for a scan of ours when it is true with every score a margin away
from its threshold, surely false likewise. A peer's clean was false when a rule is surely true for
us, or a person upheld one; its flag was false when a rule that it flags is surely false for us, or
a person dismissed it. What contradicts a peer by less than the margin is no comparison: the noise
between two machines or two models accuses nobody, and nobody earns trust by it.

How often a clean hit is audited follows from the comparisons since the last false clean; the
throw is left to `secret`, keeping the record to `comparing`, what weighs anything to `decide`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from cache.judgement import Judgement, PipelineTerms, label_truth
from cache.rules import Rule, Truth
from cache.verdict import Basis, Feed, Finding, Verdict
from cache.weigh import clears, flagged_rules, whole

MARGIN = 1_000
"""How far from its threshold a score of ours must lie to contradict a peer (of 10,000)."""

HIGHEST_SCORE = 10_000

NEW_PEER = 20
"""After so many comparisons without a false clean, half of the clean hits are audited."""

FALSE_CLEAN_HITS = 1_000
"""A second false clean within so many clean hits ends a peer's clean weight."""

FALSE_CLEAN_COMPARISONS = 120
"""So few comparisons come in far fewer hits than those, at the rates of `audit_rate`.

Hits are counted some seconds late; who sends many at once shall not outrun the count.
"""

MIN_COMPARISONS = 30
"""With fewer comparisons no flag weight falls, and no more trust is advised."""

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: bounds of 95 %."""


class Result(StrEnum):
    """What a comparison came to."""

    AGREED = "agreed"
    FALSE_CLEAN = "false-clean"
    FALSE_FLAG = "false-flag"


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison: its result, the labels it is counted for, and those on which they differ."""

    result: Result
    counted: frozenset[str]
    differ: frozenset[str] = frozenset()
    by_person: bool = False  # a person's finding here had a part in it


@dataclass(frozen=True, slots=True)
class Ours:
    """What this instance holds of one picture: its own current verdicts, and persons' findings."""

    verdicts: Sequence[Verdict] = ()
    findings: Mapping[str, Finding] | None = None  # the newest of each rule

    def finding(self, rule: str) -> Finding | None:
        """Return the newest finding for a rule."""
        return (self.findings or {}).get(rule)

    @property
    def names(self) -> Iterable[str]:
        """The rules of which persons found something."""
        return self.findings or {}


@dataclass(frozen=True, slots=True)
class Stance:
    """How one rule stands with us; `sure` is None also where it is true or false by a hair."""

    truth: Truth = None
    sure: Truth = None
    by_person: bool = False


def audit_rate(floor: float, compared: int) -> float:
    """Return the share of clean hits that are audited, `compared` since the last false clean."""
    return max(floor, NEW_PEER / (NEW_PEER + compared))


def wilson(agreed: int, compared: int) -> tuple[float, float]:
    """Return the bounds of 95 % of a rate (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212).

    Without any comparison they are 0 and 1.
    """
    if compared <= 0:
        return 0.0, 1.0
    rate, square = agreed / compared, Z_95 * Z_95
    middle = (rate + square / (2 * compared)) / (1 + square / compared)
    spread = rate * (1 - rate) / compared + square / (4 * compared * compared)
    half = Z_95 * sqrt(spread) / (1 + square / compared)
    low = middle - half if agreed else 0.0
    return max(0.0, low), min(1.0, middle + half) if agreed < compared else 1.0


def flags_fail(agreed: int, compared: int, min_agreement: float) -> bool:
    """Tell whether flags agreed so seldom that they shall weigh nothing."""
    return compared >= MIN_COMPARISONS and wilson(agreed, compared)[1] < min_agreement


def compare_clean(rows: Sequence[Verdict], ours: Ours, judgement: Judgement) -> Compared | None:
    """Compare what a peer called clean with ours; None where it did not, or we cannot tell.

    It did with a clean-feed row that would be reused, whatever the peer weighs: every label of
    our rules is scored, and every rule false by the thresholds of the row's pipeline.
    """
    rules = _without_dismissed(judgement.rules, ours)
    labels = _labels_of(rules.values())
    if not any(_would_be_reused(row, rules, labels, judgement) for row in rows):
        return None
    stances = {name: stance(name, ours, judgement) for name in {*judgement.rules, *ours.names}}
    false = sorted(name for name, found in stances.items() if found.sure)
    if false:
        differ = _labels_behind(false, ours.verdicts, judgement)
        by_person = any(stances[name].by_person for name in false)
        return Compared(Result.FALSE_CLEAN, labels | differ, differ, by_person)
    if any(stances[name].truth is not False for name in rules) or _is_open(ours):
        return None
    return Compared(Result.AGREED, labels, by_person=len(rules) < len(judgement.rules))


def compare_flags(rows: Sequence[Verdict], ours: Ours, judgement: Judgement) -> Compared | None:
    """Compare the rules that a peer flags with ours; None where it flags none that we can judge."""
    counting = [row for row in rows if _counts(row, judgement)]
    flagged = {name for row in counting for name in flagged_rules(row, judgement.rules, judgement)}
    stances = {name: stance(name, ours, judgement) for name in flagged}
    false = sorted(name for name, found in stances.items() if found.sure is False)
    judged = sorted(name for name, found in stances.items() if found.truth or name in false)
    if not judged:
        return None
    counted = _labels_behind(judged, counting, judgement)
    by_person = any(stances[name].by_person for name in judged)
    if not false:
        return Compared(Result.AGREED, counted, by_person=by_person)
    behind = _labels_behind(false, counting, judgement)
    upheld = _labels_behind([n for n in judged if n not in false], counting, judgement)
    return Compared(Result.FALSE_FLAG, counted, (behind - upheld) or behind, by_person)


def stance(name: str, ours: Ours, judgement: Judgement) -> Stance:
    """Return how a rule stands with us: as a person found, else as all our scans agree.

    True needs one scan, false every scan, and one that saw the whole file.
    """
    match ours.finding(name):
        case Finding.UPHELD:
            return Stance(True, True, by_person=True)
        case Finding.DISMISSED:
            return Stance(False, False, by_person=True)
    if name not in judgement.rules:
        return Stance()
    rule, seen_whole = judgement.rules[name], any(whole(one) for one in ours.verdicts)
    truths = [_truth(rule, one, judgement, 0) for one in ours.verdicts]
    sure = [_truth(rule, one, judgement, MARGIN) for one in ours.verdicts]
    return Stance(_together(truths, seen_whole), _together(sure, seen_whole))


def _together(truths: Sequence[Truth], seen_whole: bool) -> Truth:
    if True in truths:
        return True
    return False if seen_whole and all(truth is False for truth in truths) else None


def _truth(rule: Rule, verdict: Verdict, judgement: Judgement, margin: int) -> Truth:
    terms = judgement.terms(verdict)
    if terms is None:
        return None
    return rule.truth(lambda label: _label_truth(verdict.scores, terms, label, margin))


def _label_truth(
    scores: Mapping[str, int | None], terms: PipelineTerms, label: str, margin: int
) -> Truth:
    """Tell a label's truth; None where a score within the margin could make the other.

    The margin is at most half of what lies beyond the threshold, else nothing could be sure of a
    label whose threshold is very high or very low.
    """
    score, threshold = scores.get(label), terms.thresholds.get(label)
    if score is None or threshold is None:
        return None
    if score >= threshold + min(margin, (HIGHEST_SCORE - threshold) // 2):
        return True
    return False if score + min(margin, threshold // 2) < threshold else None


def _would_be_reused(
    row: Verdict, rules: Mapping[str, Rule], labels: frozenset[str], judgement: Judgement
) -> bool:
    terms = judgement.terms(row)
    if row.feed is not Feed.CLEAN or row.basis is not Basis.MODEL or terms is None:
        return False
    scored = all(label_truth(row.scores, terms, label) is not None for label in labels)
    return terms.current and scored and whole(row) and clears(row, rules, judgement)


def _counts(row: Verdict, judgement: Judgement) -> bool:
    """Tell whether a peer's row could weigh as a flag."""
    terms = judgement.terms(row)
    return row.basis is Basis.HUMAN or (terms is not None and terms.current)


def _is_open(ours: Ours) -> bool:
    """Tell whether a person is yet to decide."""
    return any(ours.finding(name) is Finding.ESCALATED for name in ours.names)


def _without_dismissed(rules: Mapping[str, Rule], ours: Ours) -> dict[str, Rule]:
    return {
        name: rule for name, rule in rules.items() if ours.finding(name) is not Finding.DISMISSED
    }


def _labels_of(rules: Iterable[Rule]) -> frozenset[str]:
    return frozenset[str]().union(*(rule.labels for rule in rules))


def _labels_behind(
    names: Sequence[str], rows: Sequence[Verdict], judgement: Judgement
) -> frozenset[str]:
    """Return the labels that make these rules true by any of the rows; all of theirs if none do."""
    rules = [judgement.rules[name] for name in names if name in judgement.rules]
    labels = _labels_of(rules)
    holding = frozenset(
        label
        for label in labels
        for row in rows
        if (terms := judgement.terms(row)) and label_truth(row.scores, terms, label)
    )
    return holding or labels
