"""Deciding equals a second, naive reading of design.md, for any evidence and any trust."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cache.decide import decide
from cache.verdict import Evidence
from tests.cache.reference import reference
from tests.cache.test_decide_laws import (
    ASKS,
    CLEARING,
    JUDGEMENTS,
    KIND_JUDGEMENTS,
    TWINS,
    findings,
    matches,
)

as_often_as_it_can = settings(max_examples=400, deadline=None)


def _row(match):
    """What is unique in `verdicts`."""
    verdict = match.verdict
    return (
        *(verdict.issuer, verdict.sha256, verdict.feed),
        *(verdict.pipeline, verdict.basis, verdict.rule),
    )


def _evidences(of_matches, of_findings, most=7):
    """Evidence as a database can hold it: no row twice, no two findings in one second."""
    return st.builds(
        lambda rows, found, cut, compared, twins: Evidence(
            tuple(rows),
            tuple(replace(f, decided=f.decided - 9 * i) for i, f in enumerate(found)),
            tuple(twins),
            cut,
            compared,
        ),
        st.lists(of_matches, max_size=most, unique_by=_row),
        of_findings,
        st.sampled_from([False, False, False, True]),
        st.sampled_from([True, True, True, False]),
        st.lists(TWINS, max_size=3, unique_by=_row),
    )


RARELY_FINDINGS = st.one_of(st.just([]), st.just([]), st.lists(findings(), max_size=3))


@as_often_as_it_can
@given(_evidences(matches(), RARELY_FINDINGS), JUDGEMENTS, ASKS)
def test_any_evidence_is_decided_as_the_design_reads(evidence, judgement, ask):
    assert decide(evidence, judgement, **ask).decision is reference(evidence, judgement, **ask)


@as_often_as_it_can
@given(_evidences(matches(), st.just([]), most=1), KIND_JUDGEMENTS, ASKS)
def test_twins_alone_are_decided_as_the_design_reads(evidence, judgement, ask):
    assert decide(evidence, judgement, **ask).decision is reference(evidence, judgement, **ask)


@as_often_as_it_can
@given(
    _evidences(st.one_of(CLEARING, CLEARING, matches()), st.just([])),
    st.one_of(KIND_JUDGEMENTS, JUDGEMENTS),
    ASKS,
)
def test_evidence_that_is_mostly_clean_is_decided_as_the_design_reads(evidence, judgement, ask):
    assert decide(evidence, judgement, **ask).decision is reference(evidence, judgement, **ask)
