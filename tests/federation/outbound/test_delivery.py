"""Delivery: order, retries, what is given up and what never is."""

import asyncio
import json
import secrets

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cache.storage.feed_tables import deliveries, followers
from cache.verdict import Feed
from federation.outbound.backoff import backoff_seconds
from federation.outbound.delivery import AWAY_SECONDS, ROWS_A_TURN, UNSIGNED_TRIES
from federation.outbound.waiting import PAGES_WAITING, enqueue
from federation.settings import FederationSettings
from federation.wire import activity, composing
from tests.fakes.peer import reply
from tests.waiting import PATIENCE


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


KNOCKS = 2  # requests of one try: with either kind of signature


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


@pytest.mark.parametrize("status", [401, 408, 500, 503, 302])
async def test_a_failure_that_may_pass_is_tried_again_and_stops_what_follows(
    ours, follower, clock, status
):
    follower.answers["/actor/inbox"] = answering(status)
    await seal(ours, "a", "b")
    await ours.settle()
    assert len(follower.requests) <= KNOCKS
    assert [row.tries for row in ours.rows(deliveries)] == [1, 0]
    follower.answers.clear()
    clock.now += 100
    await ours.settle()
    assert [one["object"]["page"] for one in follower.received] == [1, 2]


async def test_a_host_that_has_had_enough_is_told_once_how_far_the_feed_is(ours, follower, clock):
    follower.answers["/actor/inbox"] = answering(429, **{"Retry-After": "60"})
    await seal(ours, "a", "b")
    await ours.settle()
    clock.now += 59
    follower.answers.clear()
    await ours.settle()
    assert follower.received == []
    clock.now += 1
    await ours.settle()
    assert [one["object"]["page"] for one in follower.received] == [2]
    assert "rows" not in follower.received[0]["object"]


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


async def test_after_the_last_try_the_row_is_kept_as_dropped(ours, peer, clock):
    peer.answers["/inbox"] = answering(500)
    await send(ours, peer, 1)
    for _ in range(ours.settings.delivery_tries):
        assert [row.state for row in ours.rows(deliveries)] == ["waiting"]
        await ours.settle()
        clock.now += 60_000
    await ours.settle()
    row = ours.rows(deliveries)[0]
    assert (row.state, row.tries) == ("dropped", ours.settings.delivery_tries)
    assert len(peer.requests) <= KNOCKS * ours.settings.delivery_tries


async def test_what_a_peer_calls_unsigned_is_given_up_sooner(ours, follower, clock):
    follower.answers["/actor/inbox"] = answering(401)
    await seal(ours, "a")
    for _ in range(UNSIGNED_TRIES):
        assert [row.state for row in ours.rows(deliveries)] == ["waiting"]
        await ours.settle()
        clock.now += 60_000
    assert [row.state for row in ours.rows(deliveries)] == ["dropped"]


async def test_a_page_waits_for_a_host_that_is_away_for_a_month_and_no_longer(
    ours, follower, clock
):
    follower.answers["/actor/inbox"] = answering(500)
    await seal(ours, "a")
    sealed = clock.now
    while clock.now < sealed + AWAY_SECONDS:
        await ours.settle()
        assert [row.state for row in ours.rows(deliveries)] == ["waiting"]
        clock.now = min(clock.now + 150_000, sealed + AWAY_SECONDS)
    clock.now += 60_000
    await ours.settle()
    assert [row.state for row in ours.rows(deliveries)] == ["dropped"]


@pytest.mark.parametrize("hours", [6, 16])  # after 16, no wait of the host is running any more
async def test_a_host_that_was_away_for_a_week_is_caught_up_with_one_message(
    ours, follower, clock, hours
):
    """The newest page of the feed, announced; the follower pulls what it missed."""
    follower.answers["/actor/inbox"] = answering(503)
    pages = 7 * 24 // hours
    for name in range(pages):
        await seal(ours, str(name))
        await ours.settle()
        clock.now += hours * 3_600
        assert len(ours.rows(deliveries)) <= PAGES_WAITING
    follower.answers.clear()
    clock.now += 60_000
    await ours.settle()
    assert [one["object"]["page"] for one in follower.received] == [pages]
    assert "rows" not in follower.received[0]["object"]
    assert ours.rows(deliveries) == []


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


async def test_eight_pages_wait_for_an_inbox_and_the_ninth_makes_them_one_announcement(
    ours, follower
):
    await seal(ours, *"abcdefgh")
    assert [is_inline(row) for row in ours.rows(deliveries)] == [True] * PAGES_WAITING
    await seal(ours, "i")
    assert [is_inline(row) for row in ours.rows(deliveries)] == [False]
    await ours.settle()
    (sent,) = follower.received
    assert sent["object"]["url"] == f"{sent['object']['id'].removesuffix('#announce')}"
    assert sent["object"]["page"] == 9


