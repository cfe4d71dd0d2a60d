"""Actors that end: those of peers, and ours."""

import json

import pytest
from aiohttp import web

from cache.storage.feed_tables import deliveries, feed_pages, followers, follows, remote_actors
from cache.trust.notices import unread
from cache.verdict import Feed
from federation.actors.retiring import retire
from federation.errors import HasEnded
from federation.following.followers import reject
from federation.wire.composing import build_delete
from tests.fakes.instance import pictures
from tests.federation.actors.conftest import BOTH


def answer_with(status):
    async def answer(_request):
        return web.Response(status=status)

    return answer


async def followed_and_following(ours, peer):
    await ours.follow(peer)
    peer.publish([peer.row("a")])
    ours.clock.now += 50_000
    await peer.follow(ours)
    await ours.settle()
    assert ours.pictures() == pictures("a")


@BOTH
@pytest.mark.parametrize("status", [404, 410])
async def test_an_actor_that_is_gone_ends_its_follow_and_ours(alpha, peer, status):
    ours = alpha
    await followed_and_following(ours, peer)
    for actor_id, path in ((peer.id, "/actor"), (peer.feed_id(), "/feeds/clean")):
        peer.answers[path] = answer_with(status)
        assert await peer.send(ours, build_delete(actor_id)) == 202
    ours.clock.now += 700
    await ours.settle()
    assert (ours.rows(followers), ours.rows(follows), ours.pictures()) == ([], [], [])
    assert ours.rows(remote_actors) == []
    (notice,) = ours.store.read_now(unread)
    assert (notice.kind, notice.origin) == ("peer-gone", peer.base)


@pytest.mark.parametrize("status", [200, 401, 403, 500, 503])
async def test_a_delete_of_an_actor_that_is_still_there_or_cannot_be_asked_ends_nothing(
    ours, peer, clock, status
):
    await followed_and_following(ours, peer)
    if status != 200:
        peer.answers["/feeds/clean"] = answer_with(status)
    assert await peer.send(ours, build_delete(peer.feed_id())) == 202
    clock.now += 700
    await ours.settle()
    assert len(ours.rows(follows)) == 1
    assert ours.pictures() == pictures("a")


async def test_a_delete_by_a_stranger_is_answered_and_costs_nothing(ours, peer, third):
    await followed_and_following(ours, peer)
    assert await third.send(ours, build_delete(third.id)) == 202
    await ours.settle()
    assert third.requests == []


async def test_a_delete_of_another_actor_means_nothing(ours, peer, third):
    """Races with the unknown: Mastodon CVE-2026-33869."""
    await followed_and_following(ours, peer)
    await third.follow(ours)
    await ours.settle()
    forged = build_delete(third.id) | {"object": peer.feed_id()}
    peer.answers["/feeds/clean"] = answer_with(410)
    assert await third.send(ours, forged) == 202
    ours.clock.now += 700
    await ours.settle()
    assert len(ours.rows(follows)) == 1


async def test_a_rejection_outlives_the_actor_that_it_is_for(ours, peer, clock):
    await peer.follow(ours)
    await ours.settle()
    ours.store.write_now(reject, ours.federation._instance, peer.id, Feed.CLEAN)
    peer.answers["/actor"] = answer_with(410)
    clock.now += 700
    assert await peer.send(ours, build_delete(peer.id)) == 202
    clock.now += 700
    await ours.settle()
    assert [row.state for row in ours.rows(followers)] == ["rejected"]


# --- ours ------------------------------------------------------------------------------------
@BOTH
async def test_an_instance_that_ends_tells_its_followers_and_whom_it_follows(alpha, peer, third):
    ours = alpha
    await ours.follow(peer)
    await third.follow(ours)
    await ours.settle()
    assert ours.store.write_now(retire, ours.federation._instance) == 2
    await ours.settle()
    assert [(one["type"], one["actor"]) for one in peer.received[1:]] == [
        ("Delete", f"{ours.base}/actor")
    ]
    assert [(one["type"], one["object"]) for one in third.received] == [("Delete", ours.feed_id())]
    assert ours.rows(deliveries) == []
    assert ours.store.write_now(retire, ours.federation._instance) == 0


async def test_what_was_for_peers_answers_410_once_the_instance_ended(ours, peer):
    """The actors first: who gets a Delete looks at once, and believes what it sees then."""
    ours.store.write_now(retire, ours.federation._instance)
    for path, kind in (("/actor", "Application"), ("/feeds/clean", "Service")):
        status, headers, body = await peer.get(f"{ours.base}{path}")
        assert (status, headers["Content-Type"]) == (410, "application/activity+json")
        tombstone = json.loads(body)
        assert (tombstone["type"], tombstone["formerType"]) == ("Tombstone", kind)
        assert tombstone["id"] == f"{ours.base}{path}"
    for path in (
        "/actor/outbox",
        "/feeds/flagged/followers",
        f"/feeds/clean/{'0' * 32}/pages/1",
        "/.well-known/webfinger?resource=acct:clean@alpha.example",
    ):
        assert (await peer.get(f"{ours.base}{path}"))[0] == 410
    assert (await peer.follow(ours))[1] == 410
    assert (await peer.get(f"{ours.base}/.well-known/nodeinfo"))[0] == 200


async def test_an_instance_that_ended_seals_and_pulls_nothing_more(ours, peer):
    await ours.follow(peer)
    ours.store.write_now(retire, ours.federation._instance)
    ours.add_row("a")
    peer.publish([peer.row("b")])
    ours.clock.now += 50_000
    done = [await step() for step in ours.federation.steps().values()]
    assert done == [0, 0, 1, 0, 0]
    assert peer.received[-1]["type"] == "Delete"
    assert (ours.rows(feed_pages), ours.pictures()) == ([], [])


async def test_an_instance_that_ended_follows_nobody(ours, peer):
    ours.store.write_now(retire, ours.federation._instance)
    await ours.federation.announcer.run_once()
    with pytest.raises(HasEnded):
        await ours.follow(peer)


async def test_followers_of_an_instance_that_ended_forget_it(pair):
    beta = await pair.reader("beta")
    pair.alpha.add_row("a")
    await pair.settle(beta)
    assert beta.pictures() == pictures("a")
    pair.alpha.store.write_now(retire, pair.alpha.federation._instance)
    await pair.later(beta)
    await pair.later(beta)
    assert (beta.rows(follows), beta.pictures()) == ([], [])
