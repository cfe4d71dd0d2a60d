import pytest

from federation.wire.chain import Cursor, Step, after, step
from federation.wire.multibase import digest
from federation.wire.page import EpochEnd, verify_page
from tests.federation.samples import EPOCH, NOW, OTHER_EPOCH, feed_actor, signed_page


def page(**changes):
    return verify_page(signed_page(**changes), feed_actor(), NOW).page


FIRST = page()
HERE = after(FIRST)
SECOND = page(page=2, first_seq=5, previous_digest=FIRST.digest)


def test_pages_follow_each_other():
    assert step(None, FIRST) is Step.NEXT
    assert Cursor(EPOCH, 1, FIRST.digest, 5) == HERE
    assert step(HERE, SECOND) is Step.NEXT
    assert after(SECOND).next_seq == 9


@pytest.mark.parametrize(
    ("cursor", "number", "expected"),
    [
        (None, 2, Step.GAP),
        (HERE, 3, Step.GAP),
        (Cursor(EPOCH, 7, digest(b"7"), 90), 3, Step.KNOWN),
        (Cursor(OTHER_EPOCH, 1, digest(b"1"), 5), 3, Step.GAP),
    ],
)
def test_missing_and_old_pages_are_told_apart(cursor, number, expected):
    later = page(page=number, first_seq=20, previous_digest=digest(b"x"))
    assert step(cursor, later) is expected


def test_the_same_page_again_is_known():
    assert step(HERE, FIRST) is Step.KNOWN


def test_another_page_of_the_same_number_is_a_second_story():
    other = page(published=NOW - 1)
    assert other.digest != FIRST.digest
    assert step(HERE, other) is Step.FORKED


@pytest.mark.parametrize(
    "changes", [{"previous_digest": digest(b"other")}, {"first_seq": 6}, {"first_seq": 4}]
)
def test_a_page_that_does_not_chain_is_broken(changes):
    known = {"page": 2, "first_seq": 5, "previous_digest": FIRST.digest}
    assert step(HERE, page(**(known | changes))) is Step.BROKEN


def test_a_new_epoch_names_the_one_before():
    cursor = Cursor(OTHER_EPOCH, 3, digest(b"3"), 40)
    assert step(cursor, page(previous_epoch=EpochEnd(OTHER_EPOCH, 2))) is Step.NEW_EPOCH
    assert step(cursor, page(previous_epoch=EpochEnd("e" * 32, 2))) is Step.BROKEN
    assert step(cursor, FIRST) is Step.BROKEN
