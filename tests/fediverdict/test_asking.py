"""Asking a picture's origin before scanning it: when, for whom, how long, and who never waits."""

import asyncio
import io

import pytest
from PIL import Image

from cache.verdict import Decision, Feed
from fediverdict import asking
from fediverdict.config import Config
from fediverdict.errors import NotDecided
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner
from tests.fediverdict.peers import BAD, PEER, FakeAsker, answered, paged, trust_peer, verdict
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.waiting import happens

FOREVER = {"reuse": {"grace_seconds": 3_600}, "trust": {"audit": "off"}}
SHORT = {"reuse": {"grace_seconds": 0.3}, "trust": {"audit": "off"}}
PICTURE = png(GREEN, 1)


@pytest.fixture
def scanner():
    return FakeScanner()


@pytest.fixture
def asker():
    return FakeAsker()


@pytest.fixture
def looks(monkeypatch):
    """Pictures that wait are looked up again at once."""
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.02)


@pytest.fixture
async def make(store, scanner, asker):
    made = []

    def one(scanner=scanner, values=FOREVER):
        config = Config.model_validate(values)
        judgements = Judgements(config, load_policy("test"))
        pool = DecodePool(config.scanner, Limits())
        made.append(Judge(store, judgements, pool, scanner, asker=asker))
        return made[-1]

    yield one
    for judge in made:
        judge.close()


@pytest.fixture
async def judge(make, store):
    """A judge whose pipeline is known, and who trusts a peer, so that its verdicts count."""
    trust_peer(store)
    one = make()
    await one.judge(png(GREEN, 99))
    one.scanner.batches.clear()
    return one


def tells(store, data, **how):
    """Let the peer answer what it says of a picture."""
    issuer_id = trust_peer(store)

    async def answer():
        answered(store, issuer_id, verdict(data, **how))
        return True

    return answer


async def test_what_the_origin_calls_clean_is_not_scanned(judge, scanner, asker, store):
    asker.answer = tells(store, PICTURE)
    answer = await judge.judge(PICTURE, origin=PEER)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, False)
    assert [match.verdict.issuer for match in answer.outcome.matches] == [PEER]
    assert scanner.batches == []
    assert asker.asked == [(PEER, sha256_of(PICTURE))]


async def test_what_the_origin_flags_is_scanned_where_one_peer_does_not_flag_alone(
    judge, scanner, asker, store
):
    asker.answer = tells(store, PICTURE, scores=BAD, feed=Feed.FLAGGED)
    answer = await judge.judge(PICTURE, origin=PEER)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, True)
    assert scanner.batches == [1]


async def test_what_the_origin_does_not_know_is_scanned(judge, scanner, asker, store):
    answer = await judge.judge(PICTURE, origin=PEER)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, True)
    assert len(asker.asked) == 1


async def test_nobody_is_asked_of_an_upload_nor_a_host_that_is_no_peer(judge, asker):
    await judge.judge(PICTURE)
    await judge.judge(png(GREEN, 2), origin="https://stranger.example", background=True)
    assert asker.asked == []


async def test_what_is_known_is_not_asked_for(judge, asker):
    await judge.judge(PICTURE)
    await judge.judge(PICTURE, origin=PEER)
    assert asker.asked == []


async def test_what_is_near_a_flag_of_ours_is_held_without_asking(judge, asker):
    await judge.judge(png(RED, 5))
    image = _rotated(png(RED, 5))
    answer = await judge.judge(image, origin=PEER, background=True)
    assert answer.outcome.reason == "near-own-flag"
    assert asker.asked == []


def _rotated(data):
    target = io.BytesIO()
    Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_90).save(target, "PNG")
    return target.getvalue()


async def test_what_cannot_be_decoded_is_not_asked_for(judge, asker):
    answer = await judge.judge(b"no picture", origin=PEER)
    assert answer.decision is Decision.UNDECODABLE
    assert asker.asked == []


async def test_a_peer_whose_word_is_here_already_is_not_asked_again(judge, asker, store):
    """It flags, which is short of the quorum: no further word of it can add anything."""
    issuer_id = trust_peer(store)
    paged(store, issuer_id, verdict(PICTURE, scores=BAD, feed=Feed.FLAGGED, seq=1))
    assert (await judge.judge(PICTURE, origin=PEER)).scanned
    assert asker.asked == []


