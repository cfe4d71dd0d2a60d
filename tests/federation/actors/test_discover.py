"""From a handle or URL to a feed: both directions agree, or one sentence says what is wrong."""

import json

import pytest
from aiohttp import web

from cache.settings import PeerDefaults
from cache.verdict import Feed
from federation.actors.discover import find_feed
from federation.errors import FederationError
from tests.fakes.peer import reply


async def find(ours, text):
    parts = ours.federation
    return await find_feed(text, parts.client, parts.actors, ours.settings)


@pytest.mark.parametrize("form", ["clean@{host}", "@clean@{host}", "{base}/feeds/clean"])
async def test_a_feed_is_found_by_handle_and_by_url(ours, peer, form):
    host = f"127.0.0.1:{peer.port}"
    found = await find(ours, form.format(host=host, base=peer.base))
    assert (found.actor.id, found.feed, found.handle) == (
        peer.feed_id(),
        Feed.CLEAN,
        f"clean@{host}",
    )


@pytest.mark.parametrize(
    "text", ["", "clean", "clean@", "@", "a b@example.com", "clean@@", "clean@a/b", "ftp://x/y"]
)
async def test_what_is_no_handle_is_said_in_one_sentence(ours, text):
    with pytest.raises(FederationError, match=r"a handle looks like clean@example\.com"):
        await find(ours, text)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            404,
            "{host} knows nobody called clen@{host}; feeds are called clean@{host}, flagged@{host}",
        ),
        (410, "{host} answers 410: clen@{host} is gone for good"),
        (503, "answered 503"),
    ],
)
async def test_a_handle_that_nobody_has_is_said_to_be_misspelt_or_gone(ours, peer, status, said):
    async def nobody(_request):
        return web.Response(status=status)

    peer.answers["/.well-known/webfinger"] = nobody
    host = f"127.0.0.1:{peer.port}"
    with pytest.raises(FederationError, match=said.format(host=host)):
        await find(ours, f"clen@{host}")


async def test_the_instance_actor_is_not_a_feed(ours, peer):
    with pytest.raises(FederationError, match="not the feed of a Fediverdict"):
        await find(ours, f"actor@127.0.0.1:{peer.port}")


async def test_an_actor_that_calls_itself_otherwise_is_refused(ours, peer):
    async def other(_request):
        return reply(peer.document("clean") | {"preferredUsername": "other"})

    peer.answers["/feeds/clean"] = other
    with pytest.raises(FederationError, match="does not call itself"):
        await find(ours, f"clean@127.0.0.1:{peer.port}")


async def test_webfinger_that_names_an_actor_elsewhere_is_refused(ours, peer, third):
    async def elsewhere(request):
        links = [{"rel": "self", "type": "application/activity+json", "href": third.feed_id()}]
        document = {"subject": request.query["resource"], "links": links}
        return reply(document, "application/jrd+json")

    peer.answers["/.well-known/webfinger"] = elsewhere
    with pytest.raises(FederationError, match="another origin"):
        await find(ours, f"clean@127.0.0.1:{peer.port}")
    assert third.requests == []


async def test_an_actor_document_of_another_id_is_refused_and_not_remembered(ours, peer):
    async def other(_request):
        text = json.dumps(peer.document("clean")).replace("/feeds/clean", "/feeds/other")
        return reply(json.loads(text))

    peer.answers["/feeds/clean"] = other
    with pytest.raises(FederationError, match="not that of the actor asked for"):
        await find(ours, f"clean@127.0.0.1:{peer.port}")
    assert await ours.federation.actors.known(peer.feed_id()) is None


async def test_an_actor_with_an_inbox_elsewhere_is_refused(ours, peer, third):
    async def other(_request):
        return reply(peer.document("clean") | {"inbox": f"{third.base}/inbox"})

    peer.answers["/feeds/clean"] = other
    with pytest.raises(FederationError, match="not on the origin"):
        await find(ours, f"clean@127.0.0.1:{peer.port}")


async def test_following_twice_asks_twice_and_keeps_one_row(ours, peer):
    for _ in range(2):
        name = f"clean@127.0.0.1:{peer.port}"
        assert await ours.federation.follow(name, PeerDefaults()) == "pending"
        await ours.settle()
    assert len({one["id"] for one in peer.received}) == 2
    assert ours.follow_row().state == "pending"
