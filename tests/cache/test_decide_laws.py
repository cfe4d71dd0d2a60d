"""The laws of deciding, for any evidence and any trust (hypothesis)."""

from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cache import weigh
from cache.decide import decide
from cache.judgement import (
    Judgement,
    LabelTrust,
    NearClean,
    PeerState,
    PipelineState,
    PipelineTerms,
    Trust,
)
from cache.outcome import Reason, explain
from cache.rules import parse
from cache.verdict import (
    SELF,
    Basis,
    Decision,
    Evidence,
    Feed,
    Finding,
    FindingMatch,
    Match,
    MatchKind,
    Verdict,
)
from tests.cache.pictures import (
    ALSO,
    BAD,
    DAY,
    FOREIGN,
    GOOD,
    GORY,
    NOW,
    OLD,
    OPEN,
    OTHER,
    OURS,
    PICTURE,
    PIPELINES,
    RULES,
    TRIAL,
    A,
    B,
    C,
)

SEVERITY = [Decision.CLEAN, Decision.UNKNOWN, Decision.REVIEW, Decision.FLAGGED]
EXACT_KINDS = [MatchKind.EXACT, MatchKind.CONTENT]
CLOSE_KINDS = [MatchKind.NEAR, MatchKind.PROBABLE]
STRANGER = "https://stranger.example"

SCORES = st.sampled_from([GOOD, BAD, GORY, OPEN, {}])
ISSUERS = st.sampled_from([SELF, A, B, C])
LIVES = st.sampled_from([(NOW - DAY, NOW + DAY), (NOW - 9 * DAY, NOW + 1), (NOW - 3 * DAY, NOW)])


@st.composite
def models(draw, issuers=ISSUERS, scores=SCORES, lives=LIVES):
    issuer = draw(issuers)
    issued, expires = draw(lives)
    return Verdict(
        issuer=issuer,
        sha256=draw(st.sampled_from([PICTURE, OTHER])),
        feed=Feed.OWN if issuer == SELF else draw(st.sampled_from([Feed.CLEAN, Feed.FLAGGED])),
        basis=Basis.MODEL,
        issued=issued,
        expires=expires,
        pipeline=draw(st.sampled_from([OURS, ALSO, OLD, TRIAL, FOREIGN])),
        scores=draw(scores),
        frames_seen=draw(st.sampled_from([1, 2])),
        frames_total=draw(st.sampled_from([1, 2])),
        seq=None if issuer == SELF else draw(st.integers(1, 3)),
    )


@st.composite
def humans(draw):
    issued, expires = draw(LIVES)
    return Verdict(
        issuer=draw(st.sampled_from([A, B, C])),
        sha256=PICTURE,
        feed=Feed.FLAGGED,
        basis=Basis.HUMAN,
        issued=issued,
        expires=expires,
        rule=draw(st.sampled_from(["pattern", "gory", "unknown-here"])),
        finding=Finding.UPHELD,
    )


def matches(verdicts=None, kinds=(*EXACT_KINDS, *CLOSE_KINDS)):
    return st.builds(
        Match,
        kind=st.sampled_from(kinds),
        verdict=models() | humans() if verdicts is None else verdicts,
        distance=st.integers(0, 40),
    )


def findings(kinds=(*EXACT_KINDS, *CLOSE_KINDS)):
    return st.builds(
        FindingMatch,
        kind=st.sampled_from(kinds),
        rule=st.sampled_from(["pattern", "gory", "test-card"]),
        finding=st.sampled_from(Finding),
        decided=st.integers(NOW - 3, NOW),
        decided_by=st.just("an admin"),
        reason=st.just("seen"),
        distance=st.integers(0, 40),
    )


def evidences(of_matches=None, of_findings=None, most_findings=2, *, twins=False):
    of_matches = matches() if of_matches is None else of_matches
    of_findings = findings() if of_findings is None else of_findings
    return st.builds(
        Evidence,
        st.lists(of_matches, max_size=6).map(tuple),
        st.lists(of_findings, max_size=most_findings).map(tuple),
        st.lists(TWINS, max_size=2).map(tuple) if twins else st.just(()),
    )


