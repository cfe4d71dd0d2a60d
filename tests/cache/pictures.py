"""What the tests of the cache build evidence and judgements from."""

from typing import Any

from cache.judgement import Judgement, PeerState, PipelineState, PipelineTerms, Trust
from cache.rules import parse
from cache.verdict import (
    SELF,
    Basis,
    Evidence,
    Feed,
    Finding,
    FindingMatch,
    Match,
    MatchKind,
    Verdict,
)

NOW = 1_800_000_000
DAY = 86_400
OURS, OLD, TRIAL, ALSO = "aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32
"""Pipelines: our default, a retired one, one in shadow, an accepted one."""
FOREIGN = "ee" * 32
A, B, C = "https://a.example", "https://b.example", "https://c.example"
PICTURE, OTHER = b"\x01" * 32, b"\x02" * 32

RULES = {"pattern": parse("test-pattern"), "gory": parse("gore and not drawing")}
TERMS = {"test-pattern": 5_000, "gore": 4_000, "drawing": 6_000}
PIPELINES = {
    OURS: PipelineTerms(TERMS, PipelineState.DEFAULT),
    ALSO: PipelineTerms(TERMS, PipelineState.ACCEPTED),
    OLD: PipelineTerms(TERMS, PipelineState.RETIRED),
    TRIAL: PipelineTerms(TERMS, PipelineState.SHADOW),
}
GOOD = {"test-pattern": 100, "gore": 100, "drawing": 100}
BAD = {"test-pattern": 9_000, "gore": 100, "drawing": 100}
GORY = {"test-pattern": 100, "gore": 9_000, "drawing": 100}
OPEN = {"test-pattern": None, "gore": 100, "drawing": 100}


def trusted(clean=100, flag=100, **more) -> Trust:
    return Trust(clean=clean, flag=flag, state=PeerState.TRUSTED, **more)


def judgement(**changes) -> Judgement:
    values: dict[str, Any] = {
        "rules": RULES,
        "pipelines": PIPELINES,
        "trust": {A: trusted(), B: trusted()},
    }
    return Judgement(**(values | changes))


def verdict(scores, issuer=SELF, *, feed=None, **changes) -> Verdict:
    values = {
        "issuer": issuer,
        "sha256": PICTURE,
        "feed": feed if feed is not None else (Feed.OWN if issuer == SELF else Feed.CLEAN),
        "basis": Basis.MODEL,
        "issued": NOW - DAY,
        "expires": NOW + DAY,
        "pipeline": OURS,
        "scores": scores,
    }
    return Verdict(**(values | changes))


def upheld(issuer, rule="pattern", **changes) -> Verdict:
    return verdict(
        {},
        issuer,
        feed=Feed.FLAGGED,
        basis=Basis.HUMAN,
        pipeline=None,
        rule=rule,
        finding=Finding.UPHELD,
        **changes,
    )


def exact(found, distance=0) -> Match:
    return Match(MatchKind.EXACT, found, distance)


def content(found) -> Match:
    return Match(MatchKind.CONTENT, found)


def near(found, distance=12) -> Match:
    return Match(MatchKind.NEAR, found, distance)


def probable(found, distance=36) -> Match:
    return Match(MatchKind.PROBABLE, found, distance)


def person(finding, rule="pattern", *, decided=NOW - DAY, kind=MatchKind.EXACT) -> FindingMatch:
    return FindingMatch(kind, rule, Finding(finding), decided, "an admin", "seen")


def evidence(*items) -> Evidence:
    return Evidence(
        tuple(item for item in items if isinstance(item, Match)),
        tuple(item for item in items if isinstance(item, FindingMatch)),
    )
