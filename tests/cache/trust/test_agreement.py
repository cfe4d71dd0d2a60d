"""Whether a peer agreed with us: margins, persons, labels; Wilson's bounds and the audit rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.decide import decide
from cache.judgement import PipelineState, PipelineTerms
from cache.rules import parse
from cache.trust.agreement import (
    FALSE_CLEAN_COMPARISONS,
    FALSE_CLEAN_HITS,
    MARGIN,
    MIN_COMPARISONS,
    Compared,
    Ours,
    Result,
    audit_rate,
    compare_clean,
    compare_flags,
    flags_fail,
    wilson,
)
from cache.trust.track_record import Fall, TrackRecord
from cache.verdict import Decision, Feed, Finding
from cache.weigh import flagged_rules
from tests.cache.pictures import (
    ALSO,
    BAD,
    FOREIGN,
    GOOD,
    GORY,
    NOW,
    OLD,
    OPEN,
    OURS,
    PIPELINES,
    TERMS,
    TRIAL,
    A,
    evidence,
    exact,
    judgement,
    trusted,
    upheld,
    verdict,
)

HERE = judgement()
LABELS = frozenset(TERMS)
PATTERN = frozenset({"test-pattern"})
AT = TERMS["test-pattern"]


def ours(*scores, findings=None, **changes) -> Ours:
    return Ours([verdict(one, **changes) for one in scores], findings or {})


def clean(scores=GOOD, held=None, here=HERE, **changes):
    return compare_clean([verdict(scores, A, **changes)], held or ours(GOOD), here)


def flag(scores=BAD, held=None, here=HERE, **changes):
    values = {"feed": Feed.FLAGGED} | changes
    return compare_flags([verdict(scores, A, **values)], held or ours(BAD), here)


def pattern(score):
    return GOOD | {"test-pattern": score}


def result(found):
    return found.result if found else None


# --- clean -----------------------------------------------------------------------------------
def test_a_clean_row_agrees_with_a_scan_of_ours_that_clears():
    assert clean() == Compared(Result.AGREED, LABELS)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (AT + MARGIN, Result.FALSE_CLEAN),
        (AT + MARGIN - 1, None),
        (AT, None),
        (AT - 1, Result.AGREED),
    ],
)
def test_a_clean_is_false_where_our_scan_is_over_the_threshold_by_the_margin(score, expected):
    assert result(clean(held=ours(pattern(score)))) is expected


@pytest.mark.parametrize(
    ("threshold", "least"), [(8_000, 9_000), (9_000, 9_500), (9_990, 9_995), (10_000, 10_000)]
)
def test_the_margin_is_at_most_half_of_what_lies_beyond_the_threshold(threshold, least):
    terms = {OURS: PipelineTerms(TERMS | {"test-pattern": threshold}, PipelineState.DEFAULT)}
    here = judgement(pipelines=terms)
    assert result(clean(held=ours(pattern(least)), here=here)) is Result.FALSE_CLEAN
    assert result(clean(held=ours(pattern(least - 1)), here=here)) is not Result.FALSE_CLEAN


def test_a_false_clean_names_the_labels_that_make_the_rule_true():
    assert clean(held=ours(BAD)) == Compared(Result.FALSE_CLEAN, LABELS, PATTERN)
    gory = clean(held=ours(GORY))
    assert gory.differ == {"gore"}


def test_a_label_that_speaks_against_the_rule_must_be_surely_false():
    drawn = GORY | {"drawing": TERMS["drawing"] - MARGIN}
    assert clean(held=ours(drawn)) is None
    assert result(clean(held=ours(drawn | {"drawing": TERMS["drawing"] - MARGIN - 1}))) is (
        Result.FALSE_CLEAN
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"feed": Feed.FLAGGED},
        {"pipeline": FOREIGN},
        {"pipeline": OLD},
        {"pipeline": TRIAL},
        {"scores": OPEN},
        {"scores": BAD},
        {"frames_seen": 1, "frames_total": 2},
    ],
)
def test_a_row_that_would_not_be_reused_claims_nothing(changes):
    scores = changes.pop("scores", GOOD)
    assert clean(scores, ours(BAD), **changes) is None


def test_whoever_weighs_nothing_is_compared_as_well():
    assert result(clean(held=ours(BAD), here=judgement(trust={}))) is Result.FALSE_CLEAN


def test_without_a_whole_scan_of_ours_nobody_agreed_but_a_part_can_contradict():
    part = {"frames_seen": 1, "frames_total": 9}
    assert clean(held=ours(GOOD, **part)) is None
    assert result(clean(held=ours(BAD, **part))) is Result.FALSE_CLEAN
    assert clean(held=ours(OPEN)) is None
    assert clean(held=Ours()) is None


def test_one_scan_of_ours_that_is_surely_over_is_enough():
    both = Ours([verdict(GOOD), verdict(BAD, pipeline=ALSO)], {})
    assert result(clean(held=both)) is Result.FALSE_CLEAN


def test_a_person_who_upheld_makes_a_clean_false_whatever_was_scanned():
    found = clean(held=ours(GOOD, findings={"pattern": Finding.UPHELD}))
    assert found == Compared(Result.FALSE_CLEAN, LABELS, PATTERN, by_person=True)
    gone = clean(held=ours(GOOD, findings={"a-rule-of-old": Finding.UPHELD}))
    assert (gone.result, gone.differ) == (Result.FALSE_CLEAN, frozenset())


def test_a_person_who_dismissed_makes_a_clean_right_whatever_was_scanned():
    found = clean(held=ours(BAD, findings={"pattern": Finding.DISMISSED}))
    assert (found.result, found.by_person) == (Result.AGREED, True)
    assert clean(held=ours(GOOD, findings={"pattern": Finding.ESCALATED})) is None


def test_a_model_with_thresholds_of_its_own_is_read_by_them():
    terms = PIPELINES | {FOREIGN: PipelineTerms(TERMS | {"test-pattern": 9_500})}
    here = judgement(pipelines=terms)
    assert result(clean(pattern(9_400), here=here, pipeline=FOREIGN)) is Result.AGREED
    assert flag(pattern(9_400), ours(GOOD), here, pipeline=FOREIGN) is None


# --- flags -----------------------------------------------------------------------------------
def test_a_flag_agrees_with_a_scan_of_ours_that_flags_the_rule():
    assert flag() == Compared(Result.AGREED, PATTERN)
    assert result(flag(BAD, ours(pattern(AT)))) is Result.AGREED


@pytest.mark.parametrize(
    ("score", "expected"),
    [(AT - MARGIN - 1, Result.FALSE_FLAG), (AT - MARGIN, None), (AT - 1, None)],
)
def test_a_flag_is_false_where_our_scan_is_under_the_threshold_by_the_margin(score, expected):
    assert result(flag(held=ours(pattern(score)))) is expected


def test_a_false_flag_names_the_labels_behind_the_false_rule_alone():
    here = judgement(rules={"one": parse("gore"), "two": parse("gore and test-pattern")})
    both = GORY | {"test-pattern": 9_000}
    found = flag(both, ours(GORY), here)
    assert found == Compared(Result.FALSE_FLAG, PATTERN | {"gore"}, PATTERN)


@pytest.mark.parametrize(
    "changes",
    [{"pipeline": FOREIGN}, {"pipeline": OLD}, {"pipeline": TRIAL}, {"scores": GOOD}],
)
def test_a_row_that_could_not_weigh_as_a_flag_claims_none(changes):
    scores = changes.pop("scores", BAD)
    assert flag(scores, ours(GOOD), **changes) is None


def test_a_clean_feed_row_that_our_rules_flag_is_a_flag():
    assert result(flag(BAD, ours(GOOD), feed=Feed.CLEAN)) is Result.FALSE_FLAG


def test_what_a_person_of_the_peer_upheld_is_a_flag():
    rows = [upheld(A)]
    assert result(compare_flags(rows, ours(BAD), HERE)) is Result.AGREED
    assert compare_flags(rows, ours(GOOD), HERE) == Compared(Result.FALSE_FLAG, PATTERN, PATTERN)
    assert compare_flags([upheld(A, "unknown-here")], ours(GOOD), HERE) is None


def test_a_person_here_settles_whether_a_flag_was_right():
    right = flag(held=ours(GOOD, findings={"pattern": Finding.UPHELD}))
    assert right == Compared(Result.AGREED, PATTERN, by_person=True)
    wrong = flag(held=ours(BAD, findings={"pattern": Finding.DISMISSED}))
    assert wrong == Compared(Result.FALSE_FLAG, PATTERN, PATTERN, by_person=True)


def test_a_flag_is_false_only_where_the_whole_file_was_seen_and_all_our_scans_say_so():
    assert flag(held=ours(GOOD, frames_seen=1, frames_total=2)) is None
    both = Ours([verdict(GOOD), verdict(pattern(AT - 1), pipeline=ALSO)], {})
    assert flag(held=both) is None


# --- laws ------------------------------------------------------------------------------------
score = st.one_of(st.none(), st.sampled_from([0, 3_999, 4_000, 5_000, 6_000, 10_000]))
scores = st.fixed_dictionaries(dict.fromkeys(TERMS, score))


@given(said=scores, held=scores)
def test_a_clean_is_compared_only_where_deciding_would_have_reused_it(said, held):
    row = verdict(said, A)
    here = judgement(trust={A: trusted()})
    decision = decide(evidence(exact(row)), here, now=NOW, can_scan=True).decision
    found = compare_clean([row], ours(held), here)
    assert found is None or decision is Decision.CLEAN


@given(said=scores, held=scores)
def test_nobody_is_accused_where_our_own_decision_is_the_same(said, held):
    row, own = verdict(said, A), ours(held)
    decision = decide(evidence(exact(own.verdicts[0])), HERE, now=NOW, can_scan=False).decision
    if decision is Decision.CLEAN:
        assert result(compare_clean([row], own, HERE)) in (None, Result.AGREED)
    flagged = set(flagged_rules(row, HERE.rules, HERE))
    if flagged <= set(flagged_rules(own.verdicts[0], HERE.rules, HERE)):
        assert result(compare_flags([row], own, HERE)) in (None, Result.AGREED)


@given(
    at=st.integers(2_001, 8_000),
    said=st.integers(0, 10_000),
    noise=st.integers(-999, 999),
)
def test_less_than_the_margin_of_noise_accuses_nobody(at, said, noise):
    here = judgement(
        rules={"pattern": parse("test-pattern")},
        pipelines={OURS: PipelineTerms({"test-pattern": at}, PipelineState.DEFAULT)},
    )
    held = ours({"test-pattern": min(10_000, max(0, said + noise))})
    rows = [verdict({"test-pattern": said}, A)]
    assert result(compare_clean(rows, held, here)) in (None, Result.AGREED)
    assert result(compare_flags(rows, held, here)) in (None, Result.AGREED)


# --- the record ------------------------------------------------------------------------------
AGREED = Compared(Result.AGREED, LABELS)
FALSE = Compared(Result.FALSE_CLEAN, LABELS, PATTERN)
BY_PERSON = Compared(Result.FALSE_CLEAN, LABELS, PATTERN, by_person=True)
COMPARED = st.builds(
    Compared,
    st.sampled_from([Result.AGREED, Result.FALSE_CLEAN]),
    st.frozensets(st.sampled_from(sorted(TERMS)), min_size=1),
    st.just(frozenset[str]()),
    st.booleans(),
)


def test_counting_goes_by_label_and_for_any():
    record = TrackRecord()
    record.count(Feed.CLEAN, AGREED)
    record.count(Feed.CLEAN, FALSE)
    record.count(Feed.FLAGGED, Compared(Result.FALSE_FLAG, LABELS, PATTERN))
    any_label, gore = record.any, record.of("gore")
    assert (any_label.clean_compared, any_label.clean_false, any_label.since_false) == (2, 1, 0)
    assert (gore.clean_compared, gore.clean_false, gore.since_false) == (2, 0, 2)
    assert (any_label.flag_compared, any_label.flag_agreed) == (1, 0)
    assert (gore.flag_compared, gore.flag_agreed) == (1, 1)
    assert record.of("test-pattern").clean_false == 1


def test_a_second_false_clean_ends_the_weight_within_its_hits_and_not_one_later():
    for hits, fall in ((FALSE_CLEAN_HITS - 1, Fall.SECOND), (FALSE_CLEAN_HITS, None)):
        record = TrackRecord()
        assert record.count(Feed.CLEAN, FALSE) is None
        record.any.since_false, record.any.hits_since_false = 180, hits
        assert record.count(Feed.CLEAN, FALSE) is fall
        assert record.any.hits_since_false == 0


def test_hits_that_were_counted_late_let_nobody_outrun_the_count():
    few = FALSE_CLEAN_COMPARISONS - 1
    for since_false, fall in ((few, Fall.SECOND), (few + 1, None)):
        record = TrackRecord()
        record.count(Feed.CLEAN, FALSE)
        record.any.since_false, record.any.hits_since_false = since_false, 50 * FALSE_CLEAN_HITS
        assert record.count(Feed.CLEAN, FALSE) is fall


def test_a_comparison_counts_as_a_hit():
    record = TrackRecord()
    record.count(Feed.CLEAN, FALSE)
    for _ in range(7):
        record.count(Feed.CLEAN, AGREED)
    assert (record.any.since_false, record.any.hits_since_false) == (7, 7)


def test_a_person_ends_the_weight_with_the_first_false_clean():
    assert TrackRecord().count(Feed.CLEAN, BY_PERSON) is Fall.PERSON
    record = TrackRecord()
    record.count(Feed.CLEAN, FALSE)
    assert record.count(Feed.CLEAN, BY_PERSON, FALSE) is Fall.PERSON
    assert record.any.clean_false == 1


def test_a_clean_that_a_person_makes_right_again_is_taken_back():
    record = TrackRecord()
    record.count(Feed.CLEAN, FALSE)
    right = Compared(Result.AGREED, LABELS, by_person=True)
    assert record.count(Feed.CLEAN, right, FALSE) is None
    assert (record.any.clean_compared, record.any.clean_false) == (1, 0)
    assert record.count(Feed.CLEAN, FALSE) is None


@given(st.lists(COMPARED), st.data())
def test_the_counts_are_a_sum_whatever_was_counted_before_and_in_which_order(final, data):
    before = [data.draw(st.one_of(st.none(), COMPARED)) for _ in final]
    turned, plain = TrackRecord(), TrackRecord()
    for old in before:
        if old is not None:
            turned.count(Feed.CLEAN, old)
    for old, new in zip(before, final, strict=True):
        turned.count(Feed.CLEAN, new, old)
    for new in reversed(final):
        plain.count(Feed.CLEAN, new)
    for label in {"", *TERMS}:
        one, other = turned.of(label), plain.of(label)
        assert (one.clean_compared, one.clean_false) == (other.clean_compared, other.clean_false)
        assert 0 <= one.clean_false <= one.clean_compared


# --- bounds and rates ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("compared", "rate"), [(0, 1.0), (20, 0.5), (180, 0.1), (380, 0.05), (381, 0.05), (9_999, 0.05)]
)
def test_audits_grow_rarer_with_every_comparison_down_to_the_floor(compared, rate):
    assert audit_rate(0.05, compared) == pytest.approx(rate)


def test_the_bounds_are_those_of_the_literature():
    """R. G. Newcombe, Statistics in Medicine 17, 1998, 857-872, table I, method 3."""
    for agreed, compared, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        assert list(wilson(agreed, compared)) == pytest.approx([low, high], abs=1e-4)
    assert list(wilson(0, 20)) == pytest.approx([0, 0.1611], abs=1e-4)
    assert list(wilson(0, 0)) == [0, 1]


@given(st.integers(0, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_rate_lies_within_its_bounds(counted):
    agreed, compared = counted
    low, high = wilson(agreed, compared)
    assert 0 <= low <= high <= 1
    assert not compared or (low <= agreed / compared + 1e-12 and agreed / compared <= high + 1e-12)


def test_flags_fail_by_the_upper_bound_and_never_with_too_few():
    assert not flags_fail(0, MIN_COMPARISONS - 1, 0.95)
    assert flags_fail(0, MIN_COMPARISONS, 0.95)
    agreed = next(n for n in range(MIN_COMPARISONS, 0, -1) if wilson(n, MIN_COMPARISONS)[1] < 0.95)
    assert flags_fail(agreed, MIN_COMPARISONS, 0.95)
    assert not flags_fail(agreed + 1, MIN_COMPARISONS, 0.95)