WEIGHTS = st.sampled_from([0, 30, 50, 100])
TRUSTS = st.builds(
    Trust,
    clean=WEIGHTS,
    flag=WEIGHTS,
    labels=st.dictionaries(
        st.sampled_from(["test-pattern", "gore"]),
        st.builds(LabelTrust, st.none() | WEIGHTS, st.none() | WEIGHTS),
        max_size=1,
    ),
    heard=st.sampled_from([frozenset({"*"}), frozenset({"test-pattern"}), frozenset()]),
    max_age_days=st.sampled_from([2, 180]),
    operator=st.sampled_from([None, None, "one operator"]),
    audit_rate=st.sampled_from([0.0, 0.5]),
    state=st.sampled_from([PeerState.TRUSTED, PeerState.TRUSTED, PeerState.OBSERVED]),
)
JUDGEMENTS = st.builds(
    Judgement,
    rules=st.just(RULES),
    pipelines=st.just(PIPELINES),
    trust=st.fixed_dictionaries({A: TRUSTS, B: TRUSTS, C: TRUSTS}),
    clean_quorum=st.sampled_from([30, 100, 101]),
    flag_quorum=st.sampled_from([30, 100, 200]),
    audits=st.booleans(),
    has_scanner=st.booleans(),
    near_clean=st.sampled_from(NearClean),
    near_clean_audit=st.sampled_from([0.0, 0.25]),
    tripped=st.sampled_from([frozenset(), frozenset({A}), frozenset({A, B, C})]),
)
ASKS = st.fixed_dictionaries(
    {"now": st.just(NOW), "can_scan": st.booleans(), "throw": st.sampled_from([0.1, 0.9])}
)
law = settings(max_examples=150, deadline=None)
often_clean = settings(law, suppress_health_check=[HealthCheck.filter_too_much])

CLEARING = matches(
    models(
        issuers=st.sampled_from([A, B, C]), scores=st.just(GOOD), lives=st.just((NOW - 1, NOW + 1))
    ).map(lambda verdict: replace(verdict, feed=Feed.CLEAN, pipeline=OURS, frames_total=1)),
    EXACT_KINDS,
)
TWINS = matches(
    st.one_of(
        models(scores=st.sampled_from([GOOD, GOOD, OPEN])),
        models(scores=st.just(GOOD), lives=st.just((NOW - 1, NOW + 1))).map(
            lambda v: replace(v, feed=v.feed and Feed.CLEAN, pipeline=OURS, frames_total=1)
        ),
    ),
    [MatchKind.TWIN],
)
MOSTLY_CLEAN = st.builds(
    lambda clearing, others: Evidence((*clearing, *others)),
    st.lists(CLEARING, min_size=1, max_size=3),
    st.lists(matches(), max_size=2),
)
KIND_JUDGEMENTS = JUDGEMENTS.map(
    lambda judgement: replace(
        judgement,
        clean_quorum=30,
        trust={
            origin: replace(trust, clean=100, heard=frozenset({"*"}), state=PeerState.TRUSTED)
            for origin, trust in judgement.trust.items()
        },
    )
)


@law
@given(evidences(twins=True), JUDGEMENTS, ASKS)
def test_any_evidence_is_decided_and_explained(evidence, judgement, ask):
    outcome = decide(evidence, judgement, **ask)
    assert outcome.decision in SEVERITY
    assert all(match in (*evidence.matches, *evidence.twins) for match in outcome.matches)
    assert all(finding in evidence.findings for finding in outcome.findings)
    assert explain(outcome).endswith(".")


@law
@given(evidences(matches(kinds=CLOSE_KINDS), findings(CLOSE_KINDS)), JUDGEMENTS, ASKS)
def test_near_evidence_alone_never_ends_in_clean_nor_in_flagged(evidence, judgement, ask):
    outcome = decide(evidence, judgement, **ask)
    assert outcome.decision in (Decision.UNKNOWN, Decision.REVIEW)


