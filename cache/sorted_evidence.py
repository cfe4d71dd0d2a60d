"""Sorts the evidence on one picture for `decide`: whose it is, what of it is current, what weighs.

Pure; decides nothing. The steps read from `Sorted`, and end in what `concluded` makes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cache import weigh
from cache.judgement import Judgement, PipelineState
from cache.outcome import Outcome, Reason
from cache.verdict import SELF, Decision, Evidence, FindingMatch, Match, MatchKind


@dataclass(frozen=True, slots=True)
class Sorted:
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
    ) -> "Sorted":
        """Sort the evidence at `now`; `dismissed` are the rules that persons took out."""
        own = [match for match in evidence.matches if match.verdict.issuer == SELF]
        peers = [match for match in evidence.matches if match.verdict.issuer != SELF]
        fresh = weigh.standing(match for match in own if match.verdict.expires > now)
        return cls(
            judgement,
            {name: rule for name, rule in judgement.rules.items() if name not in dismissed},
            fresh,
            weigh.standing(match for match in own if match.verdict.expires <= now),
            weigh.standing(match for match in peers if not is_expired(match, judgement, now)),
            tuple(
                sorted(
                    (
                        found
                        for found in evidence.findings
                        if found.kind not in weigh.EXACT_KINDS and found.rule not in dismissed
                    ),
                    key=finding_order,
                )
            ),
            can_scan and not any(is_default_scan(match, judgement) for match in fresh),
            evidence.cut,
            evidence.compared,
        )

    @property
    def own_current(self) -> list[Match]:
        """Our own current exact verdicts."""
        return [
            match
            for match in self.own
            if match.kind in weigh.EXACT_KINDS and in_force(match, self.judgement)
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


def past(case: Sorted) -> list[Match]:
    """Return our exact verdicts that are expired or of a retired pipeline."""
    retired = [
        match for match in case.own if state_of(match, case.judgement) is PipelineState.RETIRED
    ]
    over = [m for m in case.own_past if state_of(m, case.judgement) is not PipelineState.SHADOW]
    return [match for match in [*retired, *over] if match.kind in weigh.EXACT_KINDS]


def remembered(case: Sorted, kind: MatchKind) -> list[Match]:
    """Return our verdicts matched in this way, current or not, but for those in shadow."""
    return [
        match
        for match in [*case.own, *case.own_past]
        if match.kind is kind and state_of(match, case.judgement) is not PipelineState.SHADOW
    ]


def is_expired(match: Match, judgement: Judgement, now: int) -> bool:
    """Tell whether a peer's verdict is over, by itself or by the peer's `max_age_days`."""
    return weigh.expires(match.verdict, judgement.trust_in(match.verdict.issuer)) <= now


def state_of(match: Match, judgement: Judgement) -> PipelineState | None:
    """Return what the verdict's pipeline may do here; None where it is not known."""
    terms = judgement.terms(match.verdict)
    return None if terms is None else terms.state


def in_force(match: Match, judgement: Judgement) -> bool:
    """Tell whether the verdict's pipeline is the default or accepted."""
    terms = judgement.terms(match.verdict)
    return terms is not None and terms.current


def is_default_scan(match: Match, judgement: Judgement) -> bool:
    """Tell whether the match is a scan that would only be repeated by scanning now."""
    return state_of(match, judgement) is PipelineState.DEFAULT and (
        match.kind is MatchKind.EXACT
        or (match.kind is MatchKind.CONTENT and weigh.whole(match.verdict))
    )


def concluded(
    decision: Decision,
    reason: Reason,
    matches: Iterable[Match],
    rules: Iterable[str] = (),
    findings: Sequence[FindingMatch] = (),
) -> Outcome:
    """Return an outcome made by these verdicts and findings, the strongest first."""
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


def finding_order(found: FindingMatch) -> tuple[object, ...]:
    """Order findings, the strongest match first, so that how they were found cannot matter."""
    return (
        weigh.KINDS.index(found.kind),
        found.distance,
        found.rule,
        found.finding.value,
        found.decided,
        found.decided_by,
        found.reason,
    )
