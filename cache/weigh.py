"""Reads verdicts by our rules, and adds up what they weigh.

Decides what flags, what clears, which of an issuer's contradicting rows stands, and the sums
of weights. Which sum leads to which decision is left to `decide`. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence

from cache.judgement import Judgement, Trust, label_truth
from cache.rules import Rule
from cache.verdict import Basis, Feed, Finding, Match, MatchKind, Verdict

SECONDS_PER_DAY = 86_400
KINDS = (MatchKind.EXACT, MatchKind.CONTENT, MatchKind.NEAR, MatchKind.PROBABLE, MatchKind.TWIN)
EXACT_KINDS = (MatchKind.EXACT, MatchKind.CONTENT)

Rules = Mapping[str, Rule]


def expires(verdict: Verdict, trust: Trust | None) -> int:
    """Return when a verdict stops to count: its own expiry, or the peer's `max_age_days`."""
    if trust is None:
        return verdict.expires
    return min(verdict.expires, verdict.issued + trust.max_age_days * SECONDS_PER_DAY)


def standing(matches: Iterable[Match]) -> tuple[Match, ...]:
    """Return of each State key the row that stands: later issued, then flagged, then higher seq.

    Key is (issuer, sha256, pipeline, basis, rule). Sorted, strongest match first, so that the
    order in which evidence was found cannot matter.
    """
    found = tuple(matches)
    if len(found) < 2:  # nothing to be sorted, most often
        return found
    rows: dict[tuple[object, ...], Match] = {}
    for match in sorted(found, key=_age):
        rows[_key(match.verdict)] = match
    return tuple(sorted(rows.values(), key=_strength))


def flagged_rules(verdict: Verdict, rules: Rules, judgement: Judgement) -> tuple[str, ...]:
    """Return the names of our rules that the verdict flags, whoever issued it."""
    if verdict.basis is Basis.HUMAN:
        upheld = verdict.finding is Finding.UPHELD and verdict.rule in rules
        return (str(verdict.rule),) if upheld else ()
    terms = judgement.terms(verdict)
    if terms is None:
        return ()
    return tuple(
        name
        for name, rule in sorted(rules.items())
        if rule.truth(lambda label: label_truth(verdict.scores, terms, label))
    )


def clears(verdict: Verdict, rules: Rules, judgement: Judgement) -> bool:
    """Tell whether all our rules are false for the verdict's scores."""
    terms = judgement.terms(verdict)
    if verdict.basis is Basis.HUMAN or terms is None:
        return False
    return all(
        rule.truth(lambda label: label_truth(verdict.scores, terms, label)) is False
        for rule in rules.values()
    )


def whole(verdict: Verdict) -> bool:
    """Tell whether every frame was seen."""
    return verdict.frames_seen >= verdict.frames_total


def flag_weights(verdict: Verdict, rules: Rules, judgement: Judgement) -> dict[str, int]:
    """Return what a peer's verdict weighs (hundredths, over 0) for each rule that it flags.

    A rule weighs as much as the largest weight at which it is still true when all labels of
    less weight are taken as null; labels not heard weigh 0. A person's finding weighs as its
    rule's weakest label. Pipelines that are retired or in shadow here weigh nothing.
    """
    trust = judgement.trust_in(verdict.issuer)
    if verdict.basis is Basis.HUMAN:
        weights = {name: _weakest(rules[name], trust) for name in _upheld(verdict, rules)}
    elif (terms := judgement.terms(verdict)) is None or not terms.current:
        return {}
    else:
        weights = {
            name: _rule_weight(rule, verdict, judgement, trust) for name, rule in rules.items()
        }
    return {name: weight for name, weight in weights.items() if weight > 0}


def cannot_weigh(verdict: Verdict, judgement: Judgement) -> bool:
    """Tell whether a peer's flagged-feed row rests on a pipeline or a rule unknown here.

    A pipeline that is retired or in shadow here is one whose flags we do not weigh either.
    """
    if verdict.feed is not Feed.FLAGGED:
        return False
    if not judgement.trust_in(verdict.issuer).largest_flag_weight:
        return False
    if verdict.basis is Basis.HUMAN:
        return verdict.rule not in judgement.rules
    terms = judgement.terms(verdict)
    return terms is None or not terms.current


