"""What verifying costs a peer in fetches, through a running instance."""

import asyncio

import pytest
from aiohttp import web

from federation.errors import BadSignature, TooManyRequests
from federation.signing.identity import Scheme
from federation.signing.request import Request
from federation.signing.verifying import Verifier
from tests.fakes.instance import pictures
from tests.fakes.peer import reply, rsa_of

SCHEMES = pytest.mark.parametrize("scheme", [Scheme.CAVAGE, Scheme.RFC9421])


@pytest.fixture
def verifier(ours):
    return Verifier(ours.federation.actors, ours.federation._instance)


def asks(peer, ours, scheme, key=None, signer=None, key_id=None):
    url = f"{ours.base}/feeds/clean"
    headers = peer.signed("GET", url, None, signer, key, scheme, key_id)
    return Request("GET", "/feeds/clean", list(headers.items()))


def fetches(peer):
    return peer.requests.count(("GET", "/actor"))


@SCHEMES
async def test_a_good_signature_costs_one_fetch_once(ours, peer, verifier, scheme):
    for _ in range(3):
        sender = await verifier.request_of(asks(peer, ours, scheme), peer.id)
        assert (sender.actor.id, sender.scheme) == (peer.id, scheme)
    assert fetches(peer) == 1


@SCHEMES
async def test_100_bad_signatures_at_once_cost_one_fetch(ours, peer, verifier, scheme, clock):
    await verifier.request_of(asks(peer, ours, scheme), peer.id)
    clock.now += 700
    wrong = asks(peer, ours, scheme, rsa_of("wrong"))
    tries = (verifier.request_of(wrong, peer.id) for _ in range(100))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert {type(one) for one in outcomes} == {BadSignature}
    assert fetches(peer) == 2
    assert (await verifier.request_of(asks(peer, ours, scheme), peer.id)).actor.id == peer.id
    assert fetches(peer) == 2


@SCHEMES
async def test_a_key_that_could_not_be_fetched_is_not_asked_for_again(
    ours, peer, verifier, scheme, clock
):
    async def gone(_request):
        return web.Response(status=503)

    peer.answers["/actor"] = gone
    request = asks(peer, ours, scheme)
    await asyncio.gather(
        *(verifier.request_of(request, peer.id) for _ in range(100)), return_exceptions=True
    )
    del peer.answers["/actor"]
    clock.now += ours.settings.key_refetch_seconds - 1
    with pytest.raises(TooManyRequests):
        await verifier.request_of(asks(peer, ours, scheme), peer.id)
    before = fetches(peer)
    clock.now += 1
    await verifier.request_of(asks(peer, ours, scheme), peer.id)
    assert (before, fetches(peer)) == (2, 3)  # the first asked in both schemes


@SCHEMES
async def test_a_rotated_key_is_found_by_all_who_wait_for_it(ours, peer, verifier, scheme, clock):
    await verifier.request_of(asks(peer, ours, scheme), peer.id)
    clock.now += 700
    peer.rsa = rsa_of("rotated")
    tries = (verifier.request_of(asks(peer, ours, scheme), peer.id) for _ in range(20))
    senders = await asyncio.gather(*tries)
    assert {sender.actor.id for sender in senders} == {peer.id}
    assert fetches(peer) == 2


@SCHEMES
async def test_naming_the_proof_key_costs_no_fetch(ours, peer, verifier, scheme, clock):
    """No later key of that name would be one for HTTP."""
    feed_id = peer.feed_id()
    await verifier.request_of(asks(peer, ours, scheme, signer=feed_id), feed_id)
    clock.now += 700
    (name,) = (one["id"] for one in peer.document("clean")["assertionMethod"])
    peer.requests.clear()
    with pytest.raises(BadSignature, match="lists no key"):
        await verifier.request_of(asks(peer, ours, scheme, key_id=name), feed_id)
    assert peer.requests == []


@SCHEMES
async def test_a_key_of_gotosocial_is_found_at_its_owner_alone(ours, peer, verifier, scheme):
    """Its key ids are URLs of their own, which show a stub of the actor."""
    key_id = f"{peer.id}/main-key"
    own = peer.document("actor")
    listed = own | {"publicKey": own["publicKey"] | {"id": key_id}}
    stub = {name: listed[name] for name in ("@context", "id", "type", "publicKey")}

    async def actor(_request):
        return reply(listed)

    async def key(_request):
        return reply(stub)

    peer.answers |= {"/actor": actor, "/actor/main-key": key}
    request = asks(peer, ours, scheme, key_id=key_id)
    assert (await verifier.request_of(request, peer.id)).key_id == key_id
    assert peer.requests == [("GET", "/actor")]


@SCHEMES
async def test_a_key_elsewhere_is_no_key_of_the_actor(ours, peer, third, verifier, scheme):
    request = asks(peer, ours, scheme)
    with pytest.raises(BadSignature, match="is not a key of"):
        await verifier.request_of(request, third.id)
    assert peer.requests == third.requests == []


@SCHEMES
async def test_follow_and_page_go_through_in_either_scheme(ours, peer, scheme):
    await ours.follow(peer)
    page = peer.publish([peer.row("a")])
    assert await peer.create(ours, page, scheme=scheme) == 202
    sent, status = await peer.follow(ours, scheme=scheme)
    assert (sent["type"], status) == ("Follow", 202)
    await ours.settle()
    assert [row.actor_id for row in ours.followers()] == [peer.id]
    assert ours.pictures() == pictures("a")
