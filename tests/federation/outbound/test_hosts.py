"""When a host is asked next: backoff, breaker, `Retry-After`, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from cache.storage import peer_tables
from cache.storage.feed_tables import deliveries, followers
from federation.outbound import hosts
from federation.outbound.hosts import Failure, Host, after_failure
from federation.settings import FederationSettings

SETTINGS = FederationSettings()
EVEN = 0.5  # dice that leave a wait as it is


def failing(times, every=0, start=1_000, **more):
    """Return a host after so many failures, each `every` seconds after the one before."""
    host = Host()
    for number in range(times):
        host = after_failure(host, Failure("e", start + number * every, **more), SETTINGS, EVEN)
    return host


def test_waits_double_while_the_breaker_is_closed():
    waits = [failing(times).open_until - 1_000 for times in range(1, SETTINGS.host_failures)]
    assert waits == [30, 60, 120, 240]


def test_the_breaker_opens_with_the_fifth_failure_and_not_before():
    assert not failing(SETTINGS.host_failures - 1).is_open
    opened = failing(SETTINGS.host_failures)
    assert opened.open_until == 1_000 + SETTINGS.host_rest_seconds


@pytest.mark.parametrize(("seconds", "opens"), [(600, True), (604, False)])
def test_failures_count_within_ten_minutes(seconds, opens):
    every = seconds // (SETTINGS.host_failures - 1)
    assert failing(SETTINGS.host_failures, every).is_open is opens


def test_an_open_breaker_rests_twice_as_long_each_time_up_to_twelve_hours():
    rests = [failing(SETTINGS.host_failures + more).rest_seconds for more in range(7)]
    assert rests == [1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 43_200]


@pytest.mark.parametrize(
    ("asked", "waits"), [(29, 30), (31, 31), (43_200, 43_200), (43_201, 43_200)]
)
def test_retry_after_lengthens_a_wait_up_to_twelve_hours(asked, waits):
    assert failing(1, retry_after=asked).open_until == 1_000 + waits


def test_a_host_that_has_had_enough_is_no_host_that_is_down():
    assert not failing(SETTINGS.host_failures, is_busy=True).is_open
    opened = failing(SETTINGS.host_failures)
    busy = after_failure(opened, Failure("e", 5_000, 60, is_busy=True), SETTINGS, EVEN)
    assert not busy.is_open


@given(st.integers(1, 60), st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 10**9))
def test_no_wait_is_longer_than_twelve_hours_and_its_jitter(times, every, dice, retry_after):
    host = Host()
    for number in range(times):
        now = number * every
        host = after_failure(host, Failure("e", now, retry_after), SETTINGS, dice)
        assert now < host.open_until <= now + 1.25 * SETTINGS.retry_seconds_max


def test_a_host_is_kept_as_it_was_written_down(store):
    host = Host(3, 10, 20, 30)
    store.write_now(hosts.note_failure, "https://a.example", host, "no answer")
    assert store.read_now(hosts.read_host, "https://a.example") == host
    store.write_now(hosts.note_answer, "https://a.example", 40)
    assert store.read_now(hosts.read_host, "https://a.example") == Host()


def test_hosts_are_forgotten_that_nothing_binds_to_us_and_that_do_not_rest(store):
    def prepare(conn):
        for name, until in (("idle", 100), ("resting", 101), ("waiting", 0), ("follower", 0)):
            values = {"origin": f"https://{name}", "failures": 1, "open_until": until}
            conn.execute(insert(peer_tables.hosts).values(**values))
        conn.execute(insert(deliveries).values(**delivery("https://waiting")))
        conn.execute(insert(followers).values(**follower("https://follower")))

    store.write_now(prepare)
    assert store.write_now(hosts.forget_hosts, 100, 10) == 1
    left = store.read_now(lambda c: set(c.execute(peer_tables.hosts.select()).scalars()))
    assert left == {"https://resting", "https://waiting", "https://follower"}


def delivery(origin):
    named = {"inbox": f"{origin}/inbox", "origin": origin, "activity_id": "https://us/1"}
    return named | {"body": "{}", "created": 0, "next_try": 0}


def follower(origin):
    named = {"feed": 0, "actor_id": f"{origin}/a", "origin": origin, "inbox": f"{origin}/inbox"}
    return named | {"state": "approved", "follow_id": f"{origin}/f", "created": 0}
