"""A picture's way through: what is decoded, scanned, stored, shared, and by whom it is awaited."""

import asyncio
import io
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from cache.errors import DatabaseUnavailable
from cache.storage.feed_tables import feed_rows
from cache.storage.tables import verdicts
from cache.verdict import Decision, Feed
from fediverdict.api import LookupItem
from fediverdict.config import Config
from fediverdict.errors import NotDecided, ScanFailed
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.errors import DecoderFailed, ModelError, Undecodable
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner, RedClassifier
from tests.waiting import HELD, PATIENCE, happens, until


def png(colour, seed=1, side=96):
    """Return a picture of that colour with enough detail to be matched."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(-55, 55, (16, 16, 1)).repeat(side // 16, 0).repeat(side // 16, 1)
    pixels = np.clip(np.array(colour) + blocks, 0, 255).astype("uint8")
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def film(colours, first=0):
    """Return an APNG with a frame for each colour, no two alike; the seeds count from `first`."""
    frames = [Image.open(io.BytesIO(png(c, seed))) for seed, c in enumerate(colours, first)]
    target = io.BytesIO()
    frames[0].save(target, "PNG", save_all=True, append_images=frames[1:], duration=40)
    return target.getvalue()


def jpeg(data):
    target = io.BytesIO()
    Image.open(io.BytesIO(data)).save(target, "JPEG", quality=70)
    return target.getvalue()


def raises(error):
    def call(*_):
        raise error

    return call


GREEN, RED = (60, 160, 60), (200, 60, 60)


@pytest.fixture
def scanner():
    return FakeScanner()


@pytest.fixture
async def make(store, scanner):
    """Return what makes judges over the store; they are closed at the end."""
    made = []

    def one(scanner=scanner, limits=Limits(), shadow=None, config=Config(), **options):
        pool = DecodePool(config.scanner, limits)
        judgements = Judgements(config, load_policy("test"))
        made.append(Judge(store, judgements, pool, scanner, shadow, **options))
        return made[-1]

    yield one
    for judge in made:
        judge.close()


@pytest.fixture
def judge(make):
    return make()


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

    monkeypatch.setattr(judge, "_open", None)
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN


async def test_concurrent_requests_share_one_scan_whoever_disconnects(judge, scanner):
    scanner.gate.clear()
    first = asyncio.create_task(judge.judge(png(GREEN)))
    others = [asyncio.create_task(judge.judge(png(GREEN))) for _ in range(4)]
    await until(lambda: scanner._running)
    await asyncio.sleep(0.1)
    first.cancel()
    scanner.gate.set()
    answers = await asyncio.gather(*others)
    assert [answer.decision for answer in answers] == [Decision.CLEAN] * 4
    assert scanner.batches == [1]


async def test_what_fails_when_nobody_waits_any_more_fails_quietly(judge, scanner, monkeypatch):
    """A full disk ends a scan with one sentence, not with one traceback a picture in flight."""
    reached = threading.Event()

    def fail(_):
        reached.set()
        scanner.gate.wait(HELD)
        raise ModelError("no space left")

    monkeypatch.setattr(scanner, "_score", fail)
    scanner.gate.clear()
    asked = asyncio.create_task(judge.judge(png(GREEN)))
    await asyncio.to_thread(reached.wait, PATIENCE)
    [flight] = judge._flights
    asked.cancel()
    await asyncio.wait([asked])
    scanner.gate.set()
    await asyncio.wait([flight])
    assert isinstance(flight._exception, ModelError)
    assert not flight._log_traceback  # asyncio's mark of a failure that it will print


async def test_pictures_that_come_together_share_a_batch_and_none_waits_for_it_to_fill(
    judge, scanner
):
    scanner.gate.clear()
    asked = [asyncio.create_task(judge.judge(png(GREEN, seed))) for seed in range(8)]
    while len(scanner._waiting) < 7:
        await asyncio.sleep(0.05)
    scanner.gate.set()
    await asyncio.gather(*asked)
    assert scanner.batches == [1, 7]


async def test_no_decoder_waits_for_a_model_that_loads(make, scanner, monkeypatch):
    judge, loaded, asked = make(), asyncio.Event(), []
    classifier, scanner._classifier = scanner._classifier, None

    async def load():
        asked.append(1)
        await loaded.wait()
        scanner._classifier = classifier
        return classifier

    monkeypatch.setattr(scanner, "load", load)
    waiting = [asyncio.create_task(judge.judge(png(GREEN, seed))) for seed in range(5)]
    await until(lambda: len(asked) == 5)
    look = await happens(judge.look(png(RED), sha256_of(png(RED))))
    assert look.outcome.decision is Decision.UNKNOWN
    loaded.set()
    assert {answer.decision for answer in await asyncio.gather(*waiting)} == {Decision.CLEAN}


async def test_a_failed_scan_is_not_remembered(judge, scanner, monkeypatch):
    def fail(_):
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(scanner, "_score", fail)
        with pytest.raises(ScanFailed):
            await judge.judge(png(GREEN))
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN


async def test_without_a_scanner_what_nobody_judged_is_unknown(make):
    judge = make(scanner=None)
    answer = await judge.judge(png(GREEN))
    assert (answer.decision, answer.scanned) == (Decision.UNKNOWN, False)


@pytest.mark.parametrize("data", [b"", b"no picture", png(GREEN)[:-200], png(GREEN)[:40]])
async def test_what_cannot_be_decoded_is_undecodable_and_leaves_no_verdict(judge, store, data):
    assert (await judge.judge(data)).decision is Decision.UNDECODABLE
    assert count(store, verdicts) == 0


async def test_a_picture_over_a_limit_is_over_limit_and_one_at_the_limit_passes(make):
    data = png(GREEN)
    at = make(limits=Limits(image_bytes=len(data), pixels=96 * 96))
    assert (await at.judge(data)).decision is Decision.CLEAN
    fresh = png(GREEN, 3)
    for limits in (Limits(image_bytes=len(fresh) - 1), Limits(pixels=96 * 96 - 1)):
        past = make(limits=limits)
        assert (await past.judge(fresh)).decision is Decision.OVER_LIMIT


async def test_a_near_copy_of_a_flagged_picture_goes_to_review_unless_a_scan_clears_it(judge):
    original = png(RED, 5)
    await judge.judge(original)
    image = Image.open(io.BytesIO(original)).transpose(Image.Transpose.ROTATE_90)
    target = io.BytesIO()
    image.save(target, "PNG")
    copy = jpeg(target.getvalue())
    look = await judge.look(copy, sha256_of(copy))
    assert look.outcome.decision is Decision.REVIEW
    assert look.outcome.reason == "near-own-flag"


@pytest.mark.parametrize(("share", "rows"), [("off", 0), ("public", 0), ("all", 2)])
async def test_verdicts_are_published_only_where_the_source_shares(judge, store, share, rows):
    await judge.judge(png(GREEN), share)
    await judge.judge(png(RED, 2), share)
    assert count(store, feed_rows) == rows


async def test_a_published_verdict_that_turns_bad_is_retracted_even_by_a_source_that_is_off(
    store, scanner, make
):
    """The clock passes the verdict's end, and the next scan flags what was clean."""
    now = [1_800_000_000]
    judge = make(clock=lambda: now[0])
    await judge.judge(png(GREEN), "all")
    now[0] += 366 * 86_400
    scanner.scores = {"test-pattern": 9_900, "shape": 0}
    assert (await judge.judge(png(GREEN), "off")).decision is Decision.FLAGGED
    live = select(feed_rows.c.feed, feed_rows.c.op).where(feed_rows.c.live)
    assert set(store.read_now(lambda c: c.execute(live).all())) == {
        (Feed.CLEAN, 1),
        (Feed.FLAGGED, 0),
    }


