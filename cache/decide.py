"""Decides what this instance makes of a picture: the eight steps of design.md, "Deciding".

Pure: the evidence, the judgement (rules, thresholds, trust), the time, whether a scan can still
be done, and the audit throw are handed in; the same input gives the same outcome. Gathering the
evidence is left to `lookup`, acting on the outcome to whoever asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cache import weigh
from cache.judgement import Judgement, NearClean, PipelineState
from cache.outcome import Outcome, Reason
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
    case = _Case.of(evidence, judgement, now, can_scan, dismissed)
    return (
        _own_flag(case)
        or _peers_flag(case)
        or _near_or_past_flag(case)
        or _own_clear(case)
        or _suspected(case)
        or _peers_clear(case, throw)
        or _twins_clear(case, evidence, throw, now)
        or Outcome(Decision.UNKNOWN, Reason.NO_EVIDENCE)
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """The evidence, sorted out once; each step reads from it."""

    judgement: Judgement
    rules: weigh.Rules  # without the dismissed ones
    own: tuple[Match, ...]  # ours, unexpired
    own_past: tuple[Match, ...]  # ours, expired
    peers: tuple[Match, ...]  # unexpired
    findings: tuple[FindingMatch, ...]  # near and probable, of rules not dismissed
    scan_left: bool
    cut: bool  # the near search met its limit
    compared: bool  # near matches were looked for

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        judgement: Judgement,
        now: int,
        can_scan: bool,
        dismissed: frozenset[str],
    ) -> "_Case":
        own = [match for match in evidence.matches if match.verdict.issuer == SELF]
        peers = [match for match in evidence.matches if match.verdict.issuer != SELF]
        fresh = weigh.standing(match for match in own if match.verdict.expires > now)
        return cls(
            judgement,
            {name: rule for name, rule in judgement.rules.items() if name not in dismissed},
            fresh,
            weigh.standing(match for match in own if match.verdict.expires <= now),
            weigh.standing(match for match in peers if not _expired(match, judgement, now)),
            tuple(
                sorted(
                    (
                        found
                        for found in evidence.findings
                        if found.kind not in weigh.EXACT_KINDS and found.rule not in dismissed
                    ),
                    key=_finding_order,
                )
            ),
            can_scan and not any(_is_default_scan(match, judgement) for match in fresh),
            evidence.cut,
            evidence.compared,
        )

    @property
    def own_current(self) -> list[Match]:
        """Our own current exact verdicts."""
        return [
            match
            for match in self.own
            if match.kind in weigh.EXACT_KINDS and _in_force(match, self.judgement)
        ]

    @property
    def own_clears(self) -> list[Match]:
        """Those that clear; a part-seen one does so for its own sha256 alone."""
        return [
            match
            for match in self.own_current
            if weigh.clears(match.verdict, self.rules, self.judgement)
            and (match.kind is MatchKind.EXACT or weigh.whole(match.verdict))
        ]

    def flags(self, match: Match) -> tuple[str, ...]:
        """Return the rules that a verdict of ours flags."""
        return weigh.flagged_rules(match.verdict, self.rules, self.judgement)

    def peer_flags(self, *kinds: MatchKind) -> dict[str, list[tuple[Match, int]]]:
        """Return the peers' flags among matches of these kinds, with their weights, by rule."""
        by_rule: dict[str, list[tuple[Match, int]]] = {}
        for match in self.peers:
            if match.kind in kinds:
                weights = weigh.flag_weights(match.verdict, self.rules, self.judgement)
                for name, weight in weights.items():
                    by_rule.setdefault(name, []).append((match, weight))
        return by_rule

    def at_quorum(
        self, *kinds: MatchKind, without: frozenset[str] = frozenset()
    ) -> tuple[tuple[str, ...], list[Match]]:
        """Return the rules whose flags reach the flag quorum, and the verdicts that flag them."""
        by_rule = {
            name: [flag for flag in flags if flag[0].verdict.issuer not in without]
            for name, flags in self.peer_flags(*kinds).items()
        }
        quorum = 2 * self.judgement.flag_quorum
        names = [
            name for name in sorted(by_rule) if weigh.total(by_rule[name], self.judgement) >= quorum
        ]
        return tuple(names), [match for name in names for match, _ in by_rule[name]]


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


def _own_flag(case: _Case) -> Outcome | None:
    """Step 2."""
    flagging = [match for match in case.own_current if case.flags(match)]
    return _made(case, Decision.FLAGGED, Reason.OWN_FLAG, flagging) if flagging else None