async def test_an_instance_without_a_scanner_asks_as_well(make, judge, asker, store):
    without = make(scanner=None)
    assert (await without.judge(PICTURE, origin=PEER)).decision is Decision.UNKNOWN
    asker.answer = tells(store, PICTURE)
    assert (await without.judge(PICTURE, origin=PEER)).decision is Decision.CLEAN


async def test_no_decoder_waits_for_a_peer(make, judge, asker, store):
    """All decoders but none more are taken by pictures that wait for an answer."""
    go = asyncio.Event()

    async def answer():
        await go.wait()

    asker.answer = answer
    waiting = [
        asyncio.create_task(judge.judge(png(GREEN, seed), origin=PEER)) for seed in range(10, 20)
    ]
    while len(asker.asked) < 10:
        await asyncio.sleep(0.02)
    upload = await happens(judge.judge(png(RED, 3)))
    assert upload.decision is Decision.FLAGGED
    go.set()
    assert {one.decision for one in await asyncio.gather(*waiting)} == {Decision.CLEAN}


# --- the grace of background sources ----------------------------------------------------------
async def test_a_background_source_waits_for_the_page(judge, scanner, asker, store, looks):
    issuer_id = trust_peer(store)
    waiting = asyncio.create_task(judge.judge(PICTURE, origin=PEER, background=True))
    while not asker.asked:
        await asyncio.sleep(0.01)
    paged(store, issuer_id, verdict(PICTURE, seq=1))
    answer = await happens(waiting)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, False)
    assert scanner.batches == []


async def test_after_the_grace_the_origin_is_asked_once_more_and_then_it_is_scanned(
    make, judge, asker, store, looks
):
    answer = await make(values=SHORT).judge(PICTURE, origin=PEER, background=True)
    assert answer.scanned
    assert len(asker.asked) == 2


async def test_an_upload_of_a_picture_that_waits_in_the_background_does_not_wait(
    judge, asker, store, looks
):
    waiting = asyncio.create_task(judge.judge(PICTURE, origin=PEER, background=True))
    while not asker.asked:
        await asyncio.sleep(0.01)
    upload = await happens(judge.judge(PICTURE))
    assert upload.scanned
    late = await happens(waiting)  # what was scanned ends the wait
    assert (late.decision, late.scanned) == (Decision.CLEAN, False)


async def test_whoever_waits_for_an_answer_has_no_grace(judge, asker, store):
    answer = await happens(judge.judge(PICTURE, origin=PEER))
    assert answer.scanned


async def test_stopping_ends_the_grace(judge, asker, store):
    waiting = asyncio.create_task(judge.judge(PICTURE, origin=PEER, background=True))
    while not asker.asked:
        await asyncio.sleep(0.01)
    judge.stop_waiting()
    assert (await happens(waiting)).scanned
    assert len(asker.asked) == 1


# --- single flight ----------------------------------------------------------------------------
async def test_those_who_wait_for_an_origin_share_one_question_whoever_leaves(
    judge, scanner, asker, store
):
    reached, go = asyncio.Event(), asyncio.Event()
    told = tells(store, PICTURE)

    async def answer():
        reached.set()
        await go.wait()
        return await told()

    asker.answer = answer
    first = asyncio.create_task(judge.judge(PICTURE, origin=PEER))
    await happens(reached.wait())
    others = [asyncio.create_task(judge.judge(PICTURE, origin=PEER)) for _ in range(4)]
    await asyncio.sleep(0.05)
    first.cancel()
    go.set()
    answers = await asyncio.gather(*others)
    assert {answer.decision for answer in answers} == {Decision.CLEAN}
    assert (len(asker.asked), scanner.batches) == (1, [])
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_asker_that_fails_is_told_to_all_and_remembered_for_nobody(judge, asker, store):

    async def fail():
        raise RuntimeError("a fault of ours")

    asker.answer = fail
    asked = [judge.judge(PICTURE, origin=PEER) for _ in range(2)]
    failed = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in failed] == [RuntimeError] * 2
    asker.answer = None
    assert (await judge.judge(PICTURE, origin=PEER)).decision is Decision.CLEAN


async def test_closing_while_an_origin_is_asked_decides_nothing(judge, asker, store):
    reached = asyncio.Event()

    async def answer():
        reached.set()
        await asyncio.Event().wait()

    asker.answer = answer
    asked = asyncio.create_task(judge.judge(PICTURE, origin=PEER))
    await happens(reached.wait())
    judge.close()
    with pytest.raises(NotDecided):
        await asked
