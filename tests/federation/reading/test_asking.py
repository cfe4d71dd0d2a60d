"""Asking a peer what it says of one picture: whom, how often, what of the answer is believed."""

import asyncio
import json

import pytest
from aiohttp import web
from sqlalchemy import update

from cache.judgement import PeerState, Trust
from cache.memory.provisional import PROVISIONAL_SECONDS
from cache.storage.feed_tables import follows
from cache.storage.tables import codes, verdicts
from cache.trust.trust import set_trust
from cache.verdict import Basis, Feed, Finding
from federation.outbound.blocking import Blocks
from federation.outbound.breaker import Breaker
from federation.reading.asking import Asked, Asking
from federation.signing.verifying import Verifier
from federation.wire.row import Attestation, Retraction
from tests.fakes.instance import pictures
from tests.fakes.peer import reply
from tests.federation.samples import picture, proof_key
from tests.waiting import PATIENCE, happens

PATH = "/attestations/clean"


@pytest.fixture
def monotonic():
    """Seconds of the breakers' clock; tests move them."""
    return [0.0]


@pytest.fixture
async def asker(ours, peer, monotonic):
    """An instance that follows the peer's clean feed and trusts it."""
    await ours.follow(peer)
    trust = Trust(clean=100, flag=100, state=PeerState.TRUSTED)
    ours.store.write_now(set_trust, peer.base, trust)
    parts = ours.federation
    parts.asking = Asking(
        ours.store,
        parts.client,
        parts.actors,
        Verifier(parts.actors, parts._instance),
        parts._instance,
        ours.settings,
        lambda: monotonic[0],
    )
    peer.requests.clear()
    return ours


def ask(ours, peer, name="a", seconds=PATIENCE):
    return ours.federation.asking.ask(peer.base, picture(name), seconds)


def outcomes(ours):
    return dict(ours.federation.asking.outcomes)


async def test_a_row_that_no_page_holds_yet_is_stored_as_the_peer_s_verdict(asker, peer):
    peer.attest(peer.row("a"))
    assert await ask(asker, peer)
    [row] = asker.rows(verdicts)
    assert (row.feed, row.epoch, row.seq) == (Feed.CLEAN, None, None)
    assert json.loads(row.scores) == {"sexual": 12}
    assert peer.requests == [("GET", PATH)]


async def test_the_question_is_signed_by_the_instance_actor(asker, peer):
    seen = []

    async def answer(request):
        seen.append(request.headers["Signature"])
        return web.Response(status=404)

    peer.answers[PATH] = answer
    assert not await ask(asker, peer)
    assert f'keyId="{asker.base}/actor#main-key"' in seen[0]
    assert outcomes(asker) == {Asked.NOTHING: 1}


async def test_an_answer_counts_for_a_day_at_most(asker, peer, clock):
    peer.attest(peer.row("long"))
    peer.attest(peer.row("short", expires=clock.now + 5))
    await ask(asker, peer, "long")
    await ask(asker, peer, "short")
    ends = {row.expires - clock.now for row in asker.rows(verdicts)}
    assert ends == {PROVISIONAL_SECONDS, 5}


async def test_its_page_takes_the_place_of_an_answer_and_gives_it_its_full_life(asker, peer, clock):
    row = peer.row("a")
    peer.attest(row)
    await ask(asker, peer)
    [before] = asker.rows(verdicts)
    clock.now += 60
    assert await peer.create(asker, peer.publish([row])) == 202
    await asker.settle()
    [after] = asker.rows(verdicts)
    assert (after.epoch, after.seq, after.expires) == (peer.epochs[Feed.CLEAN], 1, row.expires)
    assert after.received == before.received


async def test_a_retraction_in_the_page_or_in_a_later_one_frees_what_was_answered(asker, peer):
    for name in "ab":
        peer.attest(peer.row(name))
        assert await ask(asker, peer, name)
    epoch = peer.epochs[Feed.CLEAN]
    peer.publish([peer.row("a"), peer.row("b"), Retraction(epoch, 1)])
    peer.publish([Retraction(epoch, 2)])
    asker.store.write_now(lambda conn: conn.execute(update(follows).values(next_try=0)) and None)
    await asker.settle()
    assert asker.pictures() == []


async def test_a_retraction_that_came_before_its_row_frees_what_was_answered(asker, peer):
    epoch = peer.epochs[Feed.CLEAN]
    assert await peer.create(asker, peer.publish([Retraction(epoch, 2)])) == 202
    await asker.settle()
    peer.attest(peer.row("a"))
    assert await ask(asker, peer)
    assert await peer.create(asker, peer.publish([peer.row("a")])) == 202
    await asker.settle()
    assert asker.pictures() == []