def is_inline(row):
    return "rows" in json.loads(row.body)["object"]


async def test_an_answer_is_written_down_however_many_pages_wait(ours, follower):
    """A page that is left out is pulled; an Accept that is left out would never come."""
    await seal(ours, *"abcdefgh")
    await ours.federation.approve(follower.id, Feed.CLEAN)
    await seal(ours, "i")
    kinds = [json.loads(row.body)["type"] for row in ours.rows(deliveries)]
    assert kinds == ["Accept", "Create"]


async def test_rows_past_the_limit_of_a_host_are_dropped_oldest_first(ours, peer):
    await ours.stop()
    ours.change(delivery_rows_per_host=3)
    await ours.start()
    await send(ours, peer, 3)
    await ours.settle()
    assert len(peer.received) == 3
    await send(ours, peer, 4)
    await ours.settle()
    assert [one["id"][-1] for one in peer.received[3:]] == ["1", "2", "3"]
    (dropped,) = ours.rows(deliveries)
    assert dropped.error == "more than 3 rows wait for this host"


async def test_rows_past_the_limit_in_all_are_dropped_of_failing_hosts_first(ours, peer, third):
    await ours.stop()
    ours.change(delivery_rows=4)
    await ours.start()
    peer.answers["/inbox"] = answering(500)
    await send(ours, third, 2)
    await send(ours, peer, 2)
    await ours.settle()
    assert [row.state for row in ours.rows(deliveries)] == ["waiting", "waiting"]
    third.received.clear()
    await send(ours, third, 3, "more")
    await ours.settle()
    assert [row.state for row in ours.rows(deliveries)] == ["dropped", "waiting"]
    assert len(third.received) == 3


async def send(ours, to, count, name="note"):
    """Write activities down that are no pages."""
    for number in range(count):
        sent = {"id": f"{to.base}/{name}/{number}", "type": "Like", "actor": f"{ours.base}/actor"}
        sent["id"] += f"-{secrets.token_hex(4)}-{number}"
        await ours.store.write(enqueue, f"{to.base}/inbox", sent, ours.clock())


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


async def test_a_slow_host_has_its_turn_cut_short(ours, peer, third, monkeypatch):
    """With room for one host at a time, the slow one gives way before all of its rows are sent."""
    loop, slept = asyncio.get_running_loop(), [0.0]
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + slept[0])
    await ours.stop()
    ours.change(fetch_seconds=PATIENCE, delivery_hosts=1)
    await ours.start()
    heard: list[str] = []
    hears(peer, "slow", heard, lambda: slept.append(slept.pop() + PATIENCE / 3))
    hears(third, "quick", heard)
    await send(ours, peer, 5)
    await send(ours, third, 1)
    await ours.settle()
    assert sorted(heard) == ["quick", *["slow"] * 5]
    assert heard.index("quick") < 5


async def test_a_host_with_much_to_get_has_its_turn_cut_short(ours, peer, third):
    await ours.stop()
    ours.change(delivery_hosts=1)
    await ours.start()
    heard: list[str] = []
    hears(peer, "much", heard)
    hears(third, "little", heard)
    await send(ours, peer, ROWS_A_TURN + 1)
    await send(ours, third, 1)
    await ours.settle()
    assert len(heard) == ROWS_A_TURN + 2
    assert heard.index("little") <= ROWS_A_TURN


def hears(peer, name, heard, waits=lambda: None):
    """Note down in `heard` when the peer gets something, which it waits with."""

    async def answer(_request):
        waits()
        heard.append(name)
        return web.Response(status=202)

    peer.answers["/inbox"] = answer


async def test_enqueuing_the_same_activity_twice_sends_it_once(ours, peer):
    sent = {"id": f"{ours.base}/1", "type": "Like", "actor": f"{ours.base}/actor"}
    for _ in range(2):
        await ours.store.write(enqueue, f"{peer.base}/inbox", sent, ours.clock())
    await ours.settle()
    assert len(peer.received) == 1


async def test_a_crash_after_sending_sends_again_and_never_less(ours, follower):
    """The peer takes the page, and we are gone before its answer comes."""
    await seal(ours, "a")

    async def take_and_kill(request):
        follower.received.append(json.loads(await request.read()))
        sending.cancel()
        return web.Response(status=202)

    follower.answers["/actor/inbox"] = take_and_kill
    sending = asyncio.create_task(ours.federation.deliverer.run_once())
    with pytest.raises(asyncio.CancelledError):
        await sending
    follower.answers.clear()
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
