"""Remembered actors: how often they are fetched, and how many are kept."""

import asyncio

import pytest
from aiohttp import web

from cache.storage.feed_tables import remote_actors
from cache.verdict import Feed
from federation.errors import FederationError, TooManyRequests
from tests.fakes.peer import reply, rsa_of


async def test_many_who_ask_at_once_share_one_fetch(ours, peer):
    actors = ours.federation.actors
    found = await asyncio.gather(*(actors.get(peer.id) for _ in range(5)))
    assert {one.id for one in found} == {peer.id}
    assert peer.requests == [("GET", "/actor")]


async def test_a_failure_is_remembered_for_ten_minutes(ours, peer, clock):
    async def broken(_request):
        return reply({}, "text/html")

    peer.answers["/actor"] = broken
    with pytest.raises(FederationError):
        await ours.federation.actors.get(peer.id)
    peer.answers.clear()
    clock.now += 599
    with pytest.raises(TooManyRequests):
        await ours.federation.actors.get(peer.id)
    clock.now += 1
    assert (await ours.federation.actors.get(peer.id)).id == peer.id


async def test_so_many_tries_are_kept_in_memory_and_the_oldest_go_first(ours, peer, monkeypatch):
    monkeypatch.setattr("federation.actors.actors._REMEMBERED_TRIES", 2)
    actors = ours.federation.actors
    asked = [peer.id, peer.feed_id(), peer.feed_id(Feed.FLAGGED)]
    for actor_id in asked:
        await actors.get(actor_id)
    assert list(actors._tried) == asked[1:]


async def test_an_actor_that_redirects_is_refused(ours, peer):
    async def away(_request):
        return web.Response(status=302, headers={"Location": "/feeds/clean"})

    peer.answers["/actor"] = away
    with pytest.raises(FederationError, match="not its id"):
        await ours.federation.actors.get(peer.id)


async def test_a_key_that_a_peer_took_back_counts_for_a_day_at_most(ours, peer, clock):
    first = await ours.federation.actors.get(peer.id)
    peer.rsa = rsa_of("rotated")
    clock.now += 86_399
    again = await ours.federation.actors.get(peer.id)
    assert again.rsa_keys == first.rsa_keys
    clock.now += 1
    renewed = await ours.federation.actors.get(peer.id)
    assert renewed.rsa_keys != first.rsa_keys


async def test_an_actor_that_cannot_be_asked_stays_as_it_was(ours, peer, clock):
    first = await ours.federation.actors.get(peer.id)
    await peer.server.close()
    clock.now += 86_400
    assert await ours.federation.actors.get(peer.id) == first


async def test_only_so_many_actors_are_kept_and_followers_always(ours, peer):
    await ours.stop()
    ours.change(remote_actors=3)
    await ours.start()
    await peer.follow(ours)
    await ours.settle()
    for number in range(6):
        ours.clock.now += 1
        path = f"/user{number}"

        async def user(request):
            text = peer.document("actor")
            name = f"{peer.base}{request.path}"
            key = text["publicKey"] | {"id": f"{name}#main-key", "owner": name}
            return reply(text | {"id": name, "publicKey": key})

        peer.answers[path] = user
        await ours.federation.actors.get(f"{peer.base}{path}")
    kept = {row.actor_id for row in ours.rows(remote_actors)}
    assert kept == {peer.id, f"{peer.base}/user4", f"{peer.base}/user5"}
