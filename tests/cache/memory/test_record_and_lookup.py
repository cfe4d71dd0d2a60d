"""What is recorded is found again: exactly, by content, near; on both databases."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event

from cache.decide import decide
from cache.errors import UnknownPipeline
from cache.index.near import NearIndex
from cache.judgement import Judgement, PipelineState, PipelineTerms
from cache.memory.lookup import evidence, own_fingerprint
from cache.memory.record import (
    NewFinding,
    image_row,
    pipeline_id,
    pipeline_row,
    record_finding,
    record_image,
    record_verdict,
    settle_if_changed,
    settle_own_codes,
)
from cache.outcome import Reason
from cache.rules import parse
from cache.verdict import SELF, Basis, Decision, Feed, Finding, MatchKind, Verdict
from tests.cache.prints import DESCRIPTION, OURS, fingerprint, flipped

NOW = 1_800_000_000
RULES = {"pattern": parse("test-pattern")}
JUDGEMENT = Judgement(RULES, {OURS: PipelineTerms({"test-pattern": 5_000}, PipelineState.DEFAULT)})
BAD, GOOD = {"test-pattern": 9_000}, {"test-pattern": 10}
PICTURE = fingerprint("picture")
VARIANTS = (PICTURE.pdq, *(fingerprint(f"turned {i}").pdq for i in range(7)))


def own_verdict(scores, picture=PICTURE, *, issued=NOW, **changes):
    values = {
        "issuer": SELF,
        "sha256": picture.sha256,
        "feed": Feed.OWN,
        "basis": Basis.MODEL,
        "issued": issued,
        "expires": issued + 1_000,
        "content": picture.content,
        "pdq": picture.pdq,
        "pdq_quality": picture.pdq_quality,
        "pipeline": OURS,
        "scores": scores,
    }
    return Verdict(**(values | changes))


def judge(connection, scores, picture=PICTURE, **changes):
    pipeline_row(connection, DESCRIPTION)
    record_image(connection, picture, now=NOW, variants=VARIANTS if picture is PICTURE else ())
    record_verdict(connection, own_verdict(scores, picture, **changes), JUDGEMENT, now=NOW)


def find(connection, finding, picture=PICTURE, now=NOW):
    new = NewFinding(picture.sha256, "pattern", Finding(finding), "seen", "an admin")
    record_finding(connection, new, JUDGEMENT, now=now)


def look(store, picture=PICTURE, variants=()):
    return store.read_now(evidence, NearIndex(), fingerprint=picture, variants=variants)


def decided(store, picture, now=NOW):
    return decide(look(store, picture), JUDGEMENT, now=now, can_scan=True)


def test_a_verdict_comes_back_as_it_was_stored(store):
    part = own_verdict({"test-pattern": None, "shape": 4}, frames_seen=2, frames_total=5)
    store.write_now(pipeline_row, DESCRIPTION)
    store.write_now(record_image, PICTURE, now=NOW)
    store.write_now(record_verdict, part, JUDGEMENT, now=NOW)
    (match,) = look(store).matches
    assert match.kind is MatchKind.EXACT
    assert match.verdict == part


def test_what_was_never_seen_has_no_evidence(store):
    assert look(store).matches == look(store).findings == ()


def test_equal_content_is_found_and_absent_content_equals_nothing(store):
    store.write_now(judge, GOOD)
    rewrapped = fingerprint("rewrapped", content=PICTURE.content)
    assert [m.kind for m in look(store, rewrapped).matches] == [MatchKind.CONTENT]
    bare = fingerprint("bare", content=None)
    store.write_now(judge, GOOD, bare)
    assert look(store, fingerprint("other bare", content=None)).matches == ()


def test_our_own_fingerprint_is_found_with_its_eight_codes(store):
    store.write_now(record_image, PICTURE, now=NOW, variants=VARIANTS)
    found = store.read_now(own_fingerprint, PICTURE.sha256)
    assert (found.content, found.pdq, found.phash) == (PICTURE.content, PICTURE.pdq, PICTURE.phash)
    assert found.pdq_quality == 90
    assert found.variants == VARIANTS


def test_a_picture_known_by_its_sha256_alone_has_no_fingerprint_of_ours(store):
    store.write_now(image_row, PICTURE.sha256, now=NOW)
    assert store.read_now(own_fingerprint, PICTURE.sha256) is None
    store.write_now(record_image, PICTURE, now=NOW)
    assert store.read_now(own_fingerprint, PICTURE.sha256) is not None


def test_recording_twice_changes_nothing(store):
    for _ in range(2):
        store.write_now(judge, BAD)
    assert len(look(store).matches) == 1
    assert len(store.read_now(lambda c: c.exec_driver_sql("SELECT id FROM codes").all())) == 1


def test_a_later_verdict_takes_the_place_of_an_earlier_one_and_never_the_other_way(store):
    store.write_now(judge, BAD, issued=NOW)
    store.write_now(judge, GOOD, issued=NOW + 5)
    store.write_now(judge, BAD, issued=NOW + 1)
    (match,) = look(store).matches
    assert match.verdict.scores == GOOD


def test_a_verdict_of_a_pipeline_never_described_is_refused(store):
    with pytest.raises(UnknownPipeline, match="describe it first"):
        store.write_now(record_verdict, own_verdict(GOOD), JUDGEMENT, now=NOW)
    assert look(store).matches == ()


def test_a_pipelines_id_is_the_hash_of_its_canonical_description():
    shuffled = dict(reversed(DESCRIPTION.items()))
    assert pipeline_id(shuffled) == pipeline_id(DESCRIPTION) == OURS
    assert pipeline_id(DESCRIPTION | {"precision": "fp16"}) != OURS


def test_a_picture_near_a_flagged_one_is_found(store):
    store.write_now(judge, BAD)
    copy = fingerprint("copy", pdq=flipped(PICTURE.pdq, 20))
    (match,) = look(store, copy).matches
    assert (match.kind, match.distance) == (MatchKind.NEAR, 20)
    outcome = decided(store, copy)
    assert (outcome.decision, outcome.reason) == (Decision.REVIEW, Reason.NEAR_OWN_FLAG)


def test_a_turned_copy_is_found_by_its_variants(store):
    store.write_now(judge, BAD)
    turned = fingerprint("turned copy")
    codes = (turned.pdq, flipped(PICTURE.pdq, 3), *VARIANTS[2:])
    assert [m.distance for m in look(store, turned, codes).matches] == [3]


def test_a_picture_near_a_clean_one_is_not_found(store):
    store.write_now(judge, GOOD)
    assert look(store, fingerprint("copy", pdq=PICTURE.pdq)).matches == ()


def test_a_code_leaves_when_the_picture_is_judged_clean_later(store):
    store.write_now(judge, BAD)
    store.write_now(judge, GOOD, issued=NOW + 1)
    assert look(store, fingerprint("copy", pdq=PICTURE.pdq)).matches == ()


def test_the_exact_match_is_not_told_a_second_time_as_a_near_one(store):
    store.write_now(judge, BAD)
    rewrapped = replace(PICTURE, sha256=b"r" * 32)
    assert [m.kind for m in look(store).matches] == [MatchKind.EXACT]
    assert [m.kind for m in look(store, rewrapped).matches] == [MatchKind.CONTENT]


def test_a_finding_holds_for_its_picture_its_equals_and_as_near_evidence(store):
    store.write_now(judge, GOOD)
    store.write_now(find, "upheld")
    assert decided(store, PICTURE).reason is Reason.PERSON_UPHELD
    rewrapped = fingerprint("rewrapped", content=PICTURE.content)
    assert decided(store, rewrapped).reason is Reason.PERSON_UPHELD
    copy = fingerprint("copy", pdq=flipped(PICTURE.pdq, 9))
    assert decided(store, copy).reason is Reason.NEAR_UPHELD


def test_a_dismissal_withdraws_the_code_also_of_equal_pictures(store):
    rewrapped = fingerprint("rewrapped", content=PICTURE.content)
    store.write_now(judge, BAD)
    store.write_now(judge, BAD, rewrapped)
    store.write_now(find, "dismissed", rewrapped)
    assert decided(store, PICTURE).reason is Reason.OWN_CLEAR
    for copied in (PICTURE, rewrapped):
        assert look(store, fingerprint("copy", pdq=copied.pdq)).matches == ()


def test_a_finding_outlives_a_rescan_and_the_newest_one_counts(store):
    store.write_now(judge, BAD)
    store.write_now(find, "dismissed")
    store.write_now(judge, BAD, issued=NOW + 1)
    copy = fingerprint("copy", pdq=PICTURE.pdq)
    assert look(store, copy).matches == ()
    store.write_now(find, "escalated", now=NOW + 2)
    assert decided(store, PICTURE).reason is Reason.PERSON_ESCALATED
    assert [f.finding for f in look(store, copy).findings] == [Finding.ESCALATED]


def test_codes_follow_a_threshold_that_was_lowered(store):
    store.write_now(judge, GOOD)
    lower = {OURS: PipelineTerms({"test-pattern": 10}, PipelineState.DEFAULT)}
    store.write_now(settle_own_codes, replace(JUDGEMENT, pipelines=lower), now=NOW)
    assert look(store, fingerprint("copy", pdq=PICTURE.pdq)).matches
    store.write_now(settle_own_codes, JUDGEMENT, now=NOW)
    assert look(store, fingerprint("copy", pdq=PICTURE.pdq)).matches == ()


OTHER_DESCRIPTIONS = {name: {**DESCRIPTION, "weights": name} for name in ("older", "trial")}
OLDER, TRIAL = map(pipeline_id, OTHER_DESCRIPTIONS.values())
SEVERAL = Judgement(
    {**RULES, "shape": parse("shape")},
    {
        OURS: PipelineTerms({"test-pattern": 5_000, "shape": 5_000}, PipelineState.DEFAULT),
        OLDER: PipelineTerms({"test-pattern": 5_000, "shape": 5_000}, PipelineState.RETIRED),
        TRIAL: PipelineTerms({"test-pattern": 1, "shape": 1}, PipelineState.SHADOW),
    },
)


def judge_film(connection, *verdicts):
    """Store verdicts, each (scores, the frame it names, its changes), newest last."""
    for description in (DESCRIPTION, *OTHER_DESCRIPTIONS.values()):
        pipeline_row(connection, description)
    record_image(connection, PICTURE, now=NOW)
    for number, (scores, frame, changes) in enumerate(verdicts):
        values = {"pdq": frame.pdq, "issued": NOW + number, "expires": NOW + 99_999} | changes
        record_verdict(connection, own_verdict(scores, **values), SEVERAL, now=NOW)


def known_by(store):
    """Tell by which of its frames a film is known."""
    frames = {"first": PICTURE, "later": LATER, "other": OTHER}
    return [n for n, f in frames.items() if look(store, fingerprint("copy", pdq=f.pdq)).matches]


LATER, OTHER = fingerprint("a later frame"), fingerprint("another frame")


@pytest.mark.parametrize(
    ("verdicts", "names"),
    [
        ([(BAD, LATER, {})], "later"),
        ([(BAD, LATER, {"pipeline": OLDER}), (BAD, OTHER, {})], "other"),
        ([(BAD, LATER, {"pipeline": OLDER}), (BAD, PICTURE, {})], "first"),
        ([(BAD, LATER, {"pipeline": OLDER}), (GOOD, OTHER, {})], "later"),
        ([(BAD, PICTURE, {"pipeline": OLDER}), (GOOD, OTHER, {})], "first"),
        ([(BAD, LATER, {}), (BAD, OTHER, {"pipeline": TRIAL})], "later"),
        ([(BAD, PICTURE, {}), (BAD, OTHER, {"pipeline": TRIAL})], "first"),
        ([(BAD, LATER, {"expires": NOW + 1})], "later"),
        ([(BAD, LATER, {}), (BAD, PICTURE, {})], "first"),
    ],
)
def test_a_film_is_known_by_the_frame_that_the_newest_of_its_flags_names(store, verdicts, names):
    store.write_now(judge_film, *verdicts)
    assert known_by(store) == [names]


def test_a_flag_that_a_person_dismissed_names_no_frame(store):
    newer: tuple[object, ...] = ({"test-pattern": 9_000, "shape": 0}, OTHER, {})
    store.write_now(judge_film, ({"shape": 9_000}, LATER, {"pipeline": OLDER}), newer)
    assert known_by(store) == ["other"]
    dismissed = NewFinding(PICTURE.sha256, "pattern", Finding.DISMISSED, "seen", "an admin")
    store.write_now(record_finding, dismissed, SEVERAL, now=NOW)
    assert known_by(store) == ["later"]


def test_what_a_person_upheld_stays_known_by_its_frame_when_thresholds_rise(store):
    store.write_now(judge_film, (BAD, LATER, {}))
    upheld = NewFinding(PICTURE.sha256, "pattern", Finding.UPHELD, "seen", "an admin")
    store.write_now(record_finding, upheld, SEVERAL, now=NOW)
    risen = {OURS: PipelineTerms({"test-pattern": 9_500}, PipelineState.DEFAULT)}
    store.write_now(settle_own_codes, replace(SEVERAL, pipelines=risen), now=NOW)
    copy = look(store, fingerprint("copy", pdq=LATER.pdq))
    assert [one.kind for one in copy.findings] == [MatchKind.NEAR]


@pytest.mark.parametrize(("seen", "asked_again"), [(8, True), (60, False)])
def test_a_film_left_at_its_first_bad_frame_is_scanned_again_when_it_is_flagged_no_more(
    store, seen, asked_again
):
    store.write_now(judge, BAD, frames_seen=seen, frames_total=60)
    terms = PipelineTerms({"test-pattern": 9_500}, PipelineState.DEFAULT)
    risen = replace(JUDGEMENT, pipelines={OURS: terms})
    for judgement in (JUDGEMENT, risen):
        store.write_now(settle_if_changed, judgement, now=NOW)
    outcome = decide(look(store), risen, now=NOW, can_scan=True)
    assert outcome.decision is (Decision.UNKNOWN if asked_again else Decision.CLEAN)
    assert decide(look(store), JUDGEMENT, now=NOW, can_scan=True).decision is not Decision.CLEAN


def test_codes_are_settled_once_for_each_change_of_rules_or_thresholds(store):
    store.write_now(judge, GOOD)
    lower = {OURS: PipelineTerms({"test-pattern": 10}, PipelineState.DEFAULT)}
    lowered = replace(JUDGEMENT, pipelines=lower)
    assert store.write_now(settle_if_changed, JUDGEMENT, now=NOW)
    assert not store.write_now(settle_if_changed, JUDGEMENT, now=NOW)
    assert store.write_now(settle_if_changed, lowered, now=NOW)
    assert look(store, fingerprint("copy", pdq=PICTURE.pdq)).matches
    other_rules = replace(JUDGEMENT, rules={"pattern": parse("not test-pattern")})
    assert store.write_now(settle_if_changed, other_rules, now=NOW)


def test_looking_up_a_known_picture_runs_few_statements(store):
    """The hot path: one for the fingerprint, one for verdicts, one for findings."""
    store.write_now(judge, GOOD)
    seen: list[str] = []

    def again(connection):
        known = own_fingerprint(connection, PICTURE.sha256)
        assert known is not None
        return evidence(connection, None, fingerprint=known)

    with _listening(store, seen):
        assert store.read_now(again).matches
    assert len([text for text in seen if text.startswith("SELECT")]) == 3


@contextmanager
def _listening(store, seen):
    """Note every statement; on SQLite the hot path runs past SQLAlchemy."""
    if store.engine.dialect.name == "sqlite":
        raw = store.read_now(lambda c: c.connection.driver_connection)
        raw.set_trace_callback(seen.append)
        yield
        raw.set_trace_callback(None)
        return

    def note(_connection, _cursor, statement, *_rest):
        seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield
    event.remove(store.engine, "before_cursor_execute", note)