@often_clean
@given(MOSTLY_CLEAN, KIND_JUDGEMENTS, ASKS)
def test_no_clean_rests_on_a_near_match(evidence, judgement, ask):
    """What is clean stays clean without the near matches: they can only take clean away."""
    same = {match.verdict.sha256 for match in evidence.matches if match.kind in EXACT_KINDS}
    assume(  # one sha256 matches in one way
        not any(
            match.verdict.sha256 in same
            for match in evidence.matches
            if match.kind not in EXACT_KINDS
        )
    )
    outcome = decide(evidence, judgement, **ask)
    assume(outcome.decision is Decision.CLEAN)
    exact = tuple(match for match in evidence.matches if match.kind in EXACT_KINDS)
    assert decide(replace(evidence, matches=exact), judgement, **ask).decision is Decision.CLEAN
    assert {match.kind for match in outcome.matches} <= set(EXACT_KINDS)


@law
@given(evidences(most_findings=0, twins=True), JUDGEMENTS, ASKS, findings(EXACT_KINDS))
def test_a_persons_finding_always_wins(evidence, judgement, ask, finding):
    outcome = decide(replace(evidence, findings=(finding,)), judgement, **ask)
    if finding.finding is Finding.UPHELD:
        assert outcome.decision is Decision.FLAGGED
    elif finding.finding is Finding.ESCALATED:
        assert outcome.decision is Decision.REVIEW
    else:
        assert finding.rule not in outcome.rules


FLAGGING = models(scores=st.sampled_from([BAD, GORY])).map(
    lambda verdict: replace(verdict, sha256=b"\x09" * 32)  # a State key of its own
)


@law
@given(
    evidences(of_findings=findings(CLOSE_KINDS), twins=True), JUDGEMENTS, ASKS, matches(FLAGGING)
)
def test_one_more_flagging_verdict_never_turns_a_decision_towards_clean(
    evidence, judgement, ask, flag
):
    before = decide(evidence, judgement, **ask).decision
    more = replace(evidence, matches=(*evidence.matches, flag))
    after = decide(more, judgement, **ask).decision
    assert SEVERITY.index(after) >= SEVERITY.index(before)


@law
@given(
    evidences(twins=True),
    JUDGEMENTS,
    ASKS,
    matches(
        models(issuers=st.just(STRANGER)) | humans().map(lambda v: replace(v, issuer=STRANGER))
    ),
    st.sampled_from([None, Trust(), Trust(clean=100, flag=100), Trust(state=PeerState.TRUSTED)]),
)
def test_a_peer_of_weight_0_changes_nothing(evidence, judgement, ask, match, trust):
    known = {} if trust is None else {STRANGER: trust}
    judgement = replace(judgement, trust={**judgement.trust, **known})
    more = replace(evidence, matches=(*evidence.matches, match))
    assert decide(more, judgement, **ask) == decide(evidence, judgement, **ask)


@law
@given(st.data(), evidences(twins=True), JUDGEMENTS, ASKS)
def test_the_order_of_the_evidence_does_not_matter(data, evidence, judgement, ask):
    shuffled = Evidence(
        tuple(data.draw(st.permutations(evidence.matches))),
        tuple(data.draw(st.permutations(evidence.findings))),
        tuple(data.draw(st.permutations(evidence.twins))),
    )
    assert decide(shuffled, judgement, **ask) == decide(evidence, judgement, **ask)


@law
@given(evidences(twins=True), JUDGEMENTS, ASKS)
def test_deciding_equals_deciding_without_what_expired_but_for_own_flags(evidence, judgement, ask):
    def stays(match):
        verdict = match.verdict
        if verdict.issuer == SELF:
            flags = weigh.flagged_rules(verdict, judgement.rules, judgement)
            return verdict.expires > NOW or bool(flags)
        age_limit = judgement.trust[verdict.issuer].max_age_days * DAY
        return min(verdict.expires, verdict.issued + age_limit) > NOW

    kept = replace(
        evidence,
        matches=tuple(filter(stays, evidence.matches)),
        twins=tuple(filter(stays, evidence.twins)),
    )
    assert decide(kept, judgement, **ask) == decide(evidence, judgement, **ask)


