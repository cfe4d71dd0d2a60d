"""What a flood may take from others: nothing. Quotas at their limit and one past it."""

import pytest

from federation.errors import PastQuota, TooBusy
from federation.origin import Origin
from federation.receiving.bodies import Bodies
from federation.receiving.network import network_of
from federation.receiving.per_minute import MAX_KEYS, PerMinute
from federation.receiving.refusals import LOG_SECONDS, Refusals
from federation.receiving.shedding import GOOD_SECONDS, Shedding
from federation.settings import FederationSettings
from tests.fakes.clock import Clock

PEER = Origin("https://peer.example")
OTHER = Origin("https://other.example")
FORGER, HOME = "9.9.9.9", "8.8.8.8"


@pytest.fixture
def shedding(clock):
    settings = FederationSettings(
        activities_per_minute=3,
        activity_bytes_per_minute=5_000,
        strangers_per_minute=8,
        wrong_signatures_per_minute=2,
    )
    return Shedding(settings, clock)


# --- peers -----------------------------------------------------------------------------------
def test_a_peer_sends_so_many_activities_a_minute_and_no_more(shedding, clock):
    for _ in range(3):
        shedding.take(None, PEER, 10)
    with pytest.raises(PastQuota):
        shedding.take(None, PEER, 10)
    shedding.take(None, OTHER, 10)
    clock.now += 60
    shedding.take(None, PEER, 10)


@pytest.mark.parametrize("size", [2_500, 2_501])
def test_a_peer_sends_so_many_bytes_a_minute_and_no_more(shedding, size):
    shedding.take(None, PEER, 2_500)
    if size == 2_500:
        shedding.take(None, PEER, size)
        return
    with pytest.raises(PastQuota):
        shedding.take(None, PEER, size)


# --- strangers -------------------------------------------------------------------------------
def test_all_strangers_share_so_many_follows_a_minute(shedding, clock):
    for _ in range(8):
        shedding.take_stranger(None)
    with pytest.raises(PastQuota):
        shedding.take_stranger(None)
    clock.now += 60
    shedding.take_stranger(None)


def test_one_network_takes_a_quarter_of_what_strangers_may_send(shedding):
    for _ in range(2):
        shedding.take_stranger(FORGER)
    with pytest.raises(PastQuota):
        shedding.take_stranger(FORGER)
    shedding.take_stranger(HOME)


# --- forgers ---------------------------------------------------------------------------------
def test_a_forger_locks_out_itself_alone(shedding, clock):
    for _ in range(2):
        shedding.check_forger(FORGER, PEER)
        shedding.note_wrong(FORGER, PEER)
    with pytest.raises(PastQuota):
        shedding.check_forger(FORGER, PEER)
    shedding.check_forger(HOME, PEER)
    shedding.check_forger(FORGER, OTHER)
    clock.now += 60
    shedding.check_forger(FORGER, PEER)


def test_a_network_that_signed_well_within_the_hour_is_always_verified(shedding, clock):
    """Else whoever shares an address with a peer could lock it out."""
    shedding.take(HOME, PEER, 10)
    clock.now += GOOD_SECONDS - 1
    for _ in range(3):
        shedding.note_wrong(HOME, PEER)
    shedding.check_forger(HOME, PEER)
    clock.now -= clock.now % 60 - 59
    clock.now += 1
    for _ in range(3):
        shedding.note_wrong(HOME, PEER)
    with pytest.raises(PastQuota):
        shedding.check_forger(HOME, PEER)


def test_whoever_s_network_cannot_be_told_is_always_verified(shedding):
    for _ in range(9):
        shedding.note_wrong(None, PEER)
    shedding.check_forger(None, PEER)


def test_who_is_past_its_quota_is_still_known_to_sign_well(shedding):
    for _ in range(3):
        shedding.take(HOME, PEER, 10)
    with pytest.raises(PastQuota):
        shedding.take(HOME, PEER, 10)
    for _ in range(3):
        shedding.note_wrong(HOME, PEER)
    shedding.check_forger(HOME, PEER)


# --- memory ----------------------------------------------------------------------------------
def test_ten_thousand_keys_are_counted_in_a_minute_and_one_more_is_not(clock):
    counts = PerMinute(clock)
    for number in range(MAX_KEYS + 1):
        counts.add(number)
    assert (counts.of(MAX_KEYS - 1), counts.of(MAX_KEYS)) == (1, 0)
    counts.add(0)
    assert counts.of(0) == 2
    clock.now += 60
    counts.add(MAX_KEYS)
    assert (counts.of(0), counts.of(MAX_KEYS)) == (0, 1)


def test_networks_that_sign_well_are_remembered_up_to_a_limit_the_oldest_go_first(shedding):
    def is_verified_whatever_it_signs(number):
        origin = Origin(f"https://{number}.example")
        for _ in range(2):
            shedding.note_wrong(HOME, origin)
        try:
            shedding.check_forger(HOME, origin)
        except PastQuota:
            return False
        return True

    for number in range(MAX_KEYS + 1):
        shedding.take(HOME, Origin(f"https://{number}.example"), 1)
    assert [is_verified_whatever_it_signs(number) for number in (0, 1)] == [False, True]


# --- bodies on their way in ------------------------------------------------------------------
def test_so_many_bodies_are_on_their_way_in_and_no_more():
    bodies = Bodies(2)
    with bodies.taken(None), bodies.taken(None), pytest.raises(TooBusy), bodies.taken(None):
        pass
    with bodies.taken(None), bodies.taken(None):
        pass


def test_one_network_holds_a_quarter_of_the_places():
    bodies = Bodies(8)
    with bodies.taken(FORGER), bodies.taken(FORGER):
        with pytest.raises(TooBusy), bodies.taken(FORGER):
            pass
        with bodies.taken(HOME):
            pass


# --- networks --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("2a00:1450::1", "2a00:1450::/64"),
        ("2a00:1450:0:0:ffff::1", "2a00:1450::/64"),
        ("127.0.0.1", None),
        ("10.1.2.3", None),
        ("::1", None),
        ("no address", None),
        ("", None),
        (None, None),
    ],
)
def test_a_network_is_an_ipv4_address_or_64_bits_of_an_ipv6_one(address, network):
    assert network_of(address, (), 0) == network


@pytest.mark.parametrize(
    ("proxies", "network"),
    [(0, None), (1, "8.8.8.8"), (2, "9.9.9.9"), (3, "1.1.1.1"), (4, None)],
)
def test_only_what_our_own_proxies_added_is_believed(proxies, network):
    assert network_of("127.0.0.1", ["1.1.1.1, 9.9.9.9", "8.8.8.8"], proxies) == network


def test_without_a_proxy_nobody_names_another_network():
    assert network_of(FORGER, [HOME], 0) == FORGER


# --- counts ----------------------------------------------------------------------------------
def test_refusals_are_all_counted_and_each_cause_is_logged_once_a_minute(caplog):
    clock = Clock()
    refusals = Refusals(clock)
    caplog.set_level("INFO")
    for _ in range(1_000):
        refusals.note(TooBusy("busy"))
        refusals.note(PastQuota("much"))
    assert refusals.counts == {"TooBusy": 1_000, "PastQuota": 1_000}
    assert [(one.cause, one.count) for one in caplog.records] == [("TooBusy", 1), ("PastQuota", 1)]
    clock.now += LOG_SECONDS
    refusals.note(TooBusy("busy"))
    assert caplog.records[-1].count == 1_000
