"""How a pipeline in shadow is compared with the one that decides, and that it decides nothing."""

from dataclasses import replace

import pytest

from cache.decide import decide
from cache.feeds.publish import publish_verdict
from cache.index.near import NearIndex
from cache.judgement import Judgement, PipelineState, PipelineTerms
from cache.memory.lookup import evidence
from cache.memory.own_pipelines import load_own_pipelines
from cache.memory.record import pipeline_row, record_image, record_verdict, settle_if_changed
from cache.memory.shadow import RuleCounts, compare_shadow
from cache.rules import parse
from cache.testcard import CARD
from cache.verdict import Decision
from tests.cache.memory.test_own_pipelines import remember, shadowed, states
from tests.cache.memory.test_record_and_lookup import NOW, own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, fingerprint
from tests.cache.test_testcard import rows_in_feeds

RULES = {"gory": parse("gore"), "pattern": parse("test-pattern")}
DEFAULT = PipelineTerms({"test-pattern": 5_000, "gore": 5_000}, PipelineState.DEFAULT)
SHADOW = PipelineTerms({"test-pattern": 2_000, "gore": 5_000}, PipelineState.SHADOW)
WITHOUT = Judgement(RULES, {OURS: DEFAULT})
WITH = Judgement(RULES, {OURS: DEFAULT, THEIRS: SHADOW})


def scores(pattern, gore=0):
    return {"test-pattern": pattern, "gore": gore}


def scored(store, name, ours=None, shadow=None, **changes):
    picture = replace(fingerprint(name), **changes)

    def act(connection):
        pipeline_row(connection, DESCRIPTION)
        pipeline_row(connection, OTHERS)
        record_image(connection, picture, now=NOW)
        for pipeline, found in ((OURS, ours), (THEIRS, shadow)):
            if found is not None:
                verdict = own_verdict(found, picture, pipeline=pipeline)
                record_verdict(connection, verdict, WITH, now=NOW)

    store.write_now(act)
    return picture


def compared(store, limit=100):
    return store.read_now(compare_shadow, WITH, ours=OURS, shadow=THEIRS, limit=limit)


def test_each_rule_is_counted_by_whose_scores_it_holds(store):
    scored(store, "both", scores(9_000), scores(9_000))
    scored(store, "ours", scores(9_000), scores(10))
    scored(store, "shadow", scores(10), scores(3_000))  # over the threshold of the shadow alone
    scored(store, "neither", scores(10), scores(10))
    scored(store, "open", scores(10), {"test-pattern": None, "gore": 0})
    scored(store, "ours alone", scores(9_000))
    scored(store, "shadow alone", None, scores(9_000))
    found = compared(store)
    assert (found.pictures, found.disagreements) == (5, 2)
    assert found.rules["pattern"] == RuleCounts(1, 1, 1, 1, 1)
    assert found.rules["gory"] == RuleCounts(neither=5)


def test_pictures_of_disagreement_are_shown_with_both_scores_up_to_a_limit(store):
    pictures = [scored(store, str(n), scores(9_000, 9_000), scores(10, n)) for n in range(3)]
    shown = compared(store).shown
    assert [one.sha256 for one in shown] == sorted(picture.sha256 for picture in pictures)
    assert shown[0].rules == ("gory", "pattern")
    assert shown[0].ours == scores(9_000, 9_000)
    assert sorted(one.shadow["gore"] for one in shown) == [0, 1, 2]
    assert len(compared(store, limit=2).shown) == 2
    assert compared(store, limit=2).disagreements == 3
    assert compared(store, limit=0).shown == []


def test_the_test_card_is_left_out_of_the_comparison(store):
    scored(store, "card", scores(9_000), scores(10), sha256=CARD.sha256)
    scored(store, "rewrapped", scores(9_000), scores(10), content=CARD.content)
    assert compared(store).pictures == 0


@pytest.mark.parametrize("ours", [scores(10), scores(9_000), {"test-pattern": None, "gore": 0}])
@pytest.mark.parametrize("shadow", [scores(10), scores(9_000)])
@pytest.mark.parametrize("can_scan", [True, False])
def test_a_verdict_in_shadow_changes_no_decision_and_enters_no_feed(store, ours, shadow, can_scan):
    picture = scored(store, "picture", ours, shadow)
    twin = replace(fingerprint("twin"), pdq=picture.pdq)

    def act(connection):
        publish_verdict(connection, own_verdict(shadow, picture, pipeline=THEIRS), WITH, now=NOW)

    store.write_now(act)
    assert rows_in_feeds(store) == 0
    for seen in (picture, twin):

        def look(connection, seen=seen):
            return evidence(connection, NearIndex(), fingerprint=seen)

        found = store.read_now(look)
        matches = tuple(m for m in found.matches if m.verdict.pipeline == OURS)
        with_it = decide(found, WITH, now=NOW, can_scan=can_scan)
        without = decide(replace(found, matches=matches), WITHOUT, now=NOW, can_scan=can_scan)
        assert with_it == without


def test_a_flag_in_shadow_alone_leaves_a_picture_unknown_and_out_of_the_near_index(store):
    picture = scored(store, "picture", None, scores(9_000))
    twin = replace(fingerprint("twin"), pdq=picture.pdq)
    for seen in (picture, twin):
        found = store.read_now(lambda c, s=seen: evidence(c, NearIndex(), fingerprint=s))
        assert decide(found, WITH, now=NOW, can_scan=True).decision is Decision.UNKNOWN
    assert not found.matches


def test_codes_are_not_settled_anew_when_a_pipeline_goes_into_shadow_or_leaves_it(store):
    assert store.write_now(settle_if_changed, WITHOUT, now=NOW)
    assert not store.write_now(settle_if_changed, WITH, now=NOW)
    past = replace(SHADOW, state=PipelineState.RETIRED)
    retired = Judgement(RULES, {OURS: DEFAULT, THEIRS: past})
    assert store.write_now(settle_if_changed, retired, now=NOW)


def test_codes_follow_when_thresholds_change(store):
    """A change of strictness is a change of thresholds."""
    picture = scored(store, "picture", scores(4_000))
    twin = replace(fingerprint("twin"), pdq=picture.pdq)
    strict = Judgement(RULES, {OURS: replace(DEFAULT, thresholds={"test-pattern": 2_500})})

    def near(judgement):
        store.write_now(settle_if_changed, judgement, now=NOW)
        return store.read_now(lambda c: evidence(c, NearIndex(), fingerprint=twin)).matches

    assert not near(WITHOUT)
    assert near(strict)
    assert not near(WITHOUT)


def test_what_was_in_shadow_counts_once_scans_are_made_with_it(store):
    assert shadowed(store, THEIRS, "new", 1)
    remember(store, THEIRS, "new", 2)
    assert states(store, "new") == {THEIRS: PipelineState.DEFAULT}
    assert store.read_now(load_own_pipelines, "old")[THEIRS].state is PipelineState.RETIRED
