"""Which feed a verdict enters, and that the feeds say each thing once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from cache.feeds.publish import (
    feed_for,
    is_published,
    publish_finding,
    publish_verdict,
    published_in,
)
from cache.judgement import PipelineState, PipelineTerms
from cache.memory.record import NewFinding, pipeline_row, record_finding, record_verdict
from cache.rules import parse
from cache.storage.feed_tables import feed_rows
from cache.verdict import SELF, Basis, Feed, Finding, Verdict
from tests.cache.memory.test_record_and_lookup import (
    BAD,
    GOOD,
    JUDGEMENT,
    NOW,
    PICTURE,
    find,
    judge,
    own_verdict,
)
from tests.cache.prints import OTHERS, OURS, THEIRS, fingerprint

DAY = 86_400
TERMS = PipelineTerms({"a": 5_000, "b": 5_000, "low": 600}, PipelineState.DEFAULT)


def _feed(scores, rule="a", *, seen=1, total=1):
    verdict = Verdict(
        SELF,
        b"x" * 32,
        Feed.OWN,
        Basis.MODEL,
        0,
        1,
        scores=scores,
        frames_seen=seen,
        frames_total=total,
    )
    return feed_for(verdict, {"rule": parse(rule)}, TERMS)


@pytest.mark.parametrize(
    ("scores", "rule", "feed"),
    [
        ({"a": 5_000}, "a", Feed.FLAGGED),
        ({"a": 4_999}, "a", None),
        ({"a": 4_000}, "a", None),
        ({"a": 3_999}, "a", Feed.CLEAN),
        ({"low": 600}, "low", Feed.FLAGGED),
        ({"low": 300}, "low", None),
        ({"low": 299}, "low", Feed.CLEAN),
        ({"a": 4_500, "b": 4_500}, "a and b", None),
        ({"a": 4_500, "b": 3_999}, "a and b", Feed.CLEAN),
        ({"a": 4_500, "b": 0}, "a and not b", None),
        ({"a": 9_000, "b": 4_999}, "a and not b", Feed.FLAGGED),
        ({"a": None}, "a", None),
        ({}, "a", None),
        ({"a": None, "b": 0}, "a and b", Feed.CLEAN),
        ({"a": 0, "unlisted": 0}, "a or unlisted", None),
    ],
)
def test_the_feed_is_settled_by_our_thresholds_and_a_margin(scores, rule, feed):
    assert _feed(scores, rule) is feed


def test_a_part_seen_animation_is_never_published_as_clean():
    assert _feed({"a": 0}, seen=8, total=9) is None
    assert _feed({"a": 0}, seen=9, total=9) is Feed.CLEAN
    assert _feed({"a": 9_000}, seen=1, total=9) is Feed.FLAGGED


def test_without_rules_nothing_is_published():
    verdict = own_verdict(GOOD)
    assert feed_for(verdict, {}, TERMS) is None


@given(
    scores=st.fixed_dictionaries({"a": st.integers(0, 10_000), "b": st.integers(0, 10_000)}),
    rule=st.sampled_from(["a", "a or b", "a and b", "a and not b", "not a and not b"]),
    raised=st.sets(st.sampled_from(["a", "b"])),
)
def test_what_is_published_clean_breaks_no_rule_however_its_scores_are_raised(scores, rule, raised):
    if _feed(scores, rule) is Feed.CLEAN:
        higher = {name: score + 1_000 * (name in raised) for name, score in scores.items()}
        assert _feed(higher, rule) is not Feed.FLAGGED


# --- the log ---------------------------------------------------------------------------------
def publish(store, scores, picture=PICTURE, **changes):
    """Judge and publish in one transaction, as `scan` does."""

    def both(connection):
        judge(connection, scores, picture, **changes)
        verdict = own_verdict(scores, picture, **changes)
        publish_verdict(connection, verdict, JUDGEMENT, now=verdict.issued)

    store.write_now(both)


def decide_by_hand(store, finding, picture=PICTURE, now=NOW):
    def both(connection):
        find(connection, finding, picture, now=now)
        publish_finding(connection, picture.sha256, "pattern", JUDGEMENT, now=now)

    store.write_now(both)


def log(store, sha256=PICTURE.sha256):
    """Each row as (feed, what), in order: + attests, - retracts, and who says it."""
    rows = store.read_now(
        lambda c: c.execute(
            select(feed_rows).where(feed_rows.c.sha256 == sha256).order_by(feed_rows.c.id)
        ).all()
    )
    sign = {0: "+", 1: "-"}
    return [f"{Feed(r.feed).name.lower()} {sign[r.op]}{Basis(r.basis).name.lower()}" for r in rows]


def live(store):
    rows = select(feed_rows.c.feed).where(feed_rows.c.op == 0, feed_rows.c.live)
    return [Feed(feed) for feed in store.read_now(lambda c: c.execute(rows).scalars().all())]


def test_a_clean_verdict_is_attested_once_whatever_is_rescanned(store):
    for day in range(3):
        publish(store, GOOD, issued=NOW + day)
    assert log(store) == ["clean +model"]


def test_issued_is_rounded_down_to_the_day_in_the_clean_feed_alone(store):
    publish(store, GOOD, issued=NOW)
    publish(store, BAD, fingerprint("bad"), issued=NOW)
    rows = store.read_now(lambda c: c.execute(select(feed_rows).order_by(feed_rows.c.id)).all())
    assert [row.issued for row in rows] == [NOW - NOW % DAY, NOW]
    assert NOW % DAY
    assert [row.pdq is None for row in rows] == [True, False]
    assert [row.content is None for row in rows] == [False, False]


def test_an_expired_row_is_attested_anew(store):
    publish(store, GOOD, issued=NOW)
    publish(store, GOOD, issued=NOW + 999)
    assert len(log(store)) == 1
    publish(store, GOOD, issued=NOW + 1_000)
    assert log(store) == ["clean +model", "clean +model"]
    assert live(store) == [Feed.CLEAN]


def test_changed_scores_replace_the_row(store):
    publish(store, GOOD, issued=NOW)
    publish(store, {"test-pattern": 11}, issued=NOW + 1)
    assert log(store) == ["clean +model", "clean +model"]
    assert live(store) == [Feed.CLEAN]


def test_a_row_issued_earlier_than_the_one_it_replaces_takes_that_back(store):
    """The clock went back: readers count the row issued later, and would keep the old one."""
    publish(store, BAD, issued=NOW)
    publish(store, {"test-pattern": 9_001}, issued=NOW - 20)
    publish(store, {"test-pattern": 9_002}, issued=NOW - 20)
    attests, retracts = "flagged +model", "flagged -model"
    assert log(store) == [attests, retracts, attests, attests]
    assert live(store) == [Feed.FLAGGED]


def test_a_change_retracts_in_the_old_feed_before_it_attests_in_the_other(store):
    publish(store, GOOD, issued=NOW)
    publish(store, BAD, issued=NOW + 1)
    publish(store, GOOD, issued=NOW + 2)
    assert log(store) == [
        "clean +model", "clean -model", "flagged +model", "flagged -model", "clean +model",
    ]  # fmt: skip
    targets = store.read_now(
        lambda c: c.execute(
            select(feed_rows.c.target_id).where(feed_rows.c.op == 1).order_by(feed_rows.c.id)
        ).scalars().all()
    )  # fmt: skip
    assert targets == [1, 3]


def test_one_can_ask_in_which_feed_a_picture_stands(store):
    assert store.read_now(published_in, PICTURE.sha256) is None
    publish(store, GOOD, issued=NOW)
    assert store.read_now(published_in, PICTURE.sha256) is Feed.CLEAN
    publish(store, BAD, issued=NOW + 1)
    assert store.read_now(published_in, PICTURE.sha256) is Feed.FLAGGED


def test_between_the_feeds_the_old_row_is_retracted_and_nothing_said(store):
    publish(store, GOOD, issued=NOW)
    publish(store, {"test-pattern": 4_500}, issued=NOW + 1)
    assert log(store) == ["clean +model", "clean -model"]
    assert live(store) == []


def test_upheld_enters_the_flagged_feed_and_takes_the_clean_row_away(store):
    publish(store, GOOD)
    for _ in range(2):
        decide_by_hand(store, "upheld")
    assert log(store) == ["clean +model", "clean -model", "flagged +human"]
    publish(store, GOOD, issued=NOW + 1)
    assert live(store) == [Feed.FLAGGED]


def test_dismissed_retracts_the_flagged_rows_and_publishes_nothing(store):
    publish(store, BAD)
    decide_by_hand(store, "upheld")
    assert len(live(store)) == 2
    for _ in range(2):
        decide_by_hand(store, "dismissed", now=NOW + 1)
    assert log(store) == ["flagged +model", "flagged +human", "flagged -model", "flagged -human"]
    publish(store, BAD, issued=NOW + 2)
    assert live(store) == []


def test_a_dismissal_holds_for_published_pictures_of_equal_content(store):
    publish(store, BAD)
    twin = fingerprint("twin", content=PICTURE.content)
    publish(store, BAD, twin)
    decide_by_hand(store, "dismissed", twin)
    assert live(store) == []


def test_an_escalated_picture_publishes_and_retracts_nothing(store):
    publish(store, BAD)
    decide_by_hand(store, "escalated")
    publish(store, GOOD, issued=NOW + 1)
    assert log(store) == ["flagged +model"]


def test_a_crash_between_storing_and_publishing_cannot_be_and_a_rerun_doubles_nothing(store):
    def crash(connection):
        judge(connection, BAD)
        publish_verdict(connection, own_verdict(BAD), JUDGEMENT, now=NOW)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.write_now(crash)
    assert log(store) == []
    for _ in range(2):
        publish(store, BAD)
    assert log(store) == ["flagged +model"]


def test_a_pipeline_in_shadow_publishes_nothing(store):
    trial = replace(
        JUDGEMENT,
        pipelines={OURS: replace(JUDGEMENT.pipelines[OURS], state=PipelineState.SHADOW)},
    )
    store.write_now(judge, BAD)
    store.write_now(publish_verdict, own_verdict(BAD), trial, now=NOW)
    assert log(store) == []


def test_an_expired_verdict_is_not_published_however_often_it_is_tried(store):
    store.write_now(judge, GOOD)
    for _ in range(2):
        store.write_now(publish_verdict, own_verdict(GOOD), JUDGEMENT, now=NOW + 1_000)
    assert log(store) == []


# --- two pipelines of ours -------------------------------------------------------------------
TWO = replace(
    JUDGEMENT,
    pipelines={**JUDGEMENT.pipelines, THEIRS: replace(TERMS, thresholds={"test-pattern": 5_000})},
)


def publish_by_another(store, scores, judgement=TWO, now=NOW):
    def both(connection):
        pipeline_row(connection, OTHERS)
        verdict = own_verdict(scores, pipeline=THEIRS, issued=now)
        record_verdict(connection, verdict, judgement, now=now)
        publish_verdict(connection, verdict, judgement, now=now)

    store.write_now(both)


def test_what_a_new_pipeline_flags_leaves_the_clean_feed_first(store):
    """A follower must not reuse as clean what we flag, whichever pipeline said so before."""
    publish(store, GOOD)
    publish_by_another(store, BAD)
    assert log(store) == ["clean +model", "clean -model", "flagged +model"]


def test_what_another_current_verdict_flags_is_not_published_as_clean(store):
    publish(store, BAD)
    publish_by_another(store, GOOD)
    assert log(store) == ["flagged +model"]
    store.write_now(publish_verdict, own_verdict(GOOD, pipeline=THEIRS), TWO, now=NOW)
    assert live(store) == [Feed.FLAGGED]


def test_what_only_a_retired_pipeline_flagged_leaves_the_flagged_feed_for_the_clean_one(store):
    publish(store, BAD)
    retired = replace(JUDGEMENT.pipelines[OURS], state=PipelineState.RETIRED)
    publish_by_another(store, GOOD, replace(TWO, pipelines={**TWO.pipelines, OURS: retired}))
    assert log(store) == ["flagged +model", "flagged -model", "clean +model"]


# --- what readers make of it -----------------------------------------------------------------
def standing(store):
    """What a reader counts that keeps every row until it is retracted or expires."""
    rows = store.read_now(lambda c: c.execute(select(feed_rows)).all())
    freed = {row.target_id for row in rows if row.op == 1}
    return [Feed(row.feed) for row in rows if row.op == 0 and row.id not in freed]


def test_a_replaced_row_is_retracted_with_its_successor(store):
    """A retraction frees its row only: the replaced one would come back to life."""
    publish(store, BAD)
    publish(store, {"test-pattern": 9_001}, issued=NOW + 1)
    decide_by_hand(store, "dismissed", now=NOW + 2)
    assert standing(store) == []
    assert len(log(store)) == 4
    decide_by_hand(store, "dismissed", now=NOW + 3)
    assert len(log(store)) == 4


def test_what_an_embargo_held_back_follows_when_it_is_lifted(store):
    def find_and_publish(rule, finding, now):
        def both(connection):
            new = NewFinding(PICTURE.sha256, rule, Finding(finding), "seen", "an admin")
            record_finding(connection, new, JUDGEMENT, now=now)
            publish_finding(connection, PICTURE.sha256, rule, JUDGEMENT, now=now)

        store.write_now(both)

    store.write_now(judge, GOOD)
    find_and_publish("gore", "escalated", NOW)
    find_and_publish("pattern", "upheld", NOW + 1)
    assert log(store) == []
    find_and_publish("gore", "dismissed", NOW + 2)
    assert log(store) == ["flagged +human"]


def test_only_pictures_decided_one_by_one_are_published(store):
    twin = fingerprint("twin", content=PICTURE.content)
    store.write_now(judge, BAD)
    store.write_now(judge, BAD, twin)
    decide_by_hand(store, "upheld", twin)
    assert log(store) == []
    assert log(store, twin.sha256) == ["flagged +human"]


def test_one_can_ask_whether_publishing_would_change_anything(store):
    def published(verdict, now=NOW):
        return store.read_now(is_published, verdict, JUDGEMENT, now=now)

    store.write_now(judge, GOOD)
    assert not published(own_verdict(GOOD))
    publish(store, GOOD)
    assert published(own_verdict(GOOD))
    assert not published(own_verdict(BAD))
    renewed = own_verdict(GOOD, issued=NOW + 999)
    assert published(renewed, NOW + 999)
    assert not published(renewed, NOW + 1_000)
