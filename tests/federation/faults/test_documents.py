"""Faults of reading: whose document it is, under which name and type, and what it says twice."""

import asyncio
import json

import pytest
from aiohttp import web

from federation import addresses
from federation.wire import composing, proof
from tests.fakes.instance import pictures
from tests.fakes.peer import ACTIVITY, reply
from tests.federation.faults.letters import write


def create(peer, name="a"):
    return composing.build_create(peer.publish([peer.row(name)], keep=False))


async def status_of(letter, peer):
    return (await letter.send(peer))[0]


async def follow_with(ours, peer, document, content_type=ACTIVITY):
    """Let a peer whose actor is `document` (or a handler) follow; returns the status."""

    async def answer(request):
        return await document(request) if callable(document) else reply(document, content_type)

    peer.answers["/actor"] = answer
    ours.clock.now += 601  # the actor was asked for lately
    follow = composing.build_follow(f"{peer.id}/follows/1", peer.id, ours.feed_id())
    return await peer.send(ours, follow)


# --- origin not checked -----------------------------------------------------------------------
def _foreign_activities(peer, third):
    """Activities of the peer, parts of which stand on the origin of the third."""
    theirs, mine = create(third), create(peer)
    page = mine["object"]
    stub = composing.announced(mine)
    return {
        "id": mine | {"id": f"{third.base}/1"},
        "page of another": theirs | {"actor": mine["actor"], "id": mine["id"]},
        "page said to be mine": mine
        | {"object": theirs["object"] | {"attributedTo": peer.feed_id()}},
        "page of mine said to be theirs": mine
        | {"object": page | {"attributedTo": third.feed_id()}},
        "url of the stub": stub | {"object": stub["object"] | {"url": f"{third.base}/p"}},
        "stub of another": composing.announced(theirs) | {"actor": mine["actor"], "id": mine["id"]},
    }


@pytest.mark.fault("origin not checked")
async def test_an_activity_whose_parts_stand_elsewhere_is_refused(
    followed, peer, third, scheme, nothing_comes_of
):
    """Mastodon CVE-2024-23832: a document could stand for an actor of another host."""
    made = _foreign_activities(peer, third)
    async with nothing_comes_of(followed, peer, third):
        seen = {}
        for name, sent in made.items():
            seen[name] = await status_of(write(scheme, peer, followed, sent), peer)
        assert seen == dict.fromkeys(made, 401)


def _foreign_actors(peer, third):
    own = peer.document("actor")
    elsewhere = f"{third.base}/elsewhere"
    key = own["publicKey"]
    multikey = {"id": f"{third.id}#k", "type": "Multikey", "controller": peer.id}
    return {
        "id": own | {"id": third.id},
        "inbox": own | {"inbox": elsewhere},
        "outbox": own | {"outbox": elsewhere},
        "followers": own | {"followers": elsewhere},
        "shared inbox": own | {"endpoints": {"sharedInbox": elsewhere}},
        "id of the key": own | {"publicKey": key | {"id": f"{third.id}#main-key"}},
        "id of a proof key": own | {"assertionMethod": [multikey | {"publicKeyMultibase": "z6Mk"}]},
        "the whole": third.document("actor"),
    }


@pytest.mark.fault("origin not checked")
async def test_an_actor_whose_parts_stand_elsewhere_is_not_taken(
    ours, peer, third, nothing_comes_of
):
    """Mastodon CVE-2024-23832: the host that answered was not the host of the document's id."""
    made = _foreign_actors(peer, third)
    async with nothing_comes_of(ours, peer, third, fetches=len(made)):
        seen = {name: await follow_with(ours, peer, actor) for name, actor in made.items()}
        assert seen == dict.fromkeys(made, 401)
        assert third.requests == []
    assert await follow_with(ours, peer, peer.document("actor")) == 202


@pytest.mark.fault("origin not checked")
async def test_an_actor_behind_a_redirect_is_not_taken(ours, peer, third, nothing_comes_of):
    """Mastodon CVE-2024-23832: a redirect led to the document of another host."""
    there = [third.id, f"{third.base}/elsewhere", f"//127.0.0.1:{third.port}/actor", "/other"]
    peer.answers["/other"] = lambda _: _said(peer.document("actor"))

    def redirecting(to):
        async def answer(_request):
            return web.Response(status=302, headers={"Location": to})

        return answer

    async with nothing_comes_of(ours, peer, third, fetches=len(there) + 1):
        for to in there:
            assert await follow_with(ours, peer, redirecting(to)) == 401, to
        assert third.requests == []


async def _said(document):
    return reply(document)


# --- content type not checked -----------------------------------------------------------------
TYPES = (
    *("text/plain", "image/png", "application/json", "application/octet-stream", "text/html"),
    *("application/ld+json", 'application/ld+json; profile="https://x.example/"'),
    *("application/activity+jsonx", "image/png; application/activity+json"),
)