async def test_what_a_page_brought_and_took_back_does_not_come_back_by_an_answer(asker, peer):
    """A stale or lying answer must not undo a retraction."""
    epoch = peer.epochs[Feed.CLEAN]
    page = peer.publish([peer.row("a"), Retraction(epoch, 1)])
    assert await peer.create(asker, page) == 202
    await asker.settle()
    peer.attest(peer.row("a"), place=(epoch, 1))
    assert not await ask(asker, peer)
    assert outcomes(asker) == {Asked.KNOWN: 1}
    assert asker.pictures() == []


async def test_a_sealed_row_whose_page_is_still_on_its_way_is_stored(asker, peer):
    peer.attest(peer.row("a"), place=(peer.epochs[Feed.CLEAN], 1))
    assert await ask(asker, peer)
    assert asker.pictures() == pictures("a")


async def test_an_answer_never_replaces_what_a_page_brought(asker, peer, clock):
    assert await peer.create(asker, peer.publish([peer.row("a")])) == 202
    await asker.settle()
    peer.attest(peer.row("a", scores={"sexual": 9_000}, issued=clock.now))
    assert not await ask(asker, peer)
    [row] = asker.rows(verdicts)
    assert json.loads(row.scores) == {"sexual": 12}


async def test_a_second_answer_gives_one_row(asker, peer, clock):
    peer.attest(peer.row("a"))
    assert await ask(asker, peer)
    clock.now += 100
    peer.attest(peer.row("a"))
    assert await ask(asker, peer)
    [row] = asker.rows(verdicts)
    assert row.expires == clock.now + PROVISIONAL_SECONDS


async def test_unfollowing_drops_what_was_answered(asker, peer):
    peer.attest(peer.row("a"))
    await ask(asker, peer)
    await asker.federation.unfollow(peer.feed_id())
    assert asker.pictures() == []


async def test_both_feeds_are_asked_and_a_flag_enters_the_near_index(asker, peer):
    await asker.follow(peer, Feed.FLAGGED)
    flagged = Attestation(
        picture("a"),
        Basis.HUMAN,
        peer.clock() - 50,
        peer.clock() + 9_000,
        rule="patterns",
        finding=Finding.UPHELD,
        pdq=picture("pdq"),
        pdq_quality=88,
    )
    peer.attest(flagged, Feed.FLAGGED)
    assert await ask(asker, peer)
    [row] = asker.rows(verdicts)
    assert (row.feed, row.rule, row.finding) == (Feed.FLAGGED, "patterns", "upheld")
    assert len(asker.rows(codes)) == 1
    assert outcomes(asker) == {Asked.NOTHING: 1, Asked.STORED: 1}


# --- whom we ask -----------------------------------------------------------------------------
async def test_strangers_are_never_asked(asker, third):
    third.attest(third.row("a"))
    assert not await asker.federation.asking.follows(third.base)
    assert not await ask(asker, third)
    assert third.requests == []


@pytest.mark.parametrize("state", [PeerState.OBSERVED, PeerState.SUSPENDED])
async def test_a_peer_that_is_not_trusted_is_not_asked(asker, peer, state):
    asker.store.write_now(set_trust, peer.base, Trust(clean=100, state=state))
    peer.attest(peer.row("a"))
    assert not await ask(asker, peer)
    assert peer.requests == []


@pytest.mark.parametrize("state", ["pending", "rejected"])
async def test_a_feed_that_did_not_accept_us_is_not_asked(asker, peer, state):
    change = update(follows).values(state=state)
    asker.store.write_now(lambda conn: conn.execute(change) and None)
    assert not await asker.federation.asking.follows(peer.base)
    assert not await ask(asker, peer)
    assert peer.requests == []


async def test_a_blocked_peer_is_not_asked(asker, peer):
    parts = asker.federation
    parts.client.blocks = Blocks(("127.0.0.1",))
    assert not await parts.asking.follows(peer.base)
    assert not await ask(asker, peer)
    assert peer.requests == []


# --- hostile answers -------------------------------------------------------------------------
def other_cell(peer):
    document = json.loads(json.dumps(peer.attest(peer.row("a"), keep=False)))
    document["rows"][0][6] = [0]
    return document


def stale(peer):
    peer.clock.now -= 3_601
    document = peer.attest(peer.row("a"), keep=False)
    peer.clock.now += 3_601
    return document


def under_another_id(peer):
    asked = peer.attest(peer.row("a"), keep=False)["id"]
    return peer.attest(peer.row("b"), keep=False, id=asked)


def without_proof(peer):
    made = peer.attest(peer.row("a"), keep=False)
    return {name: value for name, value in made.items() if name != "proof"}