def _peers_flag(case: _Case) -> Outcome | None:
    """Step 3."""
    rules, matches = case.at_quorum(*weigh.EXACT_KINDS)
    if not rules:
        return None
    if clearing := case.own_clears:
        return _outcome(Decision.REVIEW, Reason.PEERS_CONTRADICT_OWN, [*matches, *clearing], rules)
    calm_rules, calm = case.at_quorum(*weigh.EXACT_KINDS, without=case.judgement.tripped)
    if not calm_rules:
        return _outcome(Decision.REVIEW, Reason.BLAST_RADIUS, matches, rules)
    return _outcome(Decision.FLAGGED, Reason.PEERS_FLAG, calm, calm_rules)


def _near_or_past_flag(case: _Case) -> Outcome | None:
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
    past = [match for match in _past(case) if case.flags(match)]
    if past:
        return _made(case, Decision.REVIEW, Reason.OWN_PAST_FLAG, past)
    near = [match for match in _own_remembered(case, MatchKind.NEAR) if case.flags(match)]
    return _made(case, Decision.REVIEW, Reason.NEAR_OWN_FLAG, near) if near else None


def _own_clear(case: _Case) -> Outcome | None:
    """Step 5."""
    if clearing := case.own_clears:
        return _outcome(Decision.CLEAN, Reason.OWN_CLEAR, clearing)
    if case.own_current and not case.scan_left:
        return _outcome(Decision.REVIEW, Reason.OWN_UNDETERMINED, case.own_current)
    return None


def _suspected(case: _Case) -> Outcome | None:
    """Step 6."""
    rules, matches = case.at_quorum(*weigh.EXACT_KINDS, MatchKind.NEAR)
    if rules:
        return _outcome(Decision.REVIEW, Reason.NEAR_QUORUM, matches, rules)
    every = case.peer_flags(*weigh.KINDS)
    suspicious = [match for flags in every.values() for match, _ in flags]
    suspicious += [m for m in case.peers if weigh.cannot_weigh(m.verdict, case.judgement)]
    suspicious += [m for m in _own_remembered(case, MatchKind.PROBABLE) if case.flags(m)]
    if case.cut:  # the codes left out could have flagged it as well
        suspicious += [m for m in case.peers if m.kind not in weigh.EXACT_KINDS]
    open_findings = [found for found in case.findings if found.finding is not Finding.DISMISSED]
    if not suspicious and not open_findings and not case.cut:
        return None
    decision = Decision.UNKNOWN if case.scan_left else Decision.REVIEW
    names = {*every, *(name for m in suspicious for name in _own_rules(case, m))}
    names |= {found.rule for found in open_findings}
    return _outcome(decision, Reason.SUSPECTED, suspicious, sorted(names), open_findings)


def _peers_clear(case: _Case, throw: float) -> Outcome | None:
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
        return _outcome(Decision.UNKNOWN, Reason.NOT_COMPARED, matches)
    rates = [judgement.trust_in(match.verdict.issuer).audit_rate for match in matches]
    if judgement.audits and case.scan_left and throw < max(rates):
        return _outcome(Decision.UNKNOWN, Reason.AUDIT, matches)
    return _outcome(Decision.CLEAN, Reason.PEERS_CLEAR, matches)


def _twins_clear(case: _Case, evidence: Evidence, throw: float, now: int) -> Outcome | None:
    """Step 7 for a picture that is nearly one which is clean here (`decide.near_clean`).

    Any code of a flag within 40 bits forbids it, whether or not the flag counts here (what counts
    ended in step 6), and so does a verdict of our own on this very picture that leaves a rule open.
    """
    judgement = case.judgement
    if judgement.near_clean is NearClean.OFF or not case.compared or case.own_current:
        return None
    if any(m.kind not in weigh.EXACT_KINDS and _heard_flagging(m, judgement) for m in case.peers):
        return None
    twins = weigh.standing(evidence.twins)
    matches = _own_twins(case, twins, now) or _peers_twins(case, twins, now)
    if not matches:
        return None
    rates = [5 * judgement.trust_in(match.verdict.issuer).audit_rate for match in matches]
    if judgement.audits and case.scan_left and throw < max(judgement.near_clean_audit, *rates):
        return _outcome(Decision.UNKNOWN, Reason.AUDIT, matches)
    return _outcome(Decision.CLEAN, Reason.NEAR_CLEAN, matches)


def _heard_flagging(match: Match, judgement: Judgement) -> bool:
    return judgement.trust_in(match.verdict.issuer).largest_flag_weight > 0