@law
@given(st.lists(st.sampled_from(EXACT_KINDS + CLOSE_KINDS), min_size=1, max_size=5), st.booleans())
def test_flags_of_different_rules_never_add_up(kinds, can_scan):
    """Each peer alone is one hundredth short of the quorum, and flags a rule of its own."""
    names = [f"label{i}" for i in range(len(kinds))]
    judgement = Judgement(
        rules={f"rule-{name}": parse(name) for name in names},
        pipelines={OURS: PipelineTerms(dict.fromkeys(names, 5_000), PipelineState.DEFAULT)},
        trust={f"https://{name}": Trust(flag=100, state=PeerState.TRUSTED) for name in names},
        flag_quorum=101,
    )
    found = tuple(
        Match(
            kind,
            Verdict(
                f"https://{name}",
                PICTURE,
                Feed.FLAGGED,
                Basis.MODEL,
                NOW - 1,
                NOW + 1,
                pipeline=OURS,
                scores=dict.fromkeys(names, 0) | {name: 9_000},
            ),
        )
        for name, kind in zip(names, kinds, strict=True)
    )
    outcome = decide(Evidence(found), judgement, now=NOW, can_scan=can_scan)
    assert outcome.reason is Reason.SUSPECTED


SCANNED = models(
    issuers=st.just(SELF),
    scores=st.sampled_from([GOOD, BAD, GORY]),
    lives=st.just((NOW, NOW + DAY)),
).map(lambda verdict: replace(verdict, pipeline=OURS, sha256=PICTURE))


@law
@given(evidences(twins=True), JUDGEMENTS, ASKS, SCANNED)
def test_after_a_scan_by_the_default_pipeline_over_all_labels_nothing_is_unknown(
    evidence, judgement, ask, scan
):
    more = replace(evidence, matches=(*evidence.matches, Match(MatchKind.EXACT, scan)))
    assert decide(more, judgement, **ask).decision is not Decision.UNKNOWN


@often_clean
@given(MOSTLY_CLEAN, KIND_JUDGEMENTS, ASKS)
def test_clean_by_reuse_rests_on_clean_feed_rows_wholly_seen_of_a_pipeline_in_force(
    evidence, judgement, ask
):
    outcome = decide(evidence, judgement, **ask)
    assume(outcome.reason is Reason.PEERS_CLEAR)
    for match in outcome.matches:
        verdict = match.verdict
        assert verdict.feed is Feed.CLEAN
        assert verdict.frames_seen >= verdict.frames_total
        assert judgement.pipelines[verdict.pipeline].current
        assert judgement.trust[verdict.issuer].clean > 0 or judgement.trust[verdict.issuer].labels


CONTRADICTING = FLAGGING.map(
    lambda verdict: replace(verdict, issuer=A, feed=Feed.FLAGGED, expires=NOW + 1, issued=NOW - 1)
)


@often_clean
@given(MOSTLY_CLEAN, KIND_JUDGEMENTS, ASKS, matches(CONTRADICTING, EXACT_KINDS))
def test_a_peer_that_contradicts_itself_is_not_reused_as_clean(evidence, judgement, ask, flag):
    judgement = replace(
        judgement, trust=judgement.trust | {A: Trust(100, 30, state=PeerState.TRUSTED)}
    )
    weights = weigh.flag_weights(flag.verdict, judgement.rules, judgement)
    assume(weights)
    more = replace(evidence, matches=(*evidence.matches, flag))
    outcome = decide(more, judgement, **ask)
    assert outcome.reason is not Reason.PEERS_CLEAR


@law
@given(
    evidences(matches(models().map(lambda v: replace(v, pipeline=OLD))), most_findings=0),
    JUDGEMENTS,
    ASKS,
)
def test_retired_pipelines_never_clear_and_never_flag(evidence, judgement, ask):
    outcome = decide(evidence, judgement, **ask)
    assert outcome.decision in (Decision.UNKNOWN, Decision.REVIEW)