async def test_an_expired_row_is_renewed_when_the_picture_is_shared_again(store, make):
    now = [1_800_000_000]
    judge = make(clock=lambda: now[0])
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
    record = judge._recorder.record

    def while_another_request_reads(connection, *rest):
        record(connection, *rest)
        judge.judgements._read_at = float("-inf")
        store.read_now(judge.judgements.current)  # does not see what is not committed

    monkeypatch.setattr(judge._recorder, "record", while_another_request_reads)
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


async def test_an_animation_is_left_as_soon_as_a_rule_is_broken(judge, scanner):
    """Sixty frames, all of them bad: one batch is looked at."""
    answer = await judge.judge(film([RED] * 60))
    assert answer.decision is Decision.FLAGGED
    assert scanner.batches == [8]
    assert [(one.frames_seen, one.frames_total) for one in answer.own] == [(8, 60)]


async def test_an_animation_with_one_bad_frame_is_seen_whole_or_found(judge):
    """Wherever the bad frame stands: all frames are looked at, unless it is found before."""
    for place in (0, 31, 59):
        frames = [GREEN] * 60
        frames[place] = RED
        answer = await judge.judge(film(frames, first=100 * (place + 1)))
        assert answer.decision is Decision.FLAGGED
    answer = await judge.judge(film([GREEN] * 60))
    assert answer.decision is Decision.CLEAN
    assert [(one.frames_seen, one.frames_total) for one in answer.own] == [(60, 60)]


