"""Counts: added up by day and peer, summed when read, dropped when old."""

from sqlalchemy import insert, select

from cache.memory.counts import (
    KEPT_DAYS,
    Counts,
    Stored,
    counts_since,
    day_of,
    first_day,
    held_by_issuer,
    open_cases,
    store_counts,
    unread_notices,
)
from cache.settings import PeerDefaults
from cache.storage.case_tables import cases
from cache.storage.trust_tables import agreements, counts, notices
from cache.trust.trust import add_peer

PEER, OTHER = "https://peer.example", "https://other.example"
DAY = 20_000


def counted(**answers):
    return Counts(dict(answers))


def hits(store):
    wanted = select(agreements.c.issuer_id, agreements.c.label, agreements.c.hits_since_false)
    return store.read_now(lambda c: [tuple(row) for row in c.execute(wanted)])


def test_what_is_stored_again_adds_to_what_is_there(store):
    for number in (2, 3):
        store.write_now(store_counts, counted(clean=number), day=DAY)
    assert store.read_now(counts_since, DAY) == [Stored("clean", None, 5)]


def test_days_are_summed_up_from_the_one_asked_for(store):
    for day, number in ((DAY - 1, 100), (DAY, 20), (DAY + 1, 3)):
        store.write_now(store_counts, counted(clean=number), day=day)
    assert store.read_now(counts_since, DAY) == [Stored("clean", None, 23)]
    assert store.read_now(first_day) == DAY - 1


def test_counts_of_peers_are_kept_apart_and_their_clean_hits_are_noted(store):
    row_id = store.write_now(add_peer, PEER, PeerDefaults(), now=1)
    found = Counts()
    found.add_of_peer("clean", PEER, 2)
    found.add_clean_hit(PEER, 2)
    for _ in range(2):
        store.write_now(store_counts, found, day=DAY)
    assert store.read_now(counts_since, DAY) == [Stored("clean", PEER, 4)]
    assert hits(store) == [(row_id, "", 4)]


def test_noting_clean_hits_leaves_the_other_agreements_alone(store):
    row_id = store.write_now(add_peer, PEER, PeerDefaults(), now=1)
    row = {"issuer_id": row_id, "label": "", "clean_compared": 7, "hits_since_false": 1}
    store.write_now(lambda c: c.execute(insert(agreements).values(row)))
    store.write_now(store_counts, Counts(clean_hits={PEER: 2}), day=DAY)
    assert hits(store) == [(row_id, "", 3)]
    [held] = [one for one in store.read_now(held_by_issuer) if one.origin == PEER]
    assert held.clean_compared == 7


def test_a_peer_that_nobody_knows_is_left_out_and_the_rest_is_kept(store):
    found = Counts({"clean": 1}, {("clean", OTHER): 1}, {OTHER: 1})
    store.write_now(store_counts, found, day=DAY)
    assert store.read_now(counts_since, DAY) == [Stored("clean", None, 1)]
    assert hits(store) == []


def test_counts_are_kept_for_so_many_days_and_not_one_longer(store):
    store.write_now(store_counts, counted(clean=1), day=DAY)
    store.write_now(store_counts, counted(clean=1), day=DAY + KEPT_DAYS)
    assert store.read_now(first_day) == DAY
    store.write_now(store_counts, counted(clean=1), day=DAY + KEPT_DAYS + 1)
    assert store.read_now(first_day) == DAY + KEPT_DAYS


def test_a_write_that_runs_twice_in_one_transaction_rolled_back_counts_once(store):
    def twice(connection):
        with connection.begin_nested() as inner:
            store_counts(connection, counted(clean=1), day=DAY)
            inner.rollback()
        store_counts(connection, counted(clean=1), day=DAY)

    store.write_now(twice)
    assert store.read_now(lambda c: c.execute(select(counts.c.number)).scalars().all()) == [1]


def test_counts_that_came_together_are_merged():
    one, two = Counts({"a": 1}, {("clean", PEER): 1}, {PEER: 1}), Counts({"a": 2, "b": 1})
    two.merge(one)
    assert two == Counts({"a": 3, "b": 1}, {("clean", PEER): 1}, {PEER: 1})
    assert not Counts()


def test_a_day_begins_at_midnight_utc():
    assert [day_of(DAY * 86_400 - 0.5), day_of(DAY * 86_400)] == [DAY - 1, DAY]


def test_open_and_reopened_cases_wait_and_settled_ones_do_not(store):
    states = ("open", "reopened", "upheld", "dismissed", "escalated")
    rows = [
        {"state": state, "rules": "", "reason": "", "opened": 1, "changed": 1} for state in states
    ]
    store.write_now(lambda c: c.execute(insert(cases), rows))
    assert store.read_now(open_cases) == 2


def test_a_notice_counts_until_somebody_read_it(store):
    rows = [{"created": 1, "kind": "demoted", "text": "", "read": read} for read in (None, 5)]
    store.write_now(lambda c: c.execute(insert(notices), rows))
    assert store.read_now(unread_notices) == 1
