"""Fedify as a real peer: it finds us, follows, and takes what we send; we take what it sends.

What Fedify "received" passed its own verification; what it looks up, it reads with its own.
"""

import copy
import json
import secrets
import time

import aiohttp
import pytest

from cache.storage.feed_tables import deliveries, feed_pages, inbox
from cache.verdict import Feed
from federation.context import ACTIVITYSTREAMS, DATA_INTEGRITY_V2
from federation.outbound.waiting import enqueue
from federation.signing.keys import proof_key_id
from federation.wire import composing, proof, strictjson
from tests.fakes.fedify import Fedify, why_not
from tests.fakes.instance import Ours

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def now():
    return int(time.time())


@pytest.fixture(scope="module", params=["cavage", "rfc9421"])
def fedify(request):
    """Fedify, once for each kind of HTTP signature that it tries first."""
    started = Fedify(request.param)
    yield started
    started.stop()


@pytest.fixture
async def ours(sqlite_store, tmp_path):
    started = await Ours(sqlite_store, now, tmp_path / "state").start()
    yield started
    await started.stop()


class User:
    """An actor of Fedify's, new in each test, and its dealings with us."""

    def __init__(self, fedify, ours):
        self.name = secrets.token_hex(4)
        self.fedify, self.ours = fedify, ours
        self.id = fedify.actor(self.name)
        self.inbox = f"{self.id}/inbox"

    def activity(self, kind, target, **more):
        number = secrets.token_hex(8)
        return {
            "@context": ACTIVITYSTREAMS,
            "id": f"{self.id}/activities/{number}",
            "type": kind,
            "actor": self.id,
            "object": target,
        } | more

    async def send(self, activity, feed=Feed.CLEAN):
        to = {"id": self.ours.feed_id(feed), "inbox": f"{self.ours.feed_id(feed)}/inbox"}
        await self.fedify.tell("send", name=self.name, activity=activity, to=to)
        await self.ours.settle()

    async def follow(self, feed=Feed.CLEAN, approve=True):
        sent = self.activity("Follow", self.ours.feed_id(feed))
        await self.send(sent, feed)
        if approve:
            await self.ours.federation.approve(self.id, feed)
            await self.ours.settle()
        return sent

    async def received(self, kind):
        """Return the activities of ours that Fedify verified and handed to its listeners."""
        every = await self.fedify.tell("received")
        mine = [one for one in every if one["actor"].startswith(f"{self.ours.base}/")]
        return [one for one in mine if one["type"] == kind]

    async def prove(self, activity):
        return await self.fedify.tell("prove", name=self.name, activity=activity)


@pytest.fixture
def user(fedify, ours):
    return User(fedify, ours)


async def post(url, activity):
    """Deliver an activity without any HTTP signature."""
    headers = {"Content-Type": "application/activity+json"}
    async with aiohttp.ClientSession() as session:
        body = strictjson.to_bytes(activity)
        async with session.post(url, data=body, headers=headers) as answer:
            return answer.status


def newest_page(ours):
    return json.loads(ours.rows(feed_pages)[-1].document)


async def get(url):
    """Fetch a public document of ours."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return json.loads(await answer.read())


async def outbox_of(ours):
    return await get(f"{ours.feed_id()}/outbox")


def proven(ours, activity, feed=Feed.CLEAN):
    """Sign an activity of a feed of ours with the feed's key for proofs."""
    private = ours.keys.proof[feed]
    key_id = proof_key_id(ours.feed_id(feed), private.public_key())
    named = activity | {"@context": [ACTIVITYSTREAMS, DATA_INTEGRITY_V2]}
    return proof.sign(named, private, key_id, now())


@pytest.mark.parametrize("name", ["actor", "clean", "flagged"])
async def test_fedify_finds_our_actors_by_handle_and_by_url(fedify, ours, name):
    url = ours.base + ("/actor" if name == "actor" else f"/feeds/{name}")
    for what in (f"@{name}@127.0.0.1:{ours.port}", url):
        found = await fedify.tell("lookup", what=what)
        assert found is not None, what
        assert (found["id"], found["preferredUsername"]) == (url, name)


async def test_fedify_follows_a_feed_and_gets_its_pages_once_it_is_approved(ours, user):
    await user.follow(approve=False)
    ours.add_row("before the approval")
    await ours.settle()
    assert [one.state for one in ours.followers()] == ["pending"]
    assert await user.received("Create") == []
    await ours.federation.approve(user.id, Feed.CLEAN)
    await ours.settle()
    assert len(await user.received("Accept")) == 1
    ours.add_row("after the approval")
    await ours.settle()
    [create] = await user.received("Create")
    assert create["object"]["id"] == newest_page(ours)["id"]
    assert ours.rows(deliveries) == []