@pytest.mark.fault("content type not checked")
async def test_an_upload_that_is_served_as_a_picture_is_no_actor(ours, peer, nothing_comes_of):
    """Mastodon CVE-2024-25623: what a user had uploaded was taken for an actor of the host."""
    async with nothing_comes_of(ours, peer, fetches=len(TYPES)):
        seen = {one: await follow_with(ours, peer, peer.document("actor"), one) for one in TYPES}
        assert seen == dict.fromkeys(TYPES, 415)
    assert await follow_with(ours, peer, peer.document("actor")) == 202


@pytest.mark.fault("content type not checked")
async def test_an_activity_under_another_content_type_is_refused(
    followed, peer, scheme, nothing_comes_of
):
    """Mastodon CVE-2024-25623, the way in."""
    async with nothing_comes_of(followed, peer):
        seen = {}
        for one in TYPES:
            letter = write(scheme, peer, followed, create(peer)).spoilt(Content_Type=one)
            seen[one] = await status_of(letter, peer)
        assert seen == dict.fromkeys(TYPES, 415)


@pytest.mark.fault("content type not checked")
async def test_a_content_type_of_any_bytes_is_refused(ours, nothing_comes_of):
    """Found by fuzzing: bytes that are UTF-8 beside some that are not ended in a 500."""
    async with nothing_comes_of(ours):
        for text in (
            b"applicatio\x9c\xd0\x93\x9bn",
            b"\xff",
            b"application/activity+json\xd0\x93\x9c",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
            writer.write(b"POST /inbox HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: ")
            writer.write(text + b"\r\nContent-Length: 2\r\n\r\n{}")
            assert (await reader.readline()).split()[1] == b"415", text
            writer.close()


@pytest.mark.fault("content type not checked")
@pytest.mark.parametrize("what", ["outbox", "page"])
async def test_a_feed_under_another_content_type_is_not_read(followed, peer, what, clock):
    """Mastodon CVE-2024-25623, for what is pulled."""
    page = peer.publish([peer.row("a")])
    url = page["id"] if what == "page" else addresses.outbox_url(peer.feed_id())
    document = page if what == "page" else peer.outbox(addresses.FEEDS["clean"])

    async def as_picture(_request):
        return reply(document, "image/png")

    peer.answers[url.removeprefix(peer.base)] = as_picture
    clock.now += followed.settings.pull_seconds
    await followed.settle()
    assert followed.pictures() == []
    assert "image/png" in followed.follow_row().error


# --- host spelled in other ways ---------------------------------------------------------------
SPELLED = {
    "upper case": "https://BETA.example",
    "scheme in upper case": "HTTPS://beta.example",
    "trailing dot": "https://beta.example.",
    "default port": "https://beta.example:443",
    "port with a zero": "https://beta.example:0443",
    "empty port": "https://beta.example:",
    "user": "https://beta.example@beta.example",
    "user that looks like the host": "https://beta.example@evil.example",
    "user and password": "https://a:b@beta.example",
    "percent-encoding": "https://b%65ta.example",
    "not ASCII": "https://betä.example",
    "full width": "https://\uff42eta.example",
    "dot of another script": "https://beta\u3002example",
    "backslash": "https://evil.example\\@beta.example",
    "space": "https://beta.example ",
    "tab": "https://beta.\texample",
    "fragment": "https://evil.example#@beta.example",
    "no slashes": "https:beta.example",
    "three slashes": "https:///beta.example",
    "http": "http://beta.example",
    "underscore": "https://be_ta.example",
    "empty label": "https://beta..example",
}


@pytest.fixture
async def far(internet, clock):
    return await internet.peer(clock, "beta.example")


@pytest.mark.fault("host spelled in other ways")
@pytest.mark.parametrize("where", ["actor", "key"])
async def test_a_host_spelled_in_another_way_is_no_name_of_it(
    guarded, far, internet, scheme, where, nothing_comes_of
):
    """Mastodon CVE-2023-42451: normalising a name made one host speak for another."""
    spelled = {name: f"{base}/actor" for name, base in SPELLED.items()}
    spelled |= {"path": "https://beta.example/%61ctor", "dots": "https://beta.example/x/../actor"}
    internet.name("evil.example", ["93.184.216.99"])
    async with nothing_comes_of(guarded, far):
        seen = {}
        for name, actor_id in spelled.items():
            actor, key = (actor_id, far.id) if where == "actor" else (far.id, actor_id)
            follow = composing.build_follow(f"{far.base}/1", actor, guarded.feed_id())
            key_id = f"{key}#main-key"
            seen[name] = await status_of(
                write(scheme, far, guarded, follow, key_id=_ascii(key_id)), far
            )
        assert {name: one for name, one in seen.items() if one not in (400, 401)} == {}
        assert internet.went_to == []


def _ascii(text):
    return text.encode("ascii", "xmlcharrefreplace").decode()


@pytest.mark.fault("host spelled in other ways")
async def test_a_blocked_host_does_not_come_in_under_another_spelling(
    guarded, far, internet, nothing_comes_of
):
    """Mastodon CVE-2023-42451: a block list is of use only where a host has one name."""
    await guarded.stop()
    guarded.change(blocked_domains=("beta.example",))
    await guarded.start()
    async with nothing_comes_of(guarded, far):
        for base in (*SPELLED.values(), "https://beta.example", "https://sub.beta.example"):
            follow = composing.build_follow(f"{base}/1", f"{base}/actor", guarded.feed_id())
            key_id = _ascii(f"{base}/actor#main-key")
            status = await status_of(write("cavage", far, guarded, follow, key_id=key_id), far)
            assert status in (400, 401, 403), base
            answer = await far.get(f"{guarded.feed_id()}/{'0' * 32}/pages/1", signer=_ascii(base))
            assert answer[0] == 404, base
        assert internet.went_to == []


# --- graph tricks -----------------------------------------------------------------------------
AS = "https://www.w3.org/ns/activitystreams"
TRICKS = {
    "graph": lambda it: it | {"@graph": [{"id": it["id"]}]},
    "reverse at depth": lambda it: it | {"tag": [[{"a": {"@reverse": {"actor": "x"}}}]]},
    "included at depth": lambda it: it | {"tag": {"a": [{"@included": []}]}},
    "nest at depth": lambda it: it | {"tag": {"@nest": {"actor": "x"}}},
    "redefined term": lambda it: it | {"@context": [AS, {"actor": f"{AS}#object"}]},
    "redefined term at depth": lambda it: it | {"tag": {"@context": {"id": "urn:x"}}},
    "renamed keyword": lambda it: it | {"@context": [AS, {"g": "@graph"}]},
    "renamed keyword, longer": lambda it: it | {"@context": {"g": {"@id": "@reverse"}}},
    "scoped context": lambda it: it | {"@context": [AS, {"T": {"@context": {"n": "@nest"}}}]},
    "vocabulary": lambda it: it | {"@context": [AS, {"@vocab": "https://evil.example/"}]},
    "base": lambda it: it | {"@context": [AS, {"@base": "https://evil.example/"}]},
    "import": lambda it: it | {"@context": [AS, {"@import": "https://evil.example/"}]},
}


@pytest.mark.fault("graph tricks")
async def test_an_activity_that_is_another_as_json_ld_is_refused(followed, peer, nothing_comes_of):
    """Mastodon CVE-2026-46349 and -48028, Fedify CVE-2026-42462: signed as one, read as another."""
    async with nothing_comes_of(followed, peer):
        seen = {}
        for name, trick in TRICKS.items():
            seen[name] = await peer.send(followed, trick(create(peer)))
        assert seen == dict.fromkeys(TRICKS, 400)


@pytest.mark.fault("graph tricks")
async def test_a_page_that_is_another_as_json_ld_is_refused_under_a_good_proof(
    followed, peer, nothing_comes_of
):
    """Fedify CVE-2026-42462: the issuer itself may say two things in one page."""
    key = next(iter(peer.document("clean")["assertionMethod"]))["id"]
    async with nothing_comes_of(followed, peer):
        seen = {}
        for name, trick in TRICKS.items():
            sent = create(peer)
            page = trick({one: value for one, value in sent["object"].items() if one != "proof"})
            signed = proof.sign(page, peer.proof[addresses.FEEDS["clean"]], key, peer.clock())
            seen[name] = await peer.send(followed, sent | {"object": signed})
        assert seen == dict.fromkeys(TRICKS, 400)


@pytest.mark.fault("graph tricks")
async def test_an_actor_that_is_another_as_json_ld_is_not_taken(ours, peer, nothing_comes_of):
    """Mastodon CVE-2026-46349: keys under a renamed term."""
    async with nothing_comes_of(ours, peer, fetches=len(TRICKS)):
        seen = {}
        for name, trick in TRICKS.items():
            seen[name] = await follow_with(ours, peer, trick(peer.document("actor")))
        assert seen == dict.fromkeys(TRICKS, 400)


@pytest.mark.fault("graph tricks")
async def test_the_same_without_a_trick_is_taken(followed, peer):
    """What was refused above was the trick."""
    sent = create(peer)
    harmless = {"@context": [AS, {"toot": "http://joinmastodon.org/ns#"}], "tag": [[{"a": 1}]]}
    assert await peer.send(followed, json.loads(json.dumps(sent | harmless))) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")
