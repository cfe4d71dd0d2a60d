"""Delivery: order, retries, what is given up and what never is."""

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cache.feed_tables import deliveries, followers
from cache.verdict import Feed
from federation import delivery
from federation.delivery import backoff_seconds, enqueue
from federation.settings import FederationSettings


@pytest.fixture
async def follower(ours, peer):
    """The peer, as an approved follower of our clean feed that has had its Accept."""
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    peer.received.clear()
    peer.requests.clear()
    return peer


def answering(status, **headers):
    async def answer(request):
        await request.read()
        return web.Response(status=status, headers=headers)

    return answer


async def seal(ours, *names):
    for name in names:
        ours.add_row(name)
        await ours.federation.feeds.seal()


async def test_pages_arrive_in_order_and_their_rows_are_gone(ours, follower):
    await seal(ours, "a", "b", "c")
    await ours.settle()
    assert [one["object"]["page"] for one in follower.received] == [1, 2, 3]
    assert ours.rows(deliveries) == []


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503, 302])
async def test_a_failure_that_may_pass_is_tried_again_and_stops_what_follows(
    ours, follower, clock, status
):
    follower.answers["/actor/inbox"] = answering(status)
    await seal(ours, "a", "b")
    await ours.settle()
    assert len(follower.requests) == 1
    assert [row.tries for row in ours.rows(deliveries)] == [1, 0]
    follower.answers.clear()
    clock.now += 100
    await ours.settle()
    assert [one["object"]["page"] for one in follower.received] == [1, 2]


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_refusal_for_good_is_kept_with_its_error_and_the_next_is_sent(
    ours, follower, status
):
    follower.answers["/actor/inbox"] = answering(status)
    await seal(ours, "a")
    await ours.settle()
    follower.answers.clear()
    await seal(ours, "b")
    await ours.settle()
    row = ours.rows(deliveries)[0]
    assert row.state == "dropped"
    assert row.error.endswith(f"answered {status}")
    assert [one["object"]["page"] for one in follower.received] == [2]
    assert len(ours.rows(followers)) == 1


async def test_410_removes_the_follower(ours, follower):
    follower.answers["/actor/inbox"] = answering(410)
    await seal(ours, "a")
    await ours.settle()
    assert ours.rows(followers) == []


async def test_retry_after_is_honoured(ours, follower, clock):
    follower.answers["/actor/inbox"] = answering(503, **{"Retry-After": "5000"})
    await seal(ours, "a")
    await ours.settle()
    assert ours.rows(deliveries)[0].next_try == clock.now + 5_000


async def test_after_the_last_try_the_row_is_kept_as_dropped(ours, follower, clock):
    follower.answers["/actor/inbox"] = answering(500)
    await seal(ours, "a")
    for _ in range(ours.settings.delivery_tries):
        await ours.settle()
        clock.now += 60_000
    row = ours.rows(deliveries)[0]
    assert (row.state, row.tries) == ("dropped", ours.settings.delivery_tries)
    assert len(follower.requests) == ours.settings.delivery_tries


async def test_a_host_that_is_down_does_not_hold_up_another(ours, follower, third):
    await third.follow(ours)
    await ours.settle()
    await ours.federation.approve(third.id, Feed.CLEAN)
    await ours.settle()
    third.received.clear()
    await follower.server.close()
    await seal(ours, "a")
    await ours.settle()
    assert [one["type"] for one in third.received] == ["Create"]


async def test_a_rejected_follower_does_not_get_what_waited(ours, follower, clock):
    follower.answers["/actor/inbox"] = answering(500)
    await seal(ours, "a")
    await ours.settle()
    await ours.federation.reject(follower.id, Feed.CLEAN)
    follower.answers.clear()
    clock.now += 100
    await ours.settle()
    assert [one["type"] for one in follower.received] == ["Reject"]


async def test_enqueuing_the_same_activity_twice_sends_it_once(ours, peer):
    sent = {"id": f"{ours.base}/1", "type": "Like", "actor": f"{ours.base}/actor"}
    for _ in range(2):
        await ours.store.write(enqueue, f"{peer.base}/inbox", sent, ours.clock())
    await ours.settle()
    assert len(peer.received) == 1


async def test_a_crash_after_sending_sends_again_and_never_less(ours, follower, monkeypatch):
    def crash(*_args):
        raise RuntimeError("killed")

    await seal(ours, "a")
    with monkeypatch.context() as patched:
        patched.setattr(delivery, "_delivered", crash)
        with pytest.raises(RuntimeError):
            await ours.federation.deliverer.run_once()
    await ours.stop()
    await ours.start()
    await ours.settle()
    ids = [one["id"] for one in follower.received]
    assert len(ids) == 2
    assert len(set(ids)) == 1


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_waits_grow_to_their_limit(tries, dice):
    settings = FederationSettings()
    wait = backoff_seconds(tries, settings, dice)
    assert 1 <= wait <= 1.25 * settings.retry_seconds_max
    assert (
        backoff_seconds(tries, settings, 1) <= 5 / 3 * backoff_seconds(tries + 1, settings, 0) + 1
    )