def with_two_rows(peer):
    rows = peer.attest(peer.row("a"), keep=False)["rows"]
    return peer.attest(peer.row("a"), keep=False, rows=rows * 2)


FAULTS = {
    "another picture": lambda peer, _: peer.attest(peer.row("b"), keep=False),
    "another picture under the id asked for": lambda peer, _: under_another_id(peer),
    "another key": lambda peer, _: peer.attest(peer.row("a"), key=proof_key("x"), keep=False),
    "the key of another feed": lambda peer, _: peer.attest(
        peer.row("a"), key=peer.proof[Feed.FLAGGED], keep=False
    ),
    "another peer": lambda _, third: third.attest(third.row("a"), keep=False),
    "another feed": lambda peer, _: peer.attest(peer.row("a"), Feed.FLAGGED, keep=False),
    "no proof": lambda peer, _: without_proof(peer),
    "another cell": lambda peer, _: other_cell(peer),
    "a page": lambda peer, _: peer.publish([peer.row("a")], keep=False),
    "two rows": lambda peer, _: with_two_rows(peer),
    "issued ahead": lambda peer, _: peer.attest(
        peer.row("a", issued=peer.clock() + 10**6, expires=peer.clock() + 10**7), keep=False
    ),
    "signed long ago": lambda peer, _: stale(peer),
    "no object": lambda *_: [],
}
"""Documents that must not be believed when the peer is asked for picture `a`."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_that_is_not_what_it_should_be_is_counted_and_left(
    asker, peer, third, fault
):
    document = FAULTS[fault](peer, third)

    async def answer(_request):
        return reply(document)

    peer.answers[PATH] = answer
    assert not await ask(asker, peer)
    assert outcomes(asker) == {Asked.ODD: 1}
    assert asker.pictures() == []


async def test_an_expired_answer_is_not_stored(asker, peer, clock):
    document = peer.attest(peer.row("a", issued=clock.now - 500, expires=clock.now))
    assert document
    assert not await ask(asker, peer)
    assert asker.pictures() == []


async def test_an_answer_at_the_size_limit_is_read_and_one_past_it_is_not(asker, peer):
    document = peer.attest(peer.row("a"), keep=False)
    size = len(json.dumps(document).encode())
    limit = asker.settings.document_bytes

    def padded(bytes_wanted):
        async def answer(_request):
            body = json.dumps(document).encode() + b" " * (bytes_wanted - size)
            return web.Response(body=body, headers={"Content-Type": "application/activity+json"})

        return answer

    peer.answers[PATH] = padded(limit + 1)
    assert not await ask(asker, peer)
    assert outcomes(asker) == {Asked.ODD: 1}
    peer.answers[PATH] = padded(limit)
    assert await ask(asker, peer)


@pytest.mark.parametrize("where", ["same origin", "another origin"])
async def test_a_redirect_is_no_answer(asker, peer, third, where):
    target = peer if where == "same origin" else third
    target.attest(target.row("a"))
    moved = f"{target.base}{PATH}2"

    async def elsewhere(_request):
        return reply(target.attested[Feed.CLEAN, picture("a")])

    async def answer(_request):
        return web.Response(status=302, headers={"Location": moved})

    target.answers[f"{PATH}2"] = elsewhere
    peer.answers[PATH] = answer
    assert not await ask(asker, peer)
    assert asker.pictures() == []
    assert third.requests == []


@pytest.mark.parametrize("status", [500, 503, 429, 403])
async def test_an_error_is_no_answer(asker, peer, status):
    async def answer(_request):
        return web.Response(status=status)

    peer.answers[PATH] = answer
    assert not await ask(asker, peer)
    assert outcomes(asker) == {Asked.SILENT: 1}


async def test_an_answer_under_another_content_type_is_not_taken(asker, peer):
    async def answer(_request):
        return reply(peer.attest(peer.row("a")), "application/json")

    peer.answers[PATH] = answer
    assert not await ask(asker, peer)
    assert outcomes(asker) == {Asked.ODD: 1}


async def test_an_origin_that_drips_is_waited_for_no_longer_than_was_said(asker, peer):
    gone = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "application/activity+json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        finally:
            gone.set()

    peer.answers[PATH] = answer
    assert not await happens(ask(asker, peer, seconds=0.3))
    assert outcomes(asker) == {Asked.SILENT: 1}
    await happens(gone.wait())  # the connection was let go


# --- single flight ---------------------------------------------------------------------------
async def held(peer):
    """Let the peer answer only when told; returns (reached, go on)."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def answer(_request):
        reached.set()
        await go.wait()
        return reply(peer.attested[Feed.CLEAN, picture("a")])

    peer.attest(peer.row("a"))
    peer.answers[PATH] = answer
    return reached, go


