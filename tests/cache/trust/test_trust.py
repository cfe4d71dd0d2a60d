"""Trust as stored: weights that end, cases that rest on a peer, and the audit rate of now."""

from dataclasses import replace

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from cache.errors import UnknownPeer
from cache.judgement import LabelTrust, PeerState, Trust
from cache.memory.codes import Code, set_codes
from cache.memory.record import image_row
from cache.settings import PeerDefaults
from cache.storage.case_tables import case_grounds, cases
from cache.storage.tables import codes, issuers
from cache.storage.trust_tables import agreements
from cache.trust.trust import add_peer, end_weight, load_trust, set_state, set_trust, without_weight

NOW = 1_800_000_000
A, B = "https://a.example", "https://b.example"
TRUSTED = Trust(clean=50, flag=100, state=PeerState.TRUSTED, audit_rate=1.0)


@pytest.fixture
def peer(store) -> int:
    """Two trusted peers; gives the row id of the first."""

    def make(connection):
        ids = [add_peer(connection, origin, PeerDefaults(), now=NOW) for origin in (A, B)]
        for origin in (A, B):
            set_trust(connection, origin, TRUSTED)
        return ids[0]

    return int(store.write_now(make))


@pytest.fixture
def case(store, peer):
    """A case that rests on the first peer; gives when it is looked at again, and why."""

    def make(connection):
        image_id = image_row(connection, b"x" * 32, now=NOW)
        values = {"state": "open", "rules": "pattern", "reason": "", "opened": 1, "changed": 1}
        case_id = connection.execute(cases.insert().values(**values)).inserted_primary_key[0]
        ground = {"case_id": case_id, "image_id": image_id, "issuer_id": peer, "acted": True}
        ground |= {"of_image_id": image_id, "kind": "exact", "rule": "pattern", "added": 1}
        connection.execute(case_grounds.insert().values(**ground))

    store.write_now(make)
    columns = select(cases.c.recheck, cases.c.recheck_reason)
    return lambda: tuple(store.read_now(lambda c: c.execute(columns).one()))


def test_a_weight_ends_once_and_the_other_stays(store, peer):
    assert store.write_now(end_weight, A, clean=True)
    assert not store.write_now(end_weight, A, clean=True)
    assert store.read_now(load_trust) == {A: replace(TRUSTED, clean=0), B: TRUSTED}
    assert store.write_now(end_weight, A, flag=True)
    assert store.read_now(load_trust)[A].state is PeerState.OBSERVED


def test_weights_of_labels_end_as_well_and_what_was_left_open_stays_so():
    labels = {"gore": LabelTrust(clean=80, flag=None), "shape": LabelTrust(clean=None, flag=30)}
    trust = replace(TRUSTED, labels=labels)
    assert without_weight(trust, clean=True).labels == {
        "gore": LabelTrust(clean=0, flag=None),
        "shape": LabelTrust(clean=None, flag=30),
    }
    assert without_weight(trust, clean=True).state is PeerState.TRUSTED
    assert without_weight(trust, clean=True, flag=True).state is PeerState.OBSERVED


@pytest.mark.parametrize("state", [PeerState.SUSPENDED, PeerState.OBSERVED])
def test_a_weight_that_ends_raises_nobody(state):
    assert without_weight(replace(TRUSTED, state=state), clean=True).state is state


def test_nobody_unknown_is_trusted(store, peer):
    with pytest.raises(UnknownPeer):
        store.write_now(set_trust, "https://c.example", TRUSTED)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: set_state(c, A, PeerState.SUSPENDED), f"{A} is suspended now"),
        (lambda c: end_weight(c, A, clean=True), f"{A} has other weights now"),
        (lambda c: set_trust(c, A, replace(TRUSTED, labels={"gore": LabelTrust(0)})), "weights"),
        (lambda c: set_trust(c, A, replace(TRUSTED, max_age_days=9)), "is heard otherwise now"),
        (lambda c: set_trust(c, A, replace(TRUSTED, heard=frozenset({"x"}))), "heard otherwise"),
        (lambda c: set_trust(c, A, replace(TRUSTED, operator="one")), "heard otherwise"),
    ],
)
def test_cases_that_rest_on_a_peer_are_looked_at_again_when_its_trust_changes(
    store, case, change, reason
):
    assert case() == (None, None)
    store.write_now(change)
    recheck, why = case()
    assert (recheck < NOW, reason in why) == (True, True)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: set_trust(c, A, TRUSTED),
        lambda c: set_trust(c, A, replace(TRUSTED, audit_floor=0.5, min_agreement=0.5)),
        lambda c: set_trust(c, B, replace(TRUSTED, clean=0)),
    ],
)
def test_cases_wait_where_nothing_changed_that_they_rest_on(store, case, change):
    store.write_now(change)
    assert case() == (None, None)


@pytest.mark.parametrize(("compared", "rate"), [(0, 1.0), (20, 0.5), (10_000, 0.05)])
def test_the_audit_rate_of_now_follows_the_record_and_never_what_is_stored(
    store, peer, compared, rate
):
    row = {"issuer_id": peer, "label": "", "since_false": compared}
    store.write_now(lambda c: c.execute(agreements.insert().values(**row)).rowcount)
    trust = store.read_now(load_trust)[A]
    assert (trust.audit_rate, trust.audit_floor) == (rate, 0.05)
    store.write_now(set_trust, A, trust)
    assert store.read_now(load_trust)[A] == trust
    assert store.read_now(load_trust)[B].audit_rate == 1.0


def code_of_the_peer(store, peer):
    """Let a code of the first peer stand; gives whether it still does."""

    def make(connection):
        image_id = image_row(connection, b"c" * 32, now=NOW)
        set_codes(connection, peer, {image_id: Code(b"\x01" * 32, 100)})

    store.write_now(make)
    standing = select(codes.c.id).where(~codes.c.withdrawn)
    return lambda: len(store.read_now(lambda c: c.execute(standing).all()))


@pytest.mark.parametrize(
    ("change", "stand"), [({"clean": 0}, 1), ({"flag": 0}, 0), ({"state": PeerState.SUSPENDED}, 0)]
)
def test_codes_leave_with_the_flag_weight_alone_and_nobody_reads_every_verdict_for_it(
    sqlite_store, change, stand
):
    peer = sqlite_store.write_now(add_peer, A, PeerDefaults(), now=NOW)
    sqlite_store.write_now(set_trust, A, TRUSTED)
    standing = code_of_the_peer(sqlite_store, peer)
    seen = []

    def note(_connection, _cursor, statement, *_):
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        sqlite_store.write_now(set_trust, A, replace(TRUSTED, **change))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert standing() == stand
    assert seen
    assert not [one for one in seen if one.startswith("SELECT verdicts.")]


def test_codes_that_a_cut_off_panic_left_go_with_the_next_change(store, peer):
    standing = code_of_the_peer(store, peer)
    store.write_now(lambda c: c.execute(issuers.update().values(state="observed")))
    store.write_now(set_state, A, PeerState.SUSPENDED)
    assert standing() == 0
