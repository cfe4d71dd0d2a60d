"""Who is told that a document of ours changed, how often, and what a reader makes of it."""

import asyncio
import json

import pytest

from cache.storage.feed_tables import deliveries, followers, inbox, remote_actors
from cache.verdict import Feed
from federation.signing.keystore import HTTP, rotate
from federation.wire.composing import build_update
from tests.federation.actors.conftest import BOTH
from tests.waiting import PATIENCE


def updates(ours):
    """Return (inbox, actor) of each Update that waits."""
    bodies = [(row.inbox, json.loads(row.body)) for row in ours.rows(deliveries)]
    return [(to, body["actor"]) for to, body in bodies if body["type"] == "Update"]


async def test_the_first_document_is_told_nobody(ours, peer):
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.federation.announcer.run_once()
    assert updates(ours) == []


@BOTH
async def test_a_change_is_told_once_to_the_approved_followers_of_that_actor(alpha, peer, third):
    ours = alpha
    for one in (peer, third):
        await one.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    ours.store.write_now(rotate, "clean", ours.clock())
    assert await ours.federation.announcer.run_once() == 1
    assert updates(ours) == [(f"{peer.base}/actor/inbox", ours.feed_id())]
    ours.store.write_now(rotate, "flagged", ours.clock())
    assert await ours.federation.announcer.run_once() == 0
    await ours.settle()
    (told,) = [one for one in peer.received if one["type"] == "Update"]
    assert told["object"]["id"] == ours.feed_id()
    assert len(told["object"]["assertionMethod"]) == 2
    assert told["@context"] == ours.federation._instance.document("clean")["@context"]
    assert third.received == []


async def test_a_second_change_replaces_the_update_that_waits(ours, peer):
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    for _ in range(3):
        ours.store.write_now(rotate, "clean", ours.clock())
        ours.clock.now += 1
        assert await ours.federation.announcer.run_once() == 1
    assert len(updates(ours)) == 1
    (row,) = ours.rows(deliveries)
    assert len(json.loads(row.body)["object"]["assertionMethod"]) == 4


async def test_two_processes_on_one_database_tell_a_change_once(ours, peer):
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    other = type(ours.federation.announcer)(ours.store, ours.federation._instance)
    ours.store.write_now(rotate, "clean", ours.clock())
    assert [await ours.federation.announcer.run_once(), await other.run_once()] == [1, 0]


async def test_a_running_serve_uses_and_tells_a_new_key_without_a_restart(ours, peer):
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.stop()
    ours.change(poll_seconds=0.01)
    await ours.start()
    await ours.federation.start()
    ours.store.write_now(rotate, "clean", ours.clock())
    async with asyncio.timeout(PATIENCE):  # so that a failing test ends
        while [one["type"] for one in peer.received] != ["Accept", "Update"]:
            await asyncio.sleep(0.01)
    assert len(ours.federation._instance.keys.shown[Feed.CLEAN]) == 2


async def test_an_update_of_a_stranger_costs_nothing(ours, peer):
    activity = build_update(f"{peer.id}#updates/1", peer.document("actor"))
    assert await peer.send(ours, activity) == 202
    assert (ours.rows(inbox), peer.requests) == ([], [])


async def test_an_update_makes_us_fetch_the_actor_once_and_deliver_where_it_says(
    ours, peer, clock, monkeypatch
):
    await peer.follow(ours)
    await ours.settle()
    moved = peer.document("actor") | {"inbox": f"{peer.base}/elsewhere"}
    monkeypatch.setattr(peer, "document", lambda _: moved)
    clock.now += 700
    peer.requests.clear()
    for n in range(3):
        activity = build_update(f"{peer.id}#updates/{n}", moved)
        assert await peer.send(ours, activity) == 202
        await ours.settle()
    assert peer.requests == [("GET", "/actor")]
    assert [row.inbox for row in ours.rows(followers)] == [f"{peer.base}/elsewhere"]


async def test_an_update_within_the_limit_is_looked_after_as_soon_as_it_may_be(
    ours, peer, clock, monkeypatch
):
    """It holds up nothing that comes after it."""
    await peer.follow(ours)
    await ours.settle()
    moved = peer.document("actor") | {"inbox": f"{peer.base}/elsewhere"}
    monkeypatch.setattr(peer, "document", lambda _: moved)
    peer.requests.clear()
    assert await peer.send(ours, build_update(f"{peer.id}#updates/1", moved)) == 202
    await ours.settle()
    assert {row.state for row in ours.rows(inbox)} == {"done"}
    assert peer.requests == []
    assert [row.fetched for row in ours.rows(remote_actors)] == [0]
    clock.now += 700
    await peer.follow(ours, Feed.FLAGGED)
    await ours.settle()
    assert next(row.inbox for row in ours.rows(followers)) == f"{peer.base}/elsewhere"


@pytest.mark.parametrize("purpose", [HTTP, "clean"])
async def test_what_an_update_says_is_not_believed_but_what_the_actor_answers(
    ours, peer, clock, purpose
):
    await peer.follow(ours)
    await ours.settle()
    clock.now += 700
    claimed = peer.document("actor") | {"inbox": "https://evil.example/inbox"}
    assert await peer.send(ours, build_update(f"{peer.id}#updates/{purpose}", claimed)) == 202
    await ours.settle()
    assert [row.inbox for row in ours.rows(followers)] == [f"{peer.id}/inbox"]
