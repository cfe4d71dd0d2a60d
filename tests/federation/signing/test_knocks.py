"""Knocking in both schemes, against a peer that verifies by hand what it is sent."""

import pytest
from aiohttp import web
from sqlalchemy import select

from cache.storage.peer_tables import knocks
from federation.client import AnsweredWith
from federation.origin import Origin
from federation.outbound.media import Kind
from federation.signing.identity import Scheme
from federation.signing.knocks import KNOCK_SECONDS, Knocks, may_be_the_scheme, other
from tests.fakes.peer import reply

CAVAGE, RFC9421 = Scheme.CAVAGE, Scheme.RFC9421
ORIGIN = Origin("https://peer.example")


@pytest.fixture
async def client(ours):
    return ours.federation.client


async def deliver(client, ours, peer, path="/inbox"):
    return (await client.post(f"{peer.base}{path}", b'{"a":1}', ours.feed_id())).status


async def fetch(client, ours, peer, path="/actor"):
    return await client.get(f"{peer.base}{path}", Kind.ACTIVITY, 10_000, f"{ours.base}/actor")


def remembered(ours):
    return [(row.origin, row.scheme) for row in ours.rows(knocks)]


def outcomes(peer):
    made, peer.knocks = peer.knocks, []
    return made


async def test_who_takes_draft_cavage_is_asked_once(ours, peer, client):
    peer.takes = {CAVAGE}
    assert await deliver(client, ours, peer) == 202
    assert outcomes(peer) == [(CAVAGE, True)]
    assert remembered(ours) == [(peer.base, "cavage")]


@pytest.mark.parametrize("refusal", [400, 401, 403, 500, 501, 599])
async def test_who_takes_rfc_9421_alone_is_asked_twice_and_then_once(ours, peer, client, refusal):
    peer.takes, peer.refuses_with = {RFC9421}, refusal
    assert await deliver(client, ours, peer) == 202
    assert outcomes(peer) == [(CAVAGE, False), (RFC9421, True)]
    assert remembered(ours) == [(peer.base, "rfc9421")]
    assert await deliver(client, ours, peer) == 202
    assert (await fetch(client, ours, peer)).body
    assert outcomes(peer) == [(RFC9421, True), (RFC9421, True)]
    assert len(peer.received) == 2


async def test_a_signed_fetch_knocks_as_a_delivery_does(ours, peer, client):
    peer.takes = {RFC9421}
    assert (await fetch(client, ours, peer)).body
    assert outcomes(peer) == [(CAVAGE, False), (RFC9421, True)]
    assert await deliver(client, ours, peer) == 202
    assert outcomes(peer) == [(RFC9421, True)]


async def test_what_worked_is_forgotten_after_7_days(ours, peer, client, clock):
    peer.takes = {RFC9421}
    await deliver(client, ours, peer)
    outcomes(peer)
    clock.now += KNOCK_SECONDS - 1
    await deliver(client, ours, peer)
    assert outcomes(peer) == [(RFC9421, True)]
    clock.now += 1
    await deliver(client, ours, peer)
    assert outcomes(peer) == [(CAVAGE, False), (RFC9421, True)]


async def test_who_changes_his_mind_is_asked_in_the_other_scheme(ours, peer, client):
    for takes in (RFC9421, CAVAGE, RFC9421):
        peer.takes = {takes}
        assert await deliver(client, ours, peer) == 202
        assert outcomes(peer)[-1] == (takes, True)
        assert remembered(ours) == [(peer.base, takes.value)]


async def test_who_takes_neither_is_asked_twice_each_time_and_not_remembered(ours, peer, client):
    peer.takes = set()
    for _ in range(2):
        assert await deliver(client, ours, peer) == 401
        assert outcomes(peer) == [(CAVAGE, False), (RFC9421, False)]
    assert remembered(ours) == []


@pytest.mark.parametrize("status", [202, 301, 404, 410, 413, 429])
async def test_other_answers_are_not_about_the_signature(ours, peer, client, status):
    async def answer(_request):
        return web.Response(status=status)

    peer.answers["/inbox"] = answer
    assert await deliver(client, ours, peer) == status
    assert peer.requests == [("POST", "/inbox")]