async def test_a_flagged_animation_is_known_by_its_bad_frame(judge):
    """A still of the bad frame is near it; a picture like its first, harmless frame is not."""
    frames = [GREEN] * 20
    frames[11] = RED
    await judge.judge(film(frames))
    still, harmless = jpeg(png(RED, 11)), jpeg(png(GREEN, 0))
    assert (await judge.look(still, sha256_of(still))).outcome.decision is Decision.REVIEW
    assert (await judge.look(harmless, sha256_of(harmless))).outcome.decision is Decision.UNKNOWN


async def test_a_pipeline_in_shadow_scores_along_and_decides_nothing(store, make, scanner):
    config = Config.model_validate({"scanner": {"shadow": {"enabled": True}}})
    shadow = FakeScanner(weights="01")
    shadow.scores = {"test-pattern": 9_900, "shape": 0}
    answer = await make(shadow=shadow, config=config).judge(png(GREEN))
    assert answer.decision is Decision.CLEAN
    assert (scanner.batches, shadow.batches) == ([1], [1])
    assert count(store, verdicts) == 2


@pytest.mark.parametrize("error", [ModelError("no weights"), RuntimeError("a plugin's fault")])
async def test_a_shadow_that_fails_harms_nobody(store, make, monkeypatch, error):
    shadow = FakeScanner(weights="01")
    monkeypatch.setattr(shadow, "_score", raises(error))
    assert (await make(shadow=shadow).judge(png(GREEN))).decision is Decision.CLEAN
    assert count(store, verdicts) == 1


async def test_a_picture_too_large_for_the_shadow_alone_is_judged(make):
    """What its model asks of the decoder is more than that can give."""
    shadow = FakeScanner(weights="01")
    large = RedClassifier(weights="01")
    large.preprocess = replace(RedClassifier.preprocess, height=20_000, width=20_000)
    shadow._classifier = large
    config = Config.model_validate({"scanner": {"decoder_bytes": 500_000_000}})
    judge = make(shadow=shadow, config=config)
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN
    assert (await judge.judge(png(RED, 2))).decision is Decision.FLAGGED


async def test_a_server_s_pictures_do_not_wait_for_a_shadow_that_loads(store, make, monkeypatch):
    shadow, go = FakeScanner(weights="01"), threading.Event()
    shadow._classifier = None
    loads = lambda *_: go.wait(HELD) and RedClassifier("01")  # noqa: E731
    monkeypatch.setattr("fediverdict.scanning.load_classifier", loads)
    config = Config.model_validate({"scanner": {"shadow": {"enabled": True}}})
    judge = make(shadow=shadow, config=config)
    for seed in range(3):
        answer = await happens(judge.judge(png(GREEN, seed)))
        assert answer.decision is Decision.CLEAN
    assert count(store, verdicts) == 3
    go.set()
    while shadow.classifier is None:
        await asyncio.sleep(0.02)
    await judge.judge(png(GREEN, 7))
    assert count(store, verdicts) == 5


async def test_a_shadow_that_cannot_be_loaded_is_tried_once_and_no_decoder_waits_for_it(
    make, monkeypatch
):
    shadow, tried, go = FakeScanner(weights="01", purpose="scan"), [], threading.Event()
    shadow._classifier = None

    def load(*_):
        tried.append(1)
        go.wait(HELD)
        raise ModelError("no weights")

    monkeypatch.setattr("fediverdict.scanning.load_classifier", load)
    judge = make(shadow=shadow, config=Config.model_validate({"scanner": {"decoders": 1}}))
    waiting = [asyncio.create_task(judge.judge(png(GREEN, seed))) for seed in range(4)]
    while not tried:
        await asyncio.sleep(0.05)
    look = await happens(judge.look(png(RED), sha256_of(png(RED))))
    assert look.outcome.decision is Decision.UNKNOWN
    go.set()
    assert {answer.decision for answer in await asyncio.gather(*waiting)} == {Decision.CLEAN}
    await judge.judge(png(GREEN, 9))
    assert len(tried) == 1


@pytest.mark.parametrize("error", [DecoderFailed("it ended"), Undecodable("too slow")])
async def test_an_animation_is_flagged_though_its_bad_frame_s_code_cannot_be_had(
    make, monkeypatch, error
):
    async def fail(*_):
        raise error

    monkeypatch.setattr("scanner.decoding.decoder.Decoder.near_code", fail)
    answer = await make().judge(film([GREEN] * 5 + [RED]))
    assert answer.decision is Decision.FLAGGED


async def test_of_a_still_all_views_are_seen_however_early_a_rule_is_broken(make):
    """Or a verdict that says it saw all of one frame would be clean when thresholds rise."""
    scanner = FakeScanner()
    scanner.settings = scanner.settings.model_copy(update={"batch": 1})
    image = Image.open(io.BytesIO(png(RED, 4))).convert("RGBA")
    image.putalpha(200)
    target = io.BytesIO()
    image.save(target, "PNG")
    assert (await make(scanner).judge(target.getvalue())).decision is Decision.FLAGGED
    assert scanner.batches == [1, 1, 1]  # over grey, black and white


