"""Decides whether a picture is clean because it is nearly one that is (`decide.near_clean`).

The twins are found by fingerprint, shape and, for our own verdicts, a sketch under a secret; that
is left to `twins`. Pure, as `decide` is, whose last step but one this is.
"""

from collections.abc import Sequence

from cache import weigh
from cache.judgement import Judgement, NearClean, PipelineState
from cache.outcome import Outcome, Reason
from cache.sorted_evidence import Sorted, concluded, in_force, is_expired, state_of
from cache.verdict import SELF, Decision, Evidence, Match


def twins_clear(case: Sorted, evidence: Evidence, throw: float, now: int) -> Outcome | None:
    """Step 7 for a picture that is nearly one which is clean here (`decide.near_clean`).

    Any code of a flag within 40 bits forbids it, whether or not the flag counts here (what counts
    ended in step 6), and so does a verdict of our own on this very picture that leaves a rule open.
    """
    judgement = case.judgement
    if judgement.near_clean is NearClean.OFF or not case.compared or case.own_current:
        return None
    if any(m.kind not in weigh.EXACT_KINDS and _heard_flagging(m, judgement) for m in case.peers):
        return None
    twins = _unsuspected(case, evidence.twins, now)
    matches = _own_twins(case, twins, now) or _peers_twins(case, twins)
    if not matches:
        return None
    rates = [5 * judgement.trust_in(match.verdict.issuer).audit_rate for match in matches]
    if judgement.audits and case.scan_left and throw < max(judgement.near_clean_audit, *rates):
        return concluded(Decision.UNKNOWN, Reason.AUDIT, matches)
    return concluded(Decision.CLEAN, Reason.NEAR_CLEAN, matches)


def _unsuspected(case: Sorted, twins: Sequence[Match], now: int) -> tuple[Match, ...]:
    """Return what stands of the twins on which no flag counts: the others are no clean pictures."""
    standing = weigh.standing(
        match
        for match in twins
        if match.verdict.issuer == SELF or not is_expired(match, case.judgement, now)
    )
    flagged = {match.verdict.sha256 for match in standing if _flags_somehow(case, match)}
    return tuple(match for match in standing if match.verdict.sha256 not in flagged)


def _flags_somehow(case: Sorted, match: Match) -> bool:
    """Tell whether a verdict flags, or a peer's is a flag that we cannot weigh."""
    if match.verdict.issuer == SELF:
        shadow = state_of(match, case.judgement) is PipelineState.SHADOW
        return not shadow and bool(case.flags(match))
    verdict, judgement = match.verdict, case.judgement
    weights = weigh.flag_weights(verdict, case.rules, judgement)
    return bool(weights) or weigh.cannot_weigh(verdict, judgement)


def _heard_flagging(match: Match, judgement: Judgement) -> bool:
    return judgement.trust_in(match.verdict.issuer).largest_flag_weight > 0


def _own_twins(case: Sorted, twins: Sequence[Match], now: int) -> list[Match]:
    """Return our own current verdicts that clear a twin, seen whole."""
    return [
        match
        for match in twins
        if match.verdict.issuer == SELF
        and match.verdict.expires > now
        and in_force(match, case.judgement)
        and weigh.clears(match.verdict, case.rules, case.judgement)
        and weigh.whole(match.verdict)
    ]


def _peers_twins(case: Sorted, twins: Sequence[Match]) -> list[Match]:
    """Return the peers' rows that clear one twin with the clean quorum."""
    judgement = case.judgement
    if judgement.near_clean is not NearClean.PEERS:
        return []
    cap = None if judgement.has_scanner else judgement.clean_quorum
    for sha256 in sorted({match.verdict.sha256 for match in twins}):
        weighed = [
            (match, weigh.clean_weight(match.verdict, case.rules, judgement))
            for match in twins
            if match.verdict.sha256 == sha256 and match.verdict.issuer != SELF
        ]
        counted = [(match, weight) for match, weight in weighed if weight > 0]
        if counted and weigh.total(counted, judgement, cap) >= 2 * judgement.clean_quorum:
            return [match for match, _ in counted]
    return []
