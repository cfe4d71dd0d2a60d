"""What the demo counts as broken promises: it must be able to fail."""

from pathlib import Path

import pytest

from fediverdict.demo.pictures import DemoPicture, Group, Question
from fediverdict.demo.result import as_json, problems
from fediverdict.demo.run import Asked, Demo


def asked(group, decision, *, is_pattern=False, scanned=False, original=None):
    picture = DemoPicture("x.png", b"", is_pattern=is_pattern)
    answer = {
        "decision": decision,
        "scanned": scanned,
        "match": {"kind": "exact"},
        "sources": [],
        "elapsed_ms": 1.0,
    }
    return Asked(Question(group, picture, original), answer)


def demo_of(*asked_for, in_clean_feed=("photo",)):
    demo = Demo(Path(), print)
    demo.in_clean_feed = set(in_clean_feed)
    demo.asked = list(asked_for)
    return demo


def test_a_test_pattern_that_is_answered_clean_is_counted_and_told():
    demo = demo_of(asked(Group.NEW, "clean", is_pattern=True))
    assert as_json(demo)["wrong_clean"] == 1
    assert "a test pattern was answered clean" in problems(demo)[0]


@pytest.mark.parametrize("group", [Group.SAME, Group.AGAIN, Group.REWRAP])
@pytest.mark.parametrize(("decision", "scanned"), [("clean", True), ("unknown", False)])
def test_a_clean_picture_that_was_not_reused_is_told(group, decision, scanned):
    demo = demo_of(asked(group, decision, scanned=scanned, original="photo"))
    assert "was not reused" in problems(demo)[0]


def test_an_empty_clean_feed_and_a_broken_file_that_was_judged_are_told():
    assert "clean feed is empty" in problems(demo_of(in_clean_feed=()))[0]
    assert "not undecodable" in problems(demo_of(asked(Group.BROKEN, "clean")))[0]


def test_a_demo_that_kept_its_promises_has_no_problem():
    good = asked(Group.SAME, "clean", original="photo")
    assert problems(demo_of(good, asked(Group.BROKEN, "undecodable"))) == []
