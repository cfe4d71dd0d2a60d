"""Cases under hostile peers, wrong clocks and admins who do things in an odd order."""

from dataclasses import replace

import pytest

from cache.cases.case_grounding import MAX_GROUNDS, MAX_LAPSED
from cache.cases.cases import CaseState
from cache.memory.lists import Entry, drop_older, ensure_list, store_entries
from cache.storage.case_tables import arrivals, case_grounds, cases
from cache.storage.feed_tables import feed_rows
from cache.storage.tables import findings, images
from cache.trust.panic import panic
from cache.trust.trust import set_trust
from cache.verdict import Decision, Finding
from tests.fediverdict.test_judge import GREEN, png
from tests.fediverdict.test_reviewing import (
    DAY,
    NOW,
    RULE,
    TRUSTED,
    A,
    B,
    Instance,
    _recompressed,
    flagged_by_both,
    reused_clean,
    show,
)


@pytest.fixture
async def here(store, tmp_path):
    made = Instance(store, tmp_path)
    yield made
    made.judge.close()


def listed(here, sha256, *, flag=100, name="known"):
    """Import a hash list that names a picture by its SHA-256 alone; return the list's row id."""
    row_id = here.store.write_now(ensure_list, name, flag=flag, clean=0, now=here.now)
    here.store.write_now(store_entries, row_id, [Entry(sha256)], RULE, now=here.now)
    return row_id


async def test_a_list_that_is_dropped_returns_what_it_carried(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    here.flags(A, sha256)
    row_id = listed(here, sha256)
    await here.review()
    assert here.case().state == CaseState.OPEN
    here.store.write_now(drop_older, row_id, stored_before=NOW + DAY)
    await here.review()
    assert here.case().state == CaseState.REOPENED
    assert "the word of list:known counts no more" in here.case().reason


async def test_a_list_that_is_given_weight_later_opens_cases_for_what_it_names(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    here.flags(A, sha256)
    listed(here, sha256, flag=0)
    await here.review()
    assert here.count(cases) == 0
    here.store.write_now(set_trust, "list:known", TRUSTED)
    await here.review()
    assert here.case().state == CaseState.OPEN


async def near_pair(here):
    first, _ = await reused_clean(here, png(GREEN))
    other, _ = await reused_clean(here, _recompressed(png(GREEN), 70))
    for origin in (A, B):
        here.flags(origin, b"\x07" * 32, like=first)
    await here.review()
    assert here.count(cases) == 1
    show(here)
    return first, other


async def test_a_case_under_embargo_publishes_nothing_of_its_other_pictures(here):
    first, other = await near_pair(here)
    here.decide(1, Finding.ESCALATED, first, shared=frozenset({"s"}))
    assert here.case().embargo
    here.decide(1, Finding.UPHELD, other, shared=frozenset({"s"}))
    assert here.count(feed_rows) == 0


async def test_a_case_under_embargo_retracts_nothing_of_its_other_pictures(here):
    first, other = await near_pair(here)
    here.decide(1, Finding.UPHELD, other, shared=frozenset({"s"}))
    before = here.rows(feed_rows)
    assert len(before) == 1
    here.decide(1, Finding.ESCALATED, first, shared=frozenset({"s"}))
    here.decide(1, Finding.DISMISSED, other, shared=frozenset({"s"}))
    assert here.rows(feed_rows) == before
    here.decide(1, Finding.UPHELD, first)
    assert here.count(feed_rows, feed_rows.c.op == 0, feed_rows.c.live) == 0


async def test_a_finding_after_the_clock_was_set_back_counts_as_the_newest(here):
    sha256, _ = await flagged_by_both(here)
    here.now = NOW + 400 * DAY
    here.decide(1, Finding.DISMISSED)
    here.now = NOW
    here.decide(1, Finding.UPHELD)
    look = await here.judge.look_again(sha256)
    assert look.outcome.decision is Decision.FLAGGED
    here.decide(1, Finding.DISMISSED)
    look = await here.judge.look_again(sha256)
    assert look.outcome.decision is not Decision.FLAGGED
    assert [row.finding for row in here.rows(findings)] == ["dismissed", "upheld", "dismissed"]


def crowds(here, sha256):
    """Let A claim the content of a picture for as many others as a case keeps grounds."""
    content = here.row(images, images.c.sha256 == sha256).content
    for number in range(MAX_GROUNDS):
        here.flags(A, bytes([8, number]) + bytes(30), content=content)


async def test_a_peer_that_crowds_the_grounds_hides_nobody_who_decided_with_it(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    crowds(here, sha256)
    place = here.flags(B, sha256)
    await here.review()
    assert here.count(case_grounds) == MAX_GROUNDS
    here.retracts(B, place)
    await here.review()
    assert here.case().state == CaseState.REOPENED
    assert f"the word of {B} counts no more" in here.case().reason


async def test_grounds_that_came_first_make_room_for_those_that_decide(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    near = here.flags(B, b"\x06" * 32, like=sha256)
    crowds(here, sha256)
    await here.review()
    place = here.flags(B, sha256)
    here.retracts(B, near)
    await here.review()
    standing = case_grounds.c.gone.is_(None)
    assert here.count(case_grounds, standing) == MAX_GROUNDS
    acted = here.rows(case_grounds, case_grounds.c.acted, standing)
    assert {one.issuer_id for one in acted} == set(here.peers.values())
    here.retracts(B, place)
    await here.review()
    assert here.case().state == CaseState.REOPENED


async def test_what_lapsed_is_bounded_however_often_a_peer_changes_its_mind(here):
    sha256, _ = await flagged_by_both(here)
    for cycle in range(6):
        here.now += 2 * 3_600
        hashes = [bytes([cycle, number]) + bytes(30) for number in range(25)]
        places = [here.flags(A, one, like=sha256) for one in hashes]
        await here.review()
        for place in places:
            here.retracts(A, place)
        await here.review()
    assert here.count(case_grounds, case_grounds.c.gone.is_(None)) == 2
    lapsed = here.count(case_grounds, case_grounds.c.gone.is_not(None))
    assert MAX_LAPSED <= lapsed < 6 * 25


async def test_flags_are_looked_at_anew_only_where_they_may_weigh_more(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    here.flags(A, sha256)
    await here.review()
    here.store.write_now(set_trust, A, replace(TRUSTED, clean=0))
    here.store.write_now(set_trust, A, replace(TRUSTED, clean=0, flag=0))
    here.store.write_now(panic, here.now)
    assert here.count(arrivals) == 0
    here.store.write_now(set_trust, A, TRUSTED)
    assert here.count(arrivals) == 1
