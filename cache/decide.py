"""Decides what this instance makes of a picture: the eight steps of design.md, "Deciding".

Pure: the evidence, the judgement (rules, thresholds, trust), the time, whether a scan can still
be done, and the audit throw are handed in; the same input gives the same outcome. Gathering the
evidence is left to `lookup`, acting on the outcome to whoever asked.
"""

from collections.abc import Sequence
from dataclasses import replace

from cache import weigh
from cache.judgement import Judgement
from cache.near_clean import twins_clear
from cache.outcome import Outcome, Reason
from cache.sorted_evidence import Sorted, concluded, finding_order, past, remembered
from cache.testcard import RULE as TEST_CARD
from cache.verdict import (
    SELF,
    Decision,
    Evidence,
    Finding,
    FindingMatch,
    Match,
    MatchKind,
)


def decide(
    evidence: Evidence,
    judgement: Judgement,
    *,
    now: int,
    can_scan: bool,
    throw: float = 0.0,
) -> Outcome:
    """Return the outcome at `now` (epoch seconds).

    `can_scan` says whether a scanner could still be run on this picture; `throw` in [0, 1) is
    the audit throw of this picture, see `secret.audit_throw`.
    """
    settled, dismissed = _findings(evidence.findings)
    if settled is not None:
        return settled
    case = Sorted.of(evidence, judgement, now, can_scan, dismissed)
    outcome = (
        _own_flag(case)
        or _peers_flag(case)
        or _near_or_past_flag(case)
        or _own_clear(case)
        or _suspected(case)
        or _peers_clear(case, throw)
        or twins_clear(case, evidence, throw, now)
        or Outcome(Decision.UNKNOWN, Reason.NO_EVIDENCE)
    )
    return replace(outcome, dismissed=tuple(sorted(dismissed))) if dismissed else outcome


def _findings(
    findings: Sequence[FindingMatch],
) -> tuple[Outcome | None, frozenset[str]]:
    """Step 1: what persons here found on the same picture, the newest of each rule."""
    exact = [found for found in findings if found.kind in weigh.EXACT_KINDS]
    newest = {found.rule: found for found in sorted(exact, key=_finding_age)}
    for finding, decision, reason in (
        (Finding.UPHELD, Decision.FLAGGED, Reason.PERSON_UPHELD),
        (Finding.ESCALATED, Decision.REVIEW, Reason.PERSON_ESCALATED),
    ):
        these = [found for found in newest.values() if found.finding is finding]
        if these:
            return _by_persons(decision, reason, these), frozenset()
    return None, frozenset(newest)  # what is left are dismissals


def _own_flag(case: Sorted) -> Outcome | None:
    """Step 2."""
    flagging = [match for match in case.own_current if case.flags(match)]
    return _made(case, Decision.FLAGGED, Reason.OWN_FLAG, flagging) if flagging else None


def _peers_flag(case: Sorted) -> Outcome | None:
    """Step 3."""
    rules, matches = case.at_quorum(*weigh.EXACT_KINDS)
    if not rules:
        return None
    if clearing := case.own_clears:
        return concluded(Decision.REVIEW, Reason.PEERS_CONTRADICT_OWN, [*matches, *clearing], rules)
    calm_rules, calm = case.at_quorum(*weigh.EXACT_KINDS, without=case.judgement.tripped)
    if not calm_rules:
        return concluded(Decision.REVIEW, Reason.BLAST_RADIUS, matches, rules)
    return concluded(Decision.FLAGGED, Reason.PEERS_FLAG, calm, calm_rules)


