"""What a peer disputes: its case, the review of it, and what a person's decision answers."""

import pytest
from sqlalchemy import select

from cache.cases.case_disputes import bring_before_person, disputes_of_case
from cache.cases.case_opening import Noted, Terms
from cache.cases.cases import CaseState
from cache.storage.case_tables import case_pictures, cases
from cache.storage.feed_tables import feed_rows
from cache.storage.peer_tables import disputes
from cache.verdict import Decision, Feed, Finding
from scanner.decoding.fingerprint import sha256_of
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.fediverdict.test_reviewing import RULE, A, Instance, with_text

SHARED = frozenset({"s"})


class Disputed(Instance):
    """An instance whose published verdicts a peer disputes."""

    async def published(self, data):
        await self.judge.judge(data, "all")
        await self.met(data)
        await self.review()
        return sha256_of(data)

    def dispute(self, sha256, said):
        return self.store.write_now(self._dispute, sha256, said)

    def _dispute(self, connection, sha256, said):
        case_id = bring_before_person(
            connection, sha256, said, f"{A} disputes that we call it {said}.", now=self.now
        )
        feed = int(Feed.CLEAN if said is Decision.CLEAN else Feed.FLAGGED)
        number = len(connection.execute(select(disputes.c.id)).all())
        connection.execute(
            disputes.insert().values(
                is_ours=0, activity_id=f"{A}/{number}", origin=A, actor_id=f"{A}/actor",
                feed=feed, epoch="e", seq=1, sha256=sha256, case_id=case_id, text="no",
                created=self.now,
            )
        )  # fmt: skip
        return case_id

    def live(self):
        rows = self.rows(feed_rows, feed_rows.c.op == 0, feed_rows.c.live)
        return [(row.sha256, Feed(row.feed), row.finding) for row in rows]

    def answered(self):
        return [row.answered for row in self.rows(disputes)]


@pytest.fixture
async def here(store, tmp_path):
    made = Disputed(store, tmp_path)
    yield made
    made.judge.close()


async def test_a_disputed_clean_picture_waits_for_a_person_whatever_the_review_finds(here):
    sha256 = await here.published(png(GREEN))
    case_id = here.dispute(sha256, Decision.CLEAN)
    for terms in (Terms(), Terms(undo_auto=True)):  # a clean scan of ours is what is disputed
        assert await here.review(terms) == Noted()
        assert here.case().state == CaseState.OPEN
    assert here.live() == [(sha256, Feed.CLEAN, None)]
    [view] = here.store.read_now(disputes_of_case, case_id)
    assert (view.origin, view.sha256, view.text, view.answered) == (A, sha256, "no", None)


async def test_of_many_disputes_of_a_case_the_newest_are_shown(here, monkeypatch):
    monkeypatch.setattr("cache.cases.case_disputes.MAX_SHOWN", 2)
    sha256 = await here.published(png(GREEN))
    for _ in range(3):
        case_id = here.dispute(sha256, Decision.CLEAN)
        here.now += 1
    shown = here.store.read_now(disputes_of_case, case_id)
    assert [view.created for view in shown] == [here.now - 1, here.now - 2]


async def test_upheld_takes_it_out_of_the_clean_feed_and_a_person_attests_it(here):
    sha256 = await here.published(png(GREEN))
    case_id = here.dispute(sha256, Decision.CLEAN)
    await here.review()
    here.now += 60
    assert here.decide(case_id, Finding.UPHELD, shared=SHARED).state is CaseState.UPHELD
    assert here.live() == [(sha256, Feed.FLAGGED, "upheld")]
    assert here.answered() == [here.now]


async def test_dismissed_retracts_the_disputed_flag(here):
    sha256 = await here.published(png(RED))
    assert here.live() == [(sha256, Feed.FLAGGED, None)]
    case_id = here.dispute(sha256, Decision.FLAGGED)
    assert case_id == here.case().id  # it had one since it was met
    assert here.decide(case_id, Finding.DISMISSED).state is CaseState.DISMISSED
    assert (here.live(), here.answered()) == ([], [here.now])


async def test_the_review_names_the_rule_of_a_disputed_flag_that_had_no_case(here):
    data = png(RED)
    await here.judge.judge(data, "all")  # at a gate: never met in a source
    case_id = here.dispute(sha256_of(data), Decision.FLAGGED)
    await here.review()
    case = here.case()
    assert (case.id, case.rules, case.state) == (case_id, RULE, CaseState.OPEN)


async def test_escalating_answers_nothing_until_the_case_is_decided(here):
    sha256 = await here.published(png(RED))
    case_id = here.dispute(sha256, Decision.FLAGGED)
    here.decide(case_id, Finding.ESCALATED)
    assert here.dispute(sha256, Decision.FLAGGED) == case_id
    assert (here.case().state, here.answered()) == (CaseState.ESCALATED, [None, None])
    assert here.live() == [(sha256, Feed.FLAGGED, None)]
    here.decide(case_id, Finding.DISMISSED)
    assert (here.live(), here.answered()) == ([], [here.now] * 2)


async def test_what_a_person_upheld_stays_flagged_while_it_is_disputed(here):
    sha256 = await here.published(png(RED))
    here.decide(1, Finding.UPHELD)
    here.dispute(sha256, Decision.FLAGGED)
    assert here.case().state == CaseState.REOPENED
    await here.review()
    assert (here.case().state, here.row(case_pictures).decision) == ("reopened", "flagged")
    assert (await here.judge.judge(png(RED))).decision is Decision.FLAGGED
    assert here.decide(1, Finding.UPHELD).state is CaseState.UPHELD
    assert here.answered() == [here.now]


async def test_pictures_of_equal_content_share_a_case(here):
    first, second = png(GREEN), with_text(png(GREEN), b"x")
    hashes = [await here.published(data) for data in (first, second)]
    ids = {here.dispute(sha256, Decision.CLEAN) for sha256 in hashes}
    assert (ids, here.count(case_pictures)) == ({here.case().id}, 2)
    here.decide(1, Finding.DISMISSED)
    assert here.answered() == [here.now] * 2


async def test_no_picture_joins_a_case_under_embargo_by_a_dispute(here):
    first, second = png(RED), with_text(png(RED), b"x")
    await here.published(first)
    here.decide(1, Finding.ESCALATED)
    await here.judge.judge(second, "all")
    assert here.dispute(sha256_of(second), Decision.FLAGGED) == 1
    assert (here.count(cases), here.count(case_pictures)) == (1, 1)
    assert here.case().state == CaseState.ESCALATED
