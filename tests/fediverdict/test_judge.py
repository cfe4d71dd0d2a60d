"""A picture's way through: what is decoded, scanned, stored, shared, and by whom it is awaited."""

import asyncio
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from cache.feed_tables import feed_rows
from cache.tables import verdicts
from cache.verdict import Decision, Feed
from fediverdict import judge as judge_module
from fediverdict.api import LookupItem
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from scanner.decode import read
from scanner.fingerprint import sha256_of
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner


def png(colour, seed=1, side=96):
    """Return a picture of that colour with enough detail to be matched."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(-55, 55, (16, 16, 1)).repeat(side // 16, 0).repeat(side // 16, 1)
    pixels = np.clip(np.array(colour) + blocks, 0, 255).astype("uint8")
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


GREEN, RED = (60, 160, 60), (200, 60, 60)


@pytest.fixture
def scanner():
    return FakeScanner()


@pytest.fixture
def judge(store, scanner):
    return Judge(store, Judgements(Config(), load_policy("test")), scanner, Limits())


def count(store, table):
    return store.read_now(lambda c: c.execute(select(func.count()).select_from(table)).scalar())


async def test_a_new_picture_is_scanned_once_and_its_verdict_stored(judge, scanner, store):
    first = await judge.judge(png(GREEN))
    again = await judge.judge(png(GREEN))
    assert (first.decision, first.scanned) == (Decision.CLEAN, True)
    assert (again.decision, again.scanned) == (Decision.CLEAN, False)
    assert (await judge.judge(png(RED, 2))).decision is Decision.FLAGGED
    assert scanner.batches == [1, 1]
    assert count(store, verdicts) == 2


async def test_a_known_picture_is_not_decoded_again(judge, monkeypatch):
    await judge.judge(png(GREEN))

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(judge_module, "read", refuse)
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN


async def test_concurrent_requests_share_one_scan_whoever_disconnects(judge, scanner):
    scanner.gate.clear()
    first = asyncio.create_task(judge.judge(png(GREEN)))
    others = [asyncio.create_task(judge.judge(png(GREEN))) for _ in range(4)]
    await asyncio.sleep(0.2)
    first.cancel()
    scanner.gate.set()
    answers = await asyncio.gather(*others)
    assert [answer.decision for answer in answers] == [Decision.CLEAN] * 4
    assert scanner.batches == [1]


@pytest.mark.parametrize("limit", [1, 3])
async def test_only_so_many_pictures_are_decoded_at_once(store, scanner, monkeypatch, limit):
    running, most = 0, 0
    lock = threading.Lock()

    def slow(data, limits):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return read(data, limits)

    monkeypatch.setattr(judge_module, "read", slow)
    judgements = Judgements(Config(), load_policy("test"))
    judge = Judge(store, judgements, scanner, Limits(), decodes=limit)
    await asyncio.gather(*(judge.judge(png(GREEN, seed)) for seed in range(7)))
    assert most == limit


async def test_a_failed_scan_is_not_remembered(judge, scanner, monkeypatch):
    def fail(_):
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(scanner, "_score", fail)
        with pytest.raises(RuntimeError):
            await judge.judge(png(GREEN))
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN


async def test_without_a_scanner_what_nobody_judged_is_unknown(store):
    judge = Judge(store, Judgements(Config(), load_policy("test")), None, Limits())
    answer = await judge.judge(png(GREEN))
    assert (answer.decision, answer.scanned) == (Decision.UNKNOWN, False)


@pytest.mark.parametrize("data", [b"", b"no picture", png(GREEN)[:-200], png(GREEN)[:40]])
async def test_what_cannot_be_decoded_is_undecodable_and_leaves_no_verdict(judge, store, data):
    assert (await judge.judge(data)).decision is Decision.UNDECODABLE
    assert count(store, verdicts) == 0


async def test_a_picture_over_a_limit_is_over_limit_and_one_at_the_limit_passes(store, scanner):
    data = png(GREEN)
    judgements = Judgements(Config(), load_policy("test"))
    at = Judge(store, judgements, scanner, Limits(image_bytes=len(data), pixels=96 * 96))
    assert (await at.judge(data)).decision is Decision.CLEAN
    fresh = png(GREEN, 3)
    for limits in (Limits(image_bytes=len(fresh) - 1), Limits(pixels=96 * 96 - 1)):
        past = Judge(store, judgements, scanner, limits)
        assert (await past.judge(fresh)).decision is Decision.OVER_LIMIT


async def test_a_near_copy_of_a_flagged_picture_goes_to_review_unless_a_scan_clears_it(judge):
    original = png(RED, 5)
    await judge.judge(original)
    image = Image.open(io.BytesIO(original)).transpose(Image.Transpose.ROTATE_90)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=70)
    look = await judge.look(target.getvalue(), b"copy")
    assert look.outcome.decision is Decision.REVIEW
    assert look.outcome.reason == "near-own-flag"


@pytest.mark.parametrize(("share", "rows"), [("off", 0), ("public", 0), ("all", 2)])
async def test_verdicts_are_published_only_where_the_source_shares(judge, store, share, rows):
    await judge.judge(png(GREEN), share)
    await judge.judge(png(RED, 2), share)
    assert count(store, feed_rows) == rows


async def test_a_published_verdict_that_turns_bad_is_retracted_even_by_a_source_that_is_off(
    store, scanner
):
    """The clock passes the verdict's end, and the next scan flags what was clean."""
    now = [1_800_000_000]
    judgements = Judgements(Config(), load_policy("test"))
    judge = Judge(store, judgements, scanner, Limits(), clock=lambda: now[0])
    await judge.judge(png(GREEN), "all")
    now[0] += 366 * 86_400
    scanner.scores = {"test-pattern": 9_900, "shape": 0}
    assert (await judge.judge(png(GREEN), "off")).decision is Decision.FLAGGED
    live = select(feed_rows.c.feed, feed_rows.c.op).where(feed_rows.c.live)
    assert set(store.read_now(lambda c: c.execute(live).all())) == {
        (Feed.CLEAN, 1),
        (Feed.FLAGGED, 0),
    }


