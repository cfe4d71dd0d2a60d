"""Panic: no peer weighs anything, its codes go, its cases are listed, nothing is restored."""

import pytest
from sqlalchemy import select, update

from cache.index.near import NearIndex
from cache.judgement import PeerState
from cache.memory.lookup import evidence
from cache.memory.peer_rows import settle_peer_codes
from cache.memory.record import own_issuer
from cache.storage.case_tables import case_grounds, case_pictures, cases
from cache.storage.tables import issuers
from cache.trust.notices import unread
from cache.trust.panic import SKEW_SECONDS, CausedCase, caused_by_peers, panic, with_codes
from cache.trust.trust import load_trust, set_state
from cache.verdict import SELF
from tests.cache.guards.test_blast import act, peer
from tests.cache.guards.test_guards import BAD, COPY, NOW, QUERY, A, B, decided, theirs


def states(store):
    return {origin: trust.state for origin, trust in store.read_now(load_trust).items()}


def caused(store):
    return store.read_now(caused_by_peers)


def case(connection, *origins, state="open"):
    """Add a case that rests on flags of these issuers, and return its number."""
    act(connection, _issuer(connection, origins[0]), 1)
    ground = connection.execute(select(case_grounds).order_by(case_grounds.c.id.desc())).first()
    values = ground._asdict()
    del values["id"]
    for origin in origins[1:]:
        row = {**values, "issuer_id": _issuer(connection, origin)}
        connection.execute(case_grounds.insert().values(**row))
    picture = {"case_id": ground.case_id, "image_id": ground.image_id, "decision": "flagged"}
    connection.execute(case_pictures.insert().values(**picture, added=NOW))
    chosen = cases.c.id == ground.case_id
    connection.execute(update(cases).where(chosen).values(state=state))
    return ground.case_id


def _issuer(connection, origin):
    return own_issuer(connection, now=NOW) if origin == SELF else peer(connection, origin)


def test_whoever_is_trusted_is_only_observed_and_what_it_weighed_is_told_and_noted(store):
    store.write_now(peer, A, clean=40, flag=70)
    calmed = store.write_now(panic, NOW)
    assert [(one.origin, one.clean_weight, one.flag_weight) for one in calmed] == [(A, 40, 70)]
    assert states(store) == {A: PeerState.OBSERVED}
    trust = store.read_now(load_trust)[A]
    assert (trust.clean, trust.flag) == (40, 70)  # noted
    assert (trust.clean_weight("x"), trust.flag_weight("x")) == (0, 0)  # of no weight


def test_who_is_suspended_stays_suspended_and_this_instance_stays_itself(store):
    store.write_now(peer, A)
    store.write_now(set_state, A, PeerState.SUSPENDED)
    store.write_now(own_issuer, now=NOW)
    assert store.write_now(panic, NOW) == []
    rows = store.read_now(
        lambda c: dict(c.execute(select(issuers.c.origin, issuers.c.state)).all())
    )
    assert rows == {A: "suspended", SELF: "self"}


def test_their_codes_weigh_nothing_at_once_and_leave_the_index(store):
    issuer_id = store.write_now(theirs, [COPY], BAD)
    store.write_now(panic, NOW)
    assert store.read_now(with_codes) == [issuer_id]
    store.write_now(settle_peer_codes, issuer_id)
    assert store.read_now(with_codes) == []
    assert store.read_now(evidence, NearIndex(), fingerprint=QUERY).matches == ()


def test_a_panic_that_was_cut_off_before_the_codes_is_ended_by_the_next(store):
    issuer_id = store.write_now(theirs, [COPY], BAD)
    store.write_now(panic, NOW)
    assert store.write_now(panic, NOW + 5) == []
    assert store.read_now(with_codes) == [issuer_id]


def test_the_codes_of_who_is_trusted_anew_meanwhile_stay(store):
    issuer_id = store.write_now(theirs, [COPY], BAD)
    store.write_now(panic, NOW)
    store.write_now(peer, A)
    store.write_now(settle_peer_codes, issuer_id)
    assert store.read_now(decided).reason == "suspected"


def test_the_cases_of_peers_are_listed_with_what_they_rest_on(store):
    alone = store.write_now(case, A, B)
    ours_too = store.write_now(case, SELF, A, state="reopened")
    store.write_now(case, SELF)
    store.write_now(panic, NOW)
    first, second = caused(store)
    assert (first.id, first.peers, first.only_peers, first.state) == (alone, (A, B), True, "open")
    assert (second.id, second.peers, second.only_peers) == (ours_too, (A,), False)
    assert isinstance(first, CausedCase)
    assert len(first.pictures) == 1
    assert len(first.pictures[0]) == 32


@pytest.mark.parametrize("state", ["upheld", "dismissed", "escalated"])
def test_what_a_person_decided_stands_and_is_not_listed(store, state):
    store.write_now(case, A, state=state)
    store.write_now(panic, NOW)
    assert caused(store) == []
    assert store.read_now(lambda c: c.execute(select(cases.c.state)).scalars().all()) == [state]


def test_a_case_that_lost_its_ground_by_the_panic_is_listed_still_and_one_of_before_is_not(store):
    before, after = store.write_now(case, A), store.write_now(case, A)

    def lapse(connection, case_id, when):
        chosen = case_grounds.c.case_id == case_id
        connection.execute(update(case_grounds).where(chosen).values(gone=when))

    store.write_now(lapse, before, NOW - SKEW_SECONDS - 1)
    store.write_now(panic, NOW)
    store.write_now(lapse, after, NOW - SKEW_SECONDS)
    assert [one.id for one in caused(store)] == [after]


def test_a_panic_restores_nothing_and_lets_its_cases_be_looked_at_again(store):
    number = store.write_now(case, A)
    ours = store.write_now(case, SELF)
    store.write_now(panic, NOW)
    rows = {row.id: row for row in store.read_now(lambda c: c.execute(select(cases)).all())}
    assert {row.state for row in rows.values()} == {"open"}
    assert rows[number].recheck <= NOW
    assert rows[ours].recheck is None
    assert A in rows[number].recheck_reason


def test_panic_twice_changes_nothing_more_and_tells_the_admin_once(store):
    store.write_now(peer, A)
    assert len(store.write_now(panic, NOW)) == 1
    assert store.write_now(panic, NOW + 1) == []
    assert [notice.kind for notice in store.read_now(unread)] == ["panic"]


def test_a_panic_without_peers_is_no_error(store):
    assert store.write_now(panic, NOW) == []
    assert caused(store) == []


def test_a_panic_is_whole_or_not_at_all(store):
    store.write_now(lambda c: (peer(c, A), peer(c, B)))

    def fail(connection):
        panic(connection, NOW)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.write_now(fail)
    assert set(states(store).values()) == {PeerState.TRUSTED}