async def test_fedify_takes_a_page_that_is_too_large_to_be_inline(ours, user):
    await user.follow()
    for number in range(700):
        ours.add_row(f"picture {number}")
    await ours.settle()
    [create] = await user.received("Create")
    assert create["object"]["url"] == newest_page(ours)["id"]
    assert "rows" not in create["object"]
    page = await user.fedify.tell("fetch", name=user.name, url=create["object"]["url"])
    assert page == newest_page(ours)


async def test_fedify_stops_following_and_reads_no_pages_any_more(ours, user):
    follow = await user.follow()
    ours.add_row("a picture")
    await ours.settle()
    page = newest_page(ours)
    assert await user.fedify.tell("fetch", name=user.name, url=page["id"]) == page
    await user.send(user.activity("Undo", follow))
    assert ours.followers() == []
    with pytest.raises(AssertionError, match="404"):
        await user.fedify.tell("fetch", name=user.name, url=page["id"])


async def test_fedify_takes_our_update_announce_flag_and_delete(ours, user):
    await user.follow()
    ours.add_row("a picture")
    await ours.settle()
    page, head = newest_page(ours), (await outbox_of(ours))["head"]
    instance = f"{ours.base}/actor"
    activities = [
        composing.build_update(f"{ours.feed_id()}/updates/1", await get(ours.feed_id())),
        composing.build_heads(f"{instance}/heads/1", instance, [head]),
        composing.build_flag(f"{instance}/disputes/1", instance, user.id, [page["id"]], "why"),
        composing.build_delete(ours.feed_id()),
    ]
    for activity in activities:
        ours.store.write_now(enqueue, user.inbox, activity, now())
        await ours.settle()
        [found] = await user.received(activity["type"])
        assert found["id"] == activity["id"]
    assert ours.rows(deliveries) == []
    assert await user.fedify.tell("verify", document=head)
    assert not await user.fedify.tell("verify", document=head | {"page": 2})


async def test_fedify_verifies_the_proof_of_our_page_and_refuses_a_tampered_one(ours, user):
    await user.follow()
    ours.add_row("a picture")
    await ours.settle()
    [create] = await user.received("Create")
    assert await user.fedify.tell("verify", document=create["object"])
    tampered = copy.deepcopy(create["object"])
    tampered["rows"][0][tampered["columns"].index("scores")] = [9_999]
    assert not await user.fedify.tell("verify", document=tampered)


async def test_fedify_takes_our_activity_by_its_proof_alone_and_refuses_a_tampered_one(ours, user):
    ours.add_row("a picture")
    await ours.settle()
    signed = proven(ours, composing.build_create(newest_page(ours)))
    assert await post(user.inbox, signed | {"published": "2020-01-01T00:00:00Z"}) == 401
    assert await post(user.inbox, {**signed, "actor": ours.feed_id(Feed.FLAGGED)}) == 401
    assert await user.received("Create") == []
    assert await post(user.inbox, signed) == 202
    [create] = await user.received("Create")
    assert create["id"] == signed["id"]


async def test_we_take_fedifys_activity_by_its_proof_alone_and_refuse_a_tampered_one(ours, user):
    signed = await user.prove(user.activity("Follow", ours.feed_id()))
    inbox_url = f"{ours.base}/inbox"
    tampered = {**signed, "object": ours.feed_id(Feed.FLAGGED)}
    assert await post(inbox_url, tampered) == 401
    assert await post(inbox_url, {**signed, "proof": signed["proof"] | {"created": "2026"}}) == 401
    assert await post(inbox_url, {**signed, "proof": [signed["proof"]]}) == 401
    assert ours.rows(inbox) == []
    assert await post(inbox_url, signed) == 202
    await ours.settle()
    assert [one.actor_id for one in ours.followers()] == [user.id]


async def test_we_take_fedifys_http_signature_at_its_first_knock(fedify, ours, user):
    """What Fedify sends carries its proof as well; both have to hold."""
    await user.follow(approve=False)
    sent = [
        (one["scheme"], one["status"])
        for one in await fedify.tell("sent")
        if one["url"].startswith(ours.base) and one["method"] == "POST"
    ]
    assert sent == [(fedify.scheme, 202)]