def _own_twins(case: _Case, twins: Sequence[Match], now: int) -> list[Match]:
    """Return our own current verdicts that clear a twin, seen whole."""
    return [
        match
        for match in twins
        if match.verdict.issuer == SELF
        and match.verdict.expires > now
        and _in_force(match, case.judgement)
        and weigh.clears(match.verdict, case.rules, case.judgement)
        and weigh.whole(match.verdict)
    ]


def _peers_twins(case: _Case, twins: Sequence[Match], now: int) -> list[Match]:
    """Return the peers' rows that clear one twin with the clean quorum."""
    judgement = case.judgement
    if judgement.near_clean is not NearClean.PEERS:
        return []
    cap = None if judgement.has_scanner else judgement.clean_quorum
    for sha256 in sorted({match.verdict.sha256 for match in twins}):
        weighed = [
            (match, weigh.clean_weight(match.verdict, case.rules, judgement))
            for match in twins
            if match.verdict.sha256 == sha256
            and match.verdict.issuer != SELF
            and not _expired(match, judgement, now)
        ]
        counted = [(match, weight) for match, weight in weighed if weight > 0]
        if counted and weigh.total(counted, judgement, cap) >= 2 * judgement.clean_quorum:
            return [match for match, _ in counted]
    return []


def _past(case: _Case) -> list[Match]:
    """Return our exact verdicts that are expired or of a retired pipeline."""
    retired = [
        match for match in case.own if _state(match, case.judgement) is PipelineState.RETIRED
    ]
    past = [m for m in case.own_past if _state(m, case.judgement) is not PipelineState.SHADOW]
    return [match for match in [*retired, *past] if match.kind in weigh.EXACT_KINDS]


def _own_remembered(case: _Case, kind: MatchKind) -> list[Match]:
    """Return our verdicts matched in this way, current or not, but for those in shadow."""
    return [
        match
        for match in [*case.own, *case.own_past]
        if match.kind is kind and _state(match, case.judgement) is not PipelineState.SHADOW
    ]


def _own_rules(case: _Case, match: Match) -> tuple[str, ...]:
    return case.flags(match) if match.verdict.issuer == SELF else ()


def _expired(match: Match, judgement: Judgement, now: int) -> bool:
    return weigh.expires(match.verdict, judgement.trust_in(match.verdict.issuer)) <= now


def _state(match: Match, judgement: Judgement) -> PipelineState | None:
    terms = judgement.terms(match.verdict)
    return None if terms is None else terms.state


def _in_force(match: Match, judgement: Judgement) -> bool:
    terms = judgement.terms(match.verdict)
    return terms is not None and terms.current


def _is_default_scan(match: Match, judgement: Judgement) -> bool:
    """Tell whether the match is a scan that would only be repeated by scanning now."""
    return _state(match, judgement) is PipelineState.DEFAULT and (
        match.kind is MatchKind.EXACT
        or (match.kind is MatchKind.CONTENT and weigh.whole(match.verdict))
    )


def _made(case: _Case, decision: Decision, reason: Reason, matches: list[Match]) -> Outcome:
    rules = sorted({name for match in matches for name in case.flags(match)})
    return _outcome(decision, reason, matches, rules)


def _outcome(
    decision: Decision,
    reason: Reason,
    matches: Iterable[Match],
    rules: Iterable[str] = (),
    findings: Sequence[FindingMatch] = (),
) -> Outcome:
    made_by = weigh.standing(matches)
    all_made: list[Match | FindingMatch] = [*made_by, *findings]
    strongest = min(all_made, key=_closeness, default=None)
    return Outcome(
        decision,
        reason,
        tuple(rules),
        strongest.kind if strongest else MatchKind.NONE,
        strongest.distance if strongest else 0,
        made_by,
        tuple(findings),
    )


def _closeness(match: Match | FindingMatch) -> tuple[int, int]:
    return (weigh.KINDS.index(match.kind), match.distance)


def _by_persons(decision: Decision, reason: Reason, found: Sequence[FindingMatch]) -> Outcome:
    rules = sorted({finding.rule for finding in found})
    return _outcome(decision, reason, (), rules, sorted(found, key=_finding_order))


def _finding_age(found: FindingMatch) -> tuple[object, ...]:
    """Order findings of one rule so that the last one counts; doubt settles ties."""
    return (found.decided, found.finding is not Finding.DISMISSED, _finding_order(found))


def _finding_order(found: FindingMatch) -> tuple[object, ...]:
    return (
        weigh.KINDS.index(found.kind),
        found.distance,
        found.rule,
        found.finding.value,
        found.decided,
        found.decided_by,
        found.reason,
    )