def clean_weight(verdict: Verdict, rules: Rules, judgement: Judgement) -> int:
    """Return what a peer's clean-feed row weighs as clean evidence (hundredths), 0 for none.

    Every label of our rules must be scored and heard, the pipeline listed and in force here,
    and the whole file seen. The weakest label's weight counts.
    """
    terms = judgement.terms(verdict)
    if verdict.feed is not Feed.CLEAN or verdict.basis is not Basis.MODEL or not whole(verdict):
        return 0
    if terms is None or not terms.current or not clears(verdict, rules, judgement):
        return 0
    labels = frozenset[str]().union(*(rule.labels for rule in rules.values()))
    if any(label_truth(verdict.scores, terms, label) is None for label in labels):
        return 0
    trust = judgement.trust_in(verdict.issuer)
    if not labels:
        return trust.clean_weight("")
    return min(trust.clean_weight(label) for label in labels)


def total(
    weighed: Iterable[tuple[Match, int]], judgement: Judgement, cap: int | None = None
) -> int:
    """Return the sum of weights in two-hundredths; an operator counts once, with its largest.

    `cap` (two-hundredths) bounds what one operator adds. Twice hundredths, so that half a quorum
    is an integer.
    """
    largest: dict[str, int] = {}
    for match, weight in weighed:
        issuer = match.verdict.issuer
        operator = judgement.trust_in(issuer).operator
        group = f"operator {operator}" if operator else f"origin {issuer}"
        largest[group] = max(largest.get(group, 0), 2 * weight)
    return sum(weight if cap is None else min(weight, cap) for weight in largest.values())


def _upheld(verdict: Verdict, rules: Rules) -> Sequence[str]:
    upheld = verdict.finding is Finding.UPHELD and verdict.rule in rules
    return [str(verdict.rule)] if upheld else []


def _weakest(rule: Rule, trust: Trust) -> int:
    return min(trust.flag_weight(label) for label in rule.labels)


def _rule_weight(rule: Rule, verdict: Verdict, judgement: Judgement, trust: Trust) -> int:
    terms = judgement.pipelines[str(verdict.pipeline)]
    weights = {label: trust.flag_weight(label) for label in rule.labels}
    for level in sorted({weight for weight in weights.values() if weight > 0}, reverse=True):
        truth = rule.truth(
            lambda label, level=level: (  # type: ignore[misc]
                label_truth(verdict.scores, terms, label) if weights[label] >= level else None
            )
        )
        if truth:
            return level
    return 0


def _key(verdict: Verdict) -> tuple[object, ...]:
    return (
        verdict.issuer,
        verdict.sha256,
        verdict.pipeline,
        verdict.basis,
        verdict.rule,
    )


def _age(match: Match) -> tuple[object, ...]:
    """Order rows of one key so that the last one stands; the tail only settles ties."""
    verdict = match.verdict
    return (
        verdict.issued,
        verdict.feed is Feed.FLAGGED,
        -1 if verdict.seq is None else verdict.seq,
        -KINDS.index(match.kind),
        -match.distance,
        verdict.expires,
        _tie(match),
    )


def _strength(match: Match) -> tuple[object, ...]:
    verdict = match.verdict
    return (KINDS.index(match.kind), match.distance, verdict.issuer, _tie(match))


def _tie(match: Match) -> str:
    verdict = match.verdict
    scores = sorted((label, str(score)) for label, score in verdict.scores.items())
    return repr(
        (
            match.kind.value,
            match.distance,
            verdict.sha256,
            verdict.pipeline,
            verdict.rule,
            verdict.feed.value,
            verdict.basis.value,
            str(verdict.finding),
            verdict.issued,
            verdict.expires,
            verdict.seq,
            verdict.frames_seen,
            verdict.frames_total,
            scores,
        )
    )