async def test_an_expired_row_is_renewed_when_the_picture_is_shared_again(store, scanner):
    now = [1_800_000_000]
    judgements = Judgements(Config(), load_policy("test"))
    judge = Judge(store, judgements, scanner, Limits(), clock=lambda: now[0])
    for _ in range(2):
        await judge.judge(png(GREEN), "all")
        await judge.judge(png(GREEN), "all")
        now[0] += 366 * 86_400
    attested = select(func.count()).select_from(feed_rows).where(feed_rows.c.op == 0)
    assert store.read_now(lambda c: c.execute(attested).scalar()) == 2


async def test_a_lookup_of_a_known_picture_uses_the_fingerprints_computed_here(judge):
    """A client that claims another picture's content does not change what is known of this one."""
    await judge.judge(png(RED, 7))
    image = Image.open(io.BytesIO(png(RED, 7)))
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=1)
    copy = target.getvalue()
    await judge.judge(copy)
    look = await judge.look_up(LookupItem(sha256_of(copy), content=b"\x01" * 32))
    assert look.outcome.decision is Decision.FLAGGED


async def test_sharing_twice_publishes_once_and_a_verdict_can_be_shared_later(judge, store):
    await judge.judge(png(GREEN))
    for _ in range(3):
        await judge.judge(png(GREEN), "all")
    feeds = store.read_now(lambda c: c.execute(select(feed_rows.c.feed)).scalars().all())
    assert feeds == [Feed.CLEAN]


async def test_a_pipeline_seen_before_its_commit_is_not_missed_after_it(judge, store, monkeypatch):
    record = judge._record

    def while_another_request_reads(connection, *rest):
        record(connection, *rest)
        judge.judgements._read_at = float("-inf")
        store.read_now(judge.judgements.current)  # does not see what is not committed

    monkeypatch.setattr(judge, "_record", while_another_request_reads)
    assert (await judge.judge(png(RED))).decision is Decision.FLAGGED


async def test_an_adoption_that_is_rolled_back_is_made_again(judge, store):
    def fail(connection):
        judge.judgements.adopt(connection, "ab" * 32, 1)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        store.write_now(fail)
    store.write_now(judge.judgements.adopt, "ab" * 32, 1)
    fresh = Judgements(Config(), load_policy("test"))
    assert "ab" * 32 in store.read_now(fresh.current).pipelines


async def test_the_same_bytes_twice_in_a_batch_are_scanned_once(judge, scanner):
    looks = [await judge.look(png(RED), sha256_of(png(RED))) for _ in range(3)]
    answers = await judge.scan(looks)
    assert [answer.decision for answer in answers] == [Decision.FLAGGED] * 3
    assert scanner.batches == [1]