def _near_or_past_flag(case: Sorted) -> Outcome | None:
    """Step 4.

    The test card is the one flagged picture that everybody knows: whoever made a picture near it
    would be spared the scan everywhere. So it waits for the scan, and step 6 asks for it.
    """
    waits = case.scan_left and not case.own_clears
    upheld = [
        found
        for found in case.findings
        if found.kind is MatchKind.NEAR
        and found.finding is Finding.UPHELD
        and not (waits and found.rule == TEST_CARD)
    ]
    if upheld:
        return _by_persons(Decision.REVIEW, Reason.NEAR_UPHELD, upheld)
    if case.own_clears:
        return None
    over = [match for match in past(case) if case.flags(match)]
    if over:
        return _made(case, Decision.REVIEW, Reason.OWN_PAST_FLAG, over)
    near = [match for match in remembered(case, MatchKind.NEAR) if case.flags(match)]
    return _made(case, Decision.REVIEW, Reason.NEAR_OWN_FLAG, near) if near else None


def _own_clear(case: Sorted) -> Outcome | None:
    """Step 5."""
    if clearing := case.own_clears:
        return concluded(Decision.CLEAN, Reason.OWN_CLEAR, clearing)
    if case.own_current and not case.scan_left:
        return concluded(Decision.REVIEW, Reason.OWN_UNDETERMINED, case.own_current)
    return None


def _suspected(case: Sorted) -> Outcome | None:
    """Step 6."""
    rules, matches = case.at_quorum(*weigh.EXACT_KINDS, MatchKind.NEAR)
    if rules:
        return concluded(Decision.REVIEW, Reason.NEAR_QUORUM, matches, rules)
    every = case.peer_flags(*weigh.KINDS)
    suspicious = [match for flags in every.values() for match, _ in flags]
    suspicious += [m for m in case.peers if weigh.cannot_weigh(m.verdict, case.judgement)]
    suspicious += [m for m in remembered(case, MatchKind.PROBABLE) if case.flags(m)]
    if case.cut:  # the codes left out could have flagged it as well
        suspicious += [m for m in case.peers if m.kind not in weigh.EXACT_KINDS]
    open_findings = [found for found in case.findings if found.finding is not Finding.DISMISSED]
    if not suspicious and not open_findings and not case.cut:
        return None
    decision = Decision.UNKNOWN if case.scan_left else Decision.REVIEW
    names = {*every, *(name for m in suspicious for name in _own_rules(case, m))}
    names |= {found.rule for found in open_findings}
    return concluded(decision, Reason.SUSPECTED, suspicious, sorted(names), open_findings)


def _peers_clear(case: Sorted, throw: float) -> Outcome | None:
    """Step 7."""
    judgement = case.judgement
    weighed = [
        (match, weigh.clean_weight(match.verdict, case.rules, judgement))
        for match in case.peers
        if match.kind in weigh.EXACT_KINDS
    ]
    counted = [(match, weight) for match, weight in weighed if weight > 0]
    cap = None if judgement.has_scanner else judgement.clean_quorum
    if not counted or weigh.total(counted, judgement, cap) < 2 * judgement.clean_quorum:
        return None
    matches = [match for match, _ in counted]
    if not case.compared:
        return concluded(Decision.UNKNOWN, Reason.NOT_COMPARED, matches)
    rates = [judgement.trust_in(match.verdict.issuer).audit_rate for match in matches]
    if judgement.audits and case.scan_left and throw < max(rates):
        return concluded(Decision.UNKNOWN, Reason.AUDIT, matches)
    return concluded(Decision.CLEAN, Reason.PEERS_CLEAR, matches)


def _own_rules(case: Sorted, match: Match) -> tuple[str, ...]:
    return case.flags(match) if match.verdict.issuer == SELF else ()


def _made(case: Sorted, decision: Decision, reason: Reason, matches: list[Match]) -> Outcome:
    rules = sorted({name for match in matches for name in case.flags(match)})
    return concluded(decision, reason, matches, rules)


def _by_persons(decision: Decision, reason: Reason, found: Sequence[FindingMatch]) -> Outcome:
    rules = sorted({finding.rule for finding in found})
    return concluded(decision, reason, (), rules, sorted(found, key=finding_order))


def _finding_age(found: FindingMatch) -> tuple[object, ...]:
    """Order findings of one rule so that the last one counts; doubt settles ties."""
    return (found.decided, found.finding is not Finding.DISMISSED, finding_order(found))