@law
@given(evidences(), JUDGEMENTS, ASKS)
def test_where_nothing_can_scan_only_missing_evidence_is_unknown(evidence, judgement, ask):
    outcome = decide(evidence, judgement, **(ask | {"can_scan": False}))
    if outcome.decision is Decision.UNKNOWN:
        assert outcome.reason is Reason.NO_EVIDENCE


@law
@given(evidences(twins=True), JUDGEMENTS, ASKS)
def test_with_near_clean_off_no_near_match_ever_yields_clean(evidence, judgement, ask):
    judgement = replace(judgement, near_clean=NearClean.OFF)
    without = replace(evidence, twins=())
    assert decide(evidence, judgement, **ask) == decide(without, judgement, **ask)


ONLY_TWINS = st.lists(TWINS, min_size=1, max_size=3).map(lambda twins: Evidence(twins=tuple(twins)))
CLOSE_FLAGS = matches(FLAGGING, CLOSE_KINDS)


@often_clean
@given(ONLY_TWINS, KIND_JUDGEMENTS, ASKS)
def test_a_near_clean_of_our_own_rests_on_our_own_verdicts(evidence, judgement, ask):
    judgement = replace(judgement, near_clean=NearClean.OWN)
    outcome = decide(evidence, judgement, **ask)
    assume(outcome.decision is Decision.CLEAN)
    assert outcome.reason is Reason.NEAR_CLEAN
    assert {match.verdict.issuer for match in outcome.matches} == {SELF}
    assert all(judgement.pipelines[match.verdict.pipeline].current for match in outcome.matches)


@often_clean
@given(ONLY_TWINS, KIND_JUDGEMENTS, ASKS, CLOSE_FLAGS)
def test_a_flag_that_counts_within_40_bits_forbids_near_clean(evidence, judgement, ask, flag):
    state = judgement.terms(flag.verdict).state if judgement.terms(flag.verdict) else None
    assume(flag.verdict.issuer != SELF or state not in (None, PipelineState.SHADOW))
    trust = {
        origin: replace(trust, flag=30, max_age_days=366)
        for origin, trust in judgement.trust.items()
    }
    assume(flag.verdict.issuer == SELF or flag.verdict.expires > NOW)
    more = replace(evidence, matches=(flag,))
    outcome = decide(more, replace(judgement, trust=trust), **ask)
    assert outcome.decision is not Decision.CLEAN


@often_clean
@given(ONLY_TWINS, KIND_JUDGEMENTS, ASKS, FLAGGING)
def test_a_flag_that_counts_on_a_twin_takes_that_twin_away(evidence, judgement, ask, flag):
    trust = {
        origin: replace(trust, flag=30, labels={}, max_age_days=366)
        for origin, trust in judgement.trust.items()
    }
    judgement = replace(judgement, trust=trust)
    of_twin = {match.verdict.sha256 for match in evidence.twins}
    flag = replace(flag, expires=NOW + 1, issued=NOW, pipeline=OURS, scores=BAD)
    assume(weigh.flag_weights(flag, RULES, judgement) or flag.issuer == SELF)
    flags = [
        Match(MatchKind.TWIN, replace(flag, sha256=sha256, feed=Feed.FLAGGED, seq=9))
        for sha256 in of_twin
    ]
    more = replace(evidence, twins=(*evidence.twins, *flags))
    assert decide(more, judgement, **ask).decision is not Decision.CLEAN


@law
@given(evidences(), JUDGEMENTS, ASKS)
def test_a_tripped_peer_asks_for_review_where_it_would_have_flagged(evidence, judgement, ask):
    calm = decide(evidence, replace(judgement, tripped=frozenset()), **ask)
    tripped = decide(evidence, judgement, **ask)
    if calm.decision is Decision.FLAGGED and tripped.decision is not Decision.FLAGGED:
        assert (calm.reason, tripped.reason) == (Reason.PEERS_FLAG, Reason.BLAST_RADIUS)
        assert tripped.decision is Decision.REVIEW
    else:
        assert tripped.decision is calm.decision