@pytest.mark.parametrize("status", [401, 500, 503])
async def test_who_says_when_to_come_back_is_not_asked_again(ours, peer, client, status):
    async def answer(_request):
        return web.Response(status=status, headers={"Retry-After": "60"})

    peer.answers["/inbox"] = answer
    assert await deliver(client, ours, peer) == status
    assert peer.requests == [("POST", "/inbox")]


async def test_a_known_origin_that_fails_is_not_asked_twice(ours, peer, client):
    async def answer(_request):
        return web.Response(status=500)

    assert await deliver(client, ours, peer) == 202
    peer.answers["/inbox"] = answer
    peer.requests.clear()
    assert await deliver(client, ours, peer) == 500
    assert peer.requests == [("POST", "/inbox")]


async def test_what_anybody_may_fetch_teaches_nothing(ours, peer, client):
    """A public document comes whatever the signature: its origin may take another one."""
    await fetch(client, ours, peer)
    assert remembered(ours) == []


async def test_unsigned_fetches_are_made_once(ours, peer, client):
    async def answer(_request):
        return web.Response(status=401)

    peer.answers["/actor"] = answer
    with pytest.raises(AnsweredWith):
        await client.get(f"{peer.base}/actor", Kind.ACTIVITY, 10_000)
    assert peer.requests == [("GET", "/actor")]


async def test_a_redirect_that_follows_a_second_knock_is_asked_once(ours, peer, client):
    async def moved(_request):
        return web.Response(status=302, headers={"Location": "/actor"})

    async def actor(request):
        return reply({"scheme": "rfc9421" if "Signature-Input" in request.headers else "cavage"})

    peer.takes = {RFC9421}
    peer.answers |= {"/moved": moved, "/actor": actor}
    assert (await fetch(client, ours, peer, "/moved")).body == b'{"scheme": "rfc9421"}'
    assert outcomes(peer) == [(CAVAGE, False), (RFC9421, True), (RFC9421, True)]


async def test_a_whole_follow_goes_through_to_a_peer_of_either_scheme(ours, peer):
    for takes in (RFC9421, CAVAGE):
        peer.takes = {takes}
        await ours.follow(peer)
    assert {one["type"] for one in peer.received} == {"Follow"}


def test_the_answers_that_may_be_about_the_scheme():
    def statuses(**more):
        return {s for s in range(100, 700) if may_be_the_scheme(s, **more)}

    assert statuses(is_known=False, asks_to_wait=False) == {400, 401, 403, *range(500, 600)}
    assert statuses(is_known=True, asks_to_wait=False) == {400, 401, 403}
    assert statuses(is_known=False, asks_to_wait=True) == set()
    assert (other(CAVAGE), other(RFC9421)) == (RFC9421, CAVAGE)


async def test_rows_are_bounded_and_the_oldest_go_first(store, clock):
    memory = Knocks(store, clock, limit=3)
    for number in range(3):
        clock.now += 1
        await memory.note(Origin(f"https://{number}.example"), CAVAGE)
    clock.now += 1
    await memory.note(Origin("https://0.example"), RFC9421)
    await memory.note(ORIGIN, RFC9421)
    rows = await store.read(lambda conn: conn.execute(select(knocks.c.origin)).scalars().all())
    assert sorted(rows) == ["https://0.example", "https://2.example", ORIGIN]
    assert await memory.known(Origin("https://1.example")) is None
    assert await memory.known(Origin("https://0.example")) is RFC9421


async def test_rows_that_are_too_old_are_dropped(store, clock):
    memory = Knocks(store, clock)
    await memory.note(Origin("https://old.example"), CAVAGE)
    clock.now += KNOCK_SECONDS
    await memory.note(ORIGIN, RFC9421)
    rows = await store.read(lambda conn: conn.execute(select(knocks.c.origin)).scalars().all())
    assert list(rows) == [ORIGIN]
