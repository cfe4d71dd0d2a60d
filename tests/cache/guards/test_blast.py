"""The blast radius: who caused too much within the hour, at its limits and one past them."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cache.cases.case_evidence import Ground
from cache.cases.case_grounding import StoredGround, settle_grounds
from cache.guards.blast import COUNT_SECONDS, HOUR_SECONDS, BlastRadius, tell_tripped
from cache.judgement import PeerState, Trust
from cache.memory.record import image_row, own_issuer
from cache.settings import PeerDefaults, TrustSettings
from cache.storage.case_tables import case_grounds, cases
from cache.storage.tables import sightings, sources
from cache.trust.notices import unread
from cache.trust.trust import add_peer, peer_id, set_trust
from cache.verdict import MatchKind
from tests.cache.pictures import NOW, A, B, C, trusted

_numbers = itertools.count(1)


def peer(connection, origin, **changes):
    issuer_id = add_peer(connection, origin, PeerDefaults(), now=NOW)
    set_trust(connection, origin, trusted(**changes))
    return issuer_id


def act(connection, issuer_id, number, *, added=NOW, acted=True, picture=None, rule="pattern"):
    """Note that flags of an issuer flagged so many pictures, each in a case of its own."""
    for _ in range(number):
        name = picture or next(_numbers)
        image_id = image_row(connection, name.to_bytes(32, "big"), now=NOW)
        values = {"state": "open", "rules": rule, "reason": "", "opened": NOW, "changed": NOW}
        case_id = connection.execute(cases.insert().values(**values)).inserted_primary_key[0]
        ground = {
            "case_id": case_id,
            "image_id": image_id,
            "issuer_id": issuer_id,
            "of_image_id": image_id,
            "kind": MatchKind.EXACT.value,
            "rule": rule,
            "acted": acted,
            "added": added,
        }
        connection.execute(case_grounds.insert().values(**ground))


def sight(connection, number):
    source = sources.insert().values(name="here", kind="folder", location="/here")
    source_id = connection.execute(source).inserted_primary_key[0]
    rows = [
        {"source_id": source_id, "key": f"{i}", "size": 1, "mark": "", "outcome": "judged"}
        | {"seen": NOW}
        for i in range(number)
    ]
    connection.execute(sightings.insert(), rows)


def tripped(store, now=NOW, **changes):
    return store.read_now(BlastRadius(TrustSettings(**changes)).tripped, now)


@pytest.mark.parametrize(("actions", "past"), [(9, False), (10, True), (11, True)])
def test_ten_pictures_may_be_flagged_and_the_next_asks_for_review(store, actions, past):
    store.write_now(lambda c: act(c, peer(c, A), actions))
    assert tripped(store) == (frozenset({A}) if past else frozenset())


@pytest.mark.parametrize(("actions", "past"), [(11, False), (12, True)])
def test_of_many_sightings_the_share_counts(store, actions, past):
    """A thousandth of 12,000 is 12."""
    store.write_now(sight, 12_000)
    store.write_now(lambda c: act(c, peer(c, A), actions))
    assert tripped(store) == (frozenset({A}) if past else frozenset())


def test_a_picture_counts_once_however_many_rules_and_cases_it_has(store):
    def many(connection):
        issuer_id = peer(connection, A)
        for rule in ("pattern", "gory"):
            act(connection, issuer_id, 9, picture=1_000_000, rule=rule)

    store.write_now(many)
    assert tripped(store) == frozenset()


def test_what_flagged_nothing_and_what_is_of_another_hour_do_not_count(store):
    def some(connection):
        issuer_id = peer(connection, A)
        act(connection, issuer_id, 20, acted=False)
        act(connection, issuer_id, 20, added=NOW - HOUR_SECONDS)
        act(connection, issuer_id, 9)

    store.write_now(some)
    assert tripped(store) == frozenset()
    assert tripped(store, now=NOW - 1) == frozenset({A})


def test_what_asked_for_review_first_counts_from_when_it_flags(store):
    """Else who trips the breaker would flag all the rest, uncounted, when the hour is over."""

    def look(connection, case_id, of, *, acted, now):
        said = Ground(A, None, MatchKind.EXACT, "pattern", acted=acted, of_image=of)
        stored = StoredGround(peer_id(connection, A), of, said)
        settle_grounds(connection, case_id, of, [stored], now=now)

    def ten(connection):
        act(connection, peer(connection, A), 10, acted=False)
        return connection.execute(select(case_grounds.c.case_id, case_grounds.c.image_id)).all()

    grounds = store.write_now(ten)
    later = NOW + 2 * HOUR_SECONDS
    for acted, expected in ((False, frozenset()), (True, {A}), (False, {A})):
        for case_id, image_id in grounds:
            store.write_now(look, case_id, image_id, acted=acted, now=later)
        assert tripped(store, now=later) == expected


def test_retracting_and_attesting_anew_takes_no_action_back(store):
    """Else who trips the breaker would be let through again at once."""
    acted = {"acted": True}

    def settle(connection, case_id, of, now, **changes):
        said = Ground(A, None, MatchKind.EXACT, "pattern", of_image=of, **changes)
        stored = [StoredGround(peer_id(connection, A), of, said)] if changes else []
        settle_grounds(connection, case_id, of, stored, now=now)

    def ten(connection):
        act(connection, peer(connection, A), 10)
        return connection.execute(select(case_grounds.c.case_id, case_grounds.c.image_id)).all()

    for case_id, image_id in store.write_now(ten):
        store.write_now(settle, case_id, image_id, NOW + 1)  # retracted
        assert tripped(store, now=NOW + 1) == {A}
        store.write_now(settle, case_id, image_id, NOW + 2, acted=False)  # attested anew
        assert tripped(store, now=NOW + 2) == {A}
        store.write_now(settle, case_id, image_id, NOW + 3, **acted)
    assert tripped(store, now=NOW + 3) == {A}


def test_our_own_flags_never_trip(store):
    store.write_now(lambda c: act(c, own_issuer(c, now=NOW), 50))
    assert tripped(store) == frozenset()


def test_instances_of_one_operator_count_together_and_trip_together(store):
    def three(connection):
        act(connection, peer(connection, A, operator="one"), 5)
        act(connection, peer(connection, B, operator="one"), 5)
        act(connection, peer(connection, C), 9)

    store.write_now(three)
    assert tripped(store) == frozenset({A, B})


def test_an_operator_named_like_an_instance_is_not_that_instance(store):
    def two(connection):
        act(connection, peer(connection, A, operator=B), 5)
        act(connection, peer(connection, B), 5)

    store.write_now(two)
    assert tripped(store) == frozenset()


def test_an_operator_does_not_get_away_by_having_one_instance_demoted(store):
    def two(connection):
        act(connection, peer(connection, A, operator="one"), 10)
        peer(connection, B, operator="one")
        set_trust(connection, A, Trust(operator="one", state=PeerState.OBSERVED))

    store.write_now(two)
    assert B in tripped(store)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 12), st.integers(0, 60), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_remembering_how_many_sightings_there_are_changes_no_answer(
    sqlite_store, actions, n, share
):
    def run(connection):
        act(connection, peer(connection, A), actions)
        if n:
            sight(connection, n)
        radius = BlastRadius(TrustSettings(blast_radius_actions=3, blast_radius_share=share))
        raise _Undone([radius.tripped(connection, NOW) for _ in range(2)])

    with pytest.raises(_Undone) as undone:
        sqlite_store.write_now(run)
    assert undone.value.args[0] == [frozenset({A} if actions >= max(3, share * n) else ())] * 2


def test_while_a_peer_is_past_it_the_sightings_are_not_counted_again(sqlite_store, monkeypatch):
    sqlite_store.write_now(sight, 50)
    sqlite_store.write_now(lambda c: act(c, peer(c, A), 12))
    radius, counts = BlastRadius(TrustSettings()), []
    count = radius._count

    def counted(*args):
        counts.append(1)
        count(*args)

    monkeypatch.setattr(radius, "_count", counted)
    for _ in range(3):
        assert sqlite_store.read_now(radius.tripped, NOW) == {A}
    assert len(counts) == 1
    radius._counted -= COUNT_SECONDS + 1
    sqlite_store.read_now(radius.tripped, NOW)
    assert len(counts) == 2


class _Undone(Exception):
    """Carries a result out of a transaction that is rolled back."""


def test_the_admin_is_told_once_an_hour_and_peer(store):
    def tell(origins, now):
        store.write_now(tell_tripped, origins, now)
        return [notice.origin for notice in store.read_now(unread)]

    for origin in (A, B):
        store.write_now(peer, origin)
    assert tell([A], NOW) == [A]
    assert tell([A], NOW + HOUR_SECONDS - 1) == [A]
    assert tell([A, B], NOW + HOUR_SECONDS - 1) == [A, B]
    assert tell([A, B], NOW + HOUR_SECONDS) == [A, B, A]
    assert tell([], NOW) == [A, B, A]
    assert store.read_now(unread)[0].kind == "blast-radius"