async def test_a_frame_of_which_views_are_left_is_not_the_last_one_seen(make):
    """Two transparent frames of three views: left in the middle of the second, all is not seen."""
    frames = [Image.open(io.BytesIO(png(c, n))).convert("RGBA") for n, c in enumerate((GREEN, RED))]
    for frame in frames:
        frame.putalpha(200)
    target = io.BytesIO()
    frames[0].save(target, "PNG", save_all=True, append_images=frames[1:], duration=40)
    scanner = FakeScanner()
    scanner.settings = scanner.settings.model_copy(update={"batch": 4})
    answer = await make(scanner).judge(target.getvalue())
    assert answer.decision is Decision.FLAGGED
    assert scanner.batches == [4]
    assert [(one.frames_seen, one.frames_total) for one in answer.own] == [(1, 2)]


# --- whoever leaves, at whatever stage --------------------------------------------------------
@pytest.fixture
def hold(monkeypatch):
    """Hold a method open: returns (reached, go on)."""

    def one(owner, name):
        reached, go, real = asyncio.Event(), asyncio.Event(), getattr(owner, name)

        async def held(*args, **more):
            reached.set()
            await go.wait()
            return await real(*args, **more)

        monkeypatch.setattr(owner, name, held)
        return reached, go

    return one


@pytest.mark.parametrize("stage", ["_look_at", "_read", "_scan", "store"])
async def test_the_first_may_leave_at_any_stage_and_the_others_get_the_one_scan(
    judge, scanner, store, hold, stage
):
    owner, name = (judge.store, "write_together") if stage == "store" else (judge, stage)
    reached, go = hold(owner, name)
    first = asyncio.create_task(judge.judge(png(GREEN)))
    await happens(reached.wait())
    others = [asyncio.create_task(judge.judge(png(GREEN))) for _ in range(3)]
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.wait([first])
    go.set()
    answers = await asyncio.gather(*others)
    assert first.cancelled()
    assert {answer.decision for answer in answers} == {Decision.CLEAN}
    assert scanner.batches == [1]
    assert count(store, verdicts) == 1


@pytest.mark.parametrize("stage", ["_look_at", "_read", "_scan", "store"])
async def test_all_may_leave_at_any_stage_and_the_scan_is_not_lost(
    judge, scanner, store, hold, stage
):
    owner, name = (judge.store, "write_together") if stage == "store" else (judge, stage)
    reached, go = hold(owner, name)
    asked = [asyncio.create_task(judge.judge(png(GREEN))) for _ in range(2)]
    await happens(reached.wait())
    [flight] = judge._flights
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)
    go.set()
    await asyncio.wait([flight])
    assert count(store, verdicts) == 1
    assert (await judge.judge(png(GREEN))).scanned is False


async def test_a_model_that_does_not_load_fails_all_who_wait_and_the_next_tries_again(
    judge, scanner, monkeypatch
):
    classifier, scanner._classifier = scanner._classifier, None
    with monkeypatch.context() as patch:
        patch.setattr("fediverdict.scanning.load_classifier", raises(ModelError("no weights")))
        asked = [judge.judge(png(GREEN)) for _ in range(3)]
        failed = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in failed] == [ModelError] * 3
    monkeypatch.setattr("fediverdict.scanning.load_classifier", lambda *_: classifier)
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN


async def test_what_was_known_is_answered_while_no_model_can_be_loaded(judge, scanner, monkeypatch):
    await judge.judge(png(GREEN))
    scanner._classifier = None
    monkeypatch.setattr("fediverdict.scanning.load_classifier", raises(ModelError("no weights")))
    assert (await judge.judge(png(GREEN))).decision is Decision.CLEAN
    with pytest.raises(ModelError):
        await judge.judge(png(GREEN, 2))


async def test_a_verdict_that_cannot_be_stored_is_no_answer(judge, store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(judge._recorder, "record", raises(DatabaseUnavailable("the disk is full")))
        with pytest.raises(DatabaseUnavailable):
            await judge.judge(png(GREEN))
    assert count(store, verdicts) == 0


async def test_closing_in_the_middle_of_a_scan_decides_nothing(judge, scanner):
    scanner.gate.clear()
    asked = asyncio.create_task(judge.judge(png(GREEN)))
    while not scanner._running:
        await asyncio.sleep(0.01)
    judge.close()
    scanner.gate.set()
    with pytest.raises(NotDecided):
        await asked
    with pytest.raises(NotDecided):
        await judge.judge(png(GREEN, 2))