async def test_one_picture_is_asked_once_for_all_who_wait_whoever_leaves(asker, peer):
    reached, go = await held(peer)
    first = asyncio.create_task(ask(asker, peer))
    await happens(reached.wait())
    others = [asyncio.create_task(ask(asker, peer)) for _ in range(4)]
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await asyncio.gather(*others) == [True] * 4
    assert peer.requests == [("GET", PATH)]
    assert not list(asker.federation.asking._under_way)


async def test_an_answer_that_comes_after_unfollowing_is_not_stored(asker, peer):
    reached, go = await held(peer)
    asked = asyncio.create_task(ask(asker, peer))
    await happens(reached.wait())
    await asker.federation.unfollow(peer.feed_id())
    go.set()
    assert not await asked
    assert asker.pictures() == []


async def test_an_answer_does_not_undo_what_a_page_took_back_while_it_was_on_its_way(asker, peer):
    reached, go = await held(peer)
    asked = asyncio.create_task(ask(asker, peer))
    await happens(reached.wait())
    page = peer.publish([peer.row("a"), Retraction(peer.epochs[Feed.CLEAN], 1)])
    assert await peer.create(asker, page) == 202
    await asker.settle()
    go.set()
    assert not await asked
    assert outcomes(asker) == {Asked.KNOWN: 1}
    assert asker.pictures() == []


async def test_stopping_lets_go_of_what_is_asked(asker, peer):
    reached, _ = await held(peer)
    asked = asyncio.create_task(ask(asker, peer))
    await happens(reached.wait())
    await asker.federation.stop()
    await happens(asyncio.wait([asked]))
    assert asked.cancelled()


# --- the breaker -----------------------------------------------------------------------------
async def failing(peer):
    async def answer(_request):
        return web.Response(status=503)

    peer.answers[PATH] = answer


async def test_an_origin_that_fails_three_times_in_a_row_rests_a_minute_and_then_longer(
    asker, peer, monotonic
):
    await failing(peer)
    for number in range(5):
        await ask(asker, peer, f"{number}")
    assert outcomes(asker) == {Asked.SILENT: 3, Asked.RESTS: 2}
    monotonic[0] = 59
    await ask(asker, peer)
    assert len(peer.requests) == 3
    monotonic[0] = 60
    await ask(asker, peer)  # half-open: one try, which fails
    await ask(asker, peer)
    assert len(peer.requests) == 4
    monotonic[0] = 60 + 119
    await ask(asker, peer)
    assert len(peer.requests) == 4
    monotonic[0] = 60 + 120
    peer.answers.clear()
    peer.attest(peer.row("a"))
    assert await ask(asker, peer)
    peer.attest(peer.row("b"))
    assert await ask(asker, peer, "b")


async def test_two_failures_and_an_answer_leave_an_origin_open_to_questions(asker, peer):
    for _ in range(3):
        await failing(peer)
        await ask(asker, peer, "x")
        await ask(asker, peer, "y")
        peer.answers.clear()
        await ask(asker, peer, "z")
    assert outcomes(asker) == {Asked.SILENT: 6, Asked.NOTHING: 3}


async def test_one_origin_s_silence_is_not_another_s(asker, peer, third):
    await asker.follow(third)
    asker.store.write_now(set_trust, third.base, Trust(clean=100, state=PeerState.TRUSTED))
    await failing(peer)
    for _ in range(4):
        await ask(asker, peer)
    third.attest(third.row("a"))
    assert await ask(asker, third)


async def test_while_half_open_one_question_goes_through_at_a_time(asker, peer, monotonic):
    await failing(peer)
    for number in range(3):
        await ask(asker, peer, f"{number}")
    monotonic[0] = 60
    peer.requests.clear()
    reached, go = await held(peer)
    trial = asyncio.create_task(ask(asker, peer))
    await happens(reached.wait())
    assert not await ask(asker, peer, "b")
    assert len(peer.requests) == 1
    go.set()
    assert await trial


def test_the_rest_doubles_up_to_an_hour():
    breaker = Breaker(1, 60, 3_600)
    now, rests = 0.0, []
    for _ in range(9):
        assert breaker.lets_through(now)
        breaker.failed(now)
        until = next(s for s in range(10_000) if (breaker._until or 0) <= now + s)
        rests.append(until)
        now += until
    assert rests == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]


def test_a_trial_that_was_cut_off_leaves_the_next_one_free():
    breaker = Breaker(1, 60, 3_600)
    breaker.failed(0)
    assert breaker.lets_through(60)
    assert not breaker.lets_through(60)
    breaker.gave_up()
    assert breaker.lets_through(60)
