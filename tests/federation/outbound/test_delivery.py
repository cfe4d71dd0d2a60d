"""Delivery: order, retries, what is given up and what never is."""

import asyncio
import json

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cache.storage.feed_tables import deliveries, followers
from cache.verdict import Feed
from federation.outbound import delivery
from federation.outbound.delivery import backoff_seconds, enqueue
from federation.settings import FederationSettings
from federation.wire import activity, composing
from tests.fakes.peer import reply


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


async def test_a_follower_rejected_in_the_middle_of_a_turn_gets_no_more(ours, follower):
    async def reject(request):
        await request.read()
        await ours.federation.reject(follower.id, Feed.CLEAN)
        follower.answers.clear()
        return web.Response(status=202)

    follower.answers["/actor/inbox"] = reject
    await seal(ours, "a", "b", "c")
    await ours.settle()
    assert [one["type"] for one in follower.received] == ["Reject"]


@pytest.mark.parametrize("how", ["undo", 410])
async def test_a_rejection_is_not_shed_by_an_undo_nor_by_a_410(ours, peer, how):
    await ours.stop()
    ours.change(approve_clean=(f"127.0.0.1:{peer.port}",))
    await ours.start()
    follow, _ = await peer.follow(ours)
    await ours.settle()
    await ours.federation.reject(peer.id, Feed.CLEAN)
    if how == "undo":
        asked = activity.Follow(follow["id"], peer.id, follow["object"])
        await peer.send(ours, composing.build_undo(f"{peer.id}/undo/1", asked))
    else:
        peer.answers["/actor/inbox"] = answering(410)
    await ours.settle()
    await peer.follow(ours)
    await ours.settle()
    assert [one.state for one in ours.followers()] == ["rejected"]


async def test_asking_again_takes_over_the_new_inbox(ours, follower):
    document = follower.document("actor") | {"inbox": f"{follower.base}/moved"}

    async def moved(_request):
        return reply(document)

    follower.answers["/actor"] = moved
    ours.clock.now += 86_401
    await follower.follow(ours)
    await ours.settle()
    assert [row.inbox for row in ours.rows(followers)] == [f"{follower.base}/moved"]


async def test_an_answer_is_written_down_however_many_pages_wait(ours, follower, monkeypatch):
    """A page that is left out is pulled; an Accept that is left out would never come."""
    monkeypatch.setattr(delivery, "MAX_WAITING", 2)
    await seal(ours, *"abc")
    await ours.federation.approve(follower.id, Feed.CLEAN)
    kinds = [json.loads(row.body)["type"] for row in ours.rows(deliveries)]
    assert kinds == ["Create", "Create", "Accept"]


async def test_so_many_rows_wait_for_an_inbox_and_no_more(ours, follower, clock, monkeypatch):
    monkeypatch.setattr(delivery, "MAX_WAITING", 3)
    await seal(ours, *"abcd")
    assert len(ours.rows(deliveries)) == 3
    await ours.federation.reject(follower.id, Feed.CLEAN)  # its answer is not lost by that
    await ours.settle()
    assert [one["type"] for one in follower.received] == ["Reject"]


async def test_a_blocked_domain_is_not_delivered_to_and_holds_nothing_up(ours, follower):
    await ours.stop()
    ours.change(blocked_domains=("127.0.0.1",))
    await ours.start()
    await seal(ours, "a", "b")
    await ours.settle()
    assert follower.requests == []
    assert [row.state for row in ours.rows(deliveries)] == ["dropped", "dropped"]


async def test_what_was_dropped_is_forgotten_with_the_ids(ours, follower, clock):
    follower.answers["/actor/inbox"] = answering(404)
    await seal(ours, "a")
    await ours.settle()
    assert [row.body for row in ours.rows(deliveries)] == [""]
    clock.now += ours.settings.inbox_keep_seconds
    await ours.federation._tidy()
    assert len(ours.rows(deliveries)) == 1
    clock.now += 1
    await ours.federation._tidy()
    assert ours.rows(deliveries) == []


async def test_a_slow_host_has_its_turn_cut_short(ours, follower):
    await ours.stop()
    ours.change(fetch_seconds=0.2)
    await ours.start()

    async def slow(request):
        await asyncio.sleep(0.15)
        await request.read()
        return web.Response(status=202)

    follower.answers["/actor/inbox"] = slow
    await seal(ours, *"abcde")
    assert await ours.federation.deliverer.run_once() < 5


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
