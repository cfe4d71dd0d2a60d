"""What a peer answered before its page came: how long it counts, and what takes its place."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.provisional import PROVISIONAL_SECONDS, record_provisional
from cache.memory.record import Computed, pipeline_row, record_images
from cache.settings import PeerDefaults
from cache.storage.case_tables import arrivals
from cache.storage.feed_tables import follows
from cache.storage.tables import codes, verdicts
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Finding, Verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, fingerprint

PEER = "https://a.example"
NOW = 1_800_000_000
FOLLOW = 1
ROW = Verdict(
    *(PEER, fingerprint("a").sha256, Feed.CLEAN, Basis.MODEL, NOW, NOW + 10**6),
    pipeline=THEIRS,
    scores={"sexual": 5},
)


@pytest.fixture
def issuer_id(store):
    def write(connection):
        made = add_peer(connection, PEER, PeerDefaults(), now=NOW)
        set_trust(connection, PEER, Trust(clean=100, flag=100, state=PeerState.TRUSTED))
        for description in (DESCRIPTION, OTHERS):
            pipeline_row(connection, description)
        connection.execute(
            follows.insert().values(
                id=FOLLOW,
                actor_id=f"{PEER}/feeds/clean",
                issuer_id=made,
                feed=int(Feed.CLEAN),
                state="accepted",
                follow_id="f",
                created=NOW,
            )
        )
        return made

    return store.write_now(write)


@pytest.fixture
def told(store, issuer_id):
    """Store an answer; gives whether anything was stored."""

    def one(row=ROW, now=NOW):
        return store.write_now(
            record_provisional,
            issuer_id=issuer_id,
            feed=row.feed,
            follow_id=FOLLOW,
            row=row,
            now=now,
        )

    return one


@pytest.fixture
def paged(store, issuer_id):
    """Store rows as a page of epoch `e` brings them, from this seq on."""

    def one(*rows, first=1, retractions=(), now=NOW):
        placed = [replace(row, epoch="e", seq=seq) for seq, row in enumerate(rows, first)]
        store.write_now(
            record_attestations,
            issuer_id=issuer_id,
            feed=Feed.CLEAN,
            follow_id=FOLLOW,
            rows=placed,
            retractions=retractions,
            now=now,
        )

    return one


@pytest.fixture
def held(store):
    return lambda table=verdicts: store.read_now(lambda c: list(c.execute(select(table))))


def test_an_answer_has_no_place_and_ends_within_a_day(told, held):
    assert told()
    [row] = held()
    assert (row.epoch, row.seq, row.expires) == (None, None, NOW + PROVISIONAL_SECONDS)


def test_one_that_expires_before_ends_when_it_says(told, held):
    assert told(replace(ROW, expires=NOW + 1))
    assert [row.expires for row in held()] == [NOW + 1]
    assert not told(replace(ROW, expires=NOW))


def test_whatever_place_an_answer_claims_it_gets_none(told, held):
    told(replace(ROW, epoch="e", seq=7))
    assert [(row.epoch, row.seq) for row in held()] == [(None, None)]


def test_the_page_takes_its_place_and_it_came_when_it_was_told(told, paged, held):
    told()
    paged(ROW, now=NOW + 60)
    [row] = held()
    assert (row.seq, row.expires, row.received) == (1, ROW.expires, NOW)


def test_a_page_that_says_otherwise_came_when_it_came(told, paged, held):
    """Else a peer tells anything first, and what it reads here later, in the row of that time."""
    told()
    paged(replace(ROW, scores={"sexual": 9}), now=NOW + 60)
    assert [(row.seq, row.received) for row in held()] == [(1, NOW + 60)]


def test_an_older_row_of_the_page_does_not_take_its_place_but_the_very_one_does(told, paged, held):
    told()
    older = replace(ROW, issued=NOW - 86_400, scores={"sexual": 9})
    paged(older)
    assert [row.seq for row in held()] == [None]
    paged(ROW, first=2)
    assert [row.seq for row in held()] == [2]


def test_a_retraction_by_the_place_frees_it_once_the_page_came(told, paged, held):
    told()
    paged(ROW, retractions=[("e", 1)])
    assert held() == []


def test_a_row_retracted_before_it_came_takes_the_answer_with_it(told, paged, held):
    paged(retractions=[("e", 5)])
    told()
    paged(ROW, first=5)
    assert held() == []


def test_other_answers_stay_when_one_is_taken_back(told, paged, held):
    other = replace(ROW, sha256=fingerprint("b").sha256)
    paged(retractions=[("e", 5)])
    told()
    told(other)
    paged(ROW, first=5)
    assert len(held()) == 1


def test_what_a_page_brought_is_not_replaced_while_it_counts(told, paged, held):
    paged(ROW)
    assert not told(replace(ROW, issued=NOW + 50, scores={"sexual": 9_999}))
    assert [row.scores for row in held()] == ['{"sexual":5}']
    after = ROW.expires
    assert told(replace(ROW, issued=after, expires=after + 50), now=after)
    assert [row.seq for row in held()] == [None]


def test_another_pipeline_or_feed_is_another_row(told, paged, held):
    paged(ROW)
    assert told(replace(ROW, pipeline=OURS))
    assert told(replace(ROW, feed=Feed.FLAGGED))
    assert len(held()) == 3


def test_an_answer_told_again_is_one_row_that_lasts_longer(told, held):
    told()
    assert told(now=NOW + 100)
    assert [row.expires for row in held()] == [NOW + 100 + PROVISIONAL_SECONDS]


def test_a_flag_that_was_told_enters_the_near_index_and_is_noted_where_it_bears(told, held, store):
    met = fingerprint("a")
    store.write_now(record_images, [Computed(met, (met.pdq,) * 8)], now=NOW)
    human = replace(
        ROW,
        feed=Feed.FLAGGED,
        basis=Basis.HUMAN,
        pipeline=None,
        scores={},
        rule="pattern",
        finding=Finding.UPHELD,
        pdq=met.pdq,
        pdq_quality=90,
    )
    assert told(human)
    assert len(held(codes)) == 1
    assert len(held(arrivals)) == 1
    assert not told(replace(human, expires=NOW))
