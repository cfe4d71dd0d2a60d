"""Reads out of a decision what a case keeps of it: on which evidence the picture stands there.

A ground is a verdict or a finding that, as things are now, speaks against the picture: a flag of
ours, expired or not, a flag of a peer that weighs something, one that cannot be weighed, or what
a person here found of this or a near picture. Whatever no longer does, has lapsed. Pure; what
follows for a case is left to `case_opening`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from cache import weigh
from cache.judgement import Judgement, PipelineState
from cache.outcome import Outcome, Reason, explain
from cache.rules import Rule
from cache.verdict import (
    SELF,
    Decision,
    Evidence,
    Finding,
    FindingMatch,
    Match,
    MatchKind,
)

_BY_PERSONS = (Reason.PERSON_UPHELD, Reason.PERSON_ESCALATED)
_SPEAKS = (*weigh.EXACT_KINDS, MatchKind.NEAR)


@dataclass(frozen=True, slots=True)
class Ground:
    """What somebody said of this or of a near picture, as far as it speaks against this one."""

    issuer: str
    of: bytes | None  # sha256 of the picture it is said of; None where `of_image` tells
    kind: MatchKind
    rule: str  # "" where none can be told
    distance: int = 0  # bits
    acted: bool = False  # it flagged the picture, and is a peer's
    expires: int | None = None  # None: never
    of_image: int | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided on a stored picture, as a case keeps it."""

    sha256: bytes
    decision: Decision
    sentence: str  # why, for people
    rules: tuple[str, ...] = ()
    found: Finding | None = None  # what a person found of this very picture, if that decided
    findings: int = 0  # how many persons made of it, so far
    own_clears: bool = False  # a scan of ours clears every rule
    grounds: tuple[Ground, ...] = ()  # those that made the decision first
    nearest: tuple[Ground, ...] = ()  # the near ones among those that made it


def decided(
    sha256: bytes, evidence: Evidence, outcome: Outcome, judgement: Judgement, *, now: int
) -> Decided:
    """Return what a case has to know of a decision made at `now`."""
    dismissed = _dismissed(evidence.findings)
    rules = {name: rule for name, rule in judgement.rules.items() if name not in dismissed}
    standing = list(_standing(sha256, evidence, outcome, judgement, rules, now))
    made = [ground for ground, made_it in standing if made_it]
    others = [ground for ground, made_it in standing if not made_it]
    return Decided(
        sha256,
        outcome.decision,
        explain(outcome),
        outcome.rules,
        _found(outcome),
        sum(found.kind in weigh.EXACT_KINDS for found in evidence.findings),
        outcome.reason is Reason.OWN_CLEAR,
        tuple(dict.fromkeys([*made, *others])),
        tuple(ground for ground in made if ground.kind is MatchKind.NEAR),
    )


def _standing(
    sha256: bytes,
    evidence: Evidence,
    outcome: Outcome,
    judgement: Judgement,
    rules: Mapping[str, Rule],
    now: int,
) -> Iterator[tuple[Ground, bool]]:
    """Give every ground, and whether it is among what made the decision."""
    made = set(map(_key, outcome.matches))
    for match in _unexpired_and_ours(evidence.matches, judgement, now):
        made_it = _key(match) in made
        for ground in _of_verdict(match, judgement, rules, now):
            if made_it or ground.kind in _SPEAKS:
                acted = made_it and outcome.reason is Reason.PEERS_FLAG
                yield replace(ground, acted=acted), made_it
    dismissed = _dismissed(evidence.findings)
    for found in evidence.findings:
        if found.finding is not Finding.DISMISSED and found.rule not in dismissed:
            made_it = found in outcome.findings
            if made_it or found.kind in _SPEAKS:
                yield _of_finding(found), made_it
    if outcome.reason is Reason.OWN_UNDETERMINED:
        for match in outcome.matches:
            yield Ground(SELF, sha256, match.kind, "", expires=match.verdict.expires), True


def _unexpired_and_ours(
    matches: Iterable[Match], judgement: Judgement, now: int
) -> Iterator[Match]:
    """Give the rows that stand of peers, unexpired, and of ours, unexpired and expired."""
    fresh: list[Match] = []
    past: list[Match] = []
    for match in matches:
        verdict = match.verdict
        if verdict.issuer == SELF:
            (fresh if verdict.expires > now else past).append(match)
        elif weigh.expires(verdict, judgement.trust_in(verdict.issuer)) > now:
            fresh.append(match)
    yield from weigh.standing(fresh)
    yield from weigh.standing(past)


def _of_verdict(
    match: Match, judgement: Judgement, rules: Mapping[str, Rule], now: int
) -> Iterator[Ground]:
    verdict = match.verdict
    if verdict.issuer == SELF:
        terms = judgement.terms(verdict)
        if terms is None or terms.state is PipelineState.SHADOW:
            return
        names = list(weigh.flagged_rules(verdict, rules, judgement))
        expires = verdict.expires if verdict.expires > now else None  # a past flag is remembered
    else:
        expires = weigh.expires(verdict, judgement.trust_in(verdict.issuer))
        names = sorted(weigh.flag_weights(verdict, rules, judgement))
        if not names and weigh.cannot_weigh(verdict, judgement):
            names = [verdict.rule or ""]
    for name in names:
        yield Ground(
            verdict.issuer, verdict.sha256, match.kind, name, match.distance, expires=expires
        )


def _of_finding(found: FindingMatch) -> Ground:
    return Ground(SELF, None, found.kind, found.rule, found.distance, of_image=found.image_id)


def _dismissed(findings: Iterable[FindingMatch]) -> frozenset[str]:
    """Return the rules whose newest finding on this very picture is a dismissal."""
    exact = [found for found in findings if found.kind in weigh.EXACT_KINDS]
    newest = {
        found.rule: found.finding
        for found in sorted(
            exact, key=lambda one: (one.decided, one.finding is not Finding.DISMISSED)
        )
    }
    return frozenset(rule for rule, finding in newest.items() if finding is Finding.DISMISSED)


def _found(outcome: Outcome) -> Finding | None:
    if outcome.reason not in _BY_PERSONS:
        return None
    return Finding.UPHELD if outcome.reason is Reason.PERSON_UPHELD else Finding.ESCALATED


def _key(match: Match) -> tuple[object, ...]:
    verdict = match.verdict
    return (
        verdict.issuer,
        verdict.sha256,
        verdict.pipeline,
        verdict.basis,
        verdict.rule,
        match.kind,
    )
