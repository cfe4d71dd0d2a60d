"""Near clean through the judge: what each setting answers unscanned, and what it never does."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from sqlalchemy import select

from benchmarks.fooling.crafted import apart, twin_of
from benchmarks.scan.trusted_peer import let_peer_judge
from cache.index.twins import PrintedTwins
from cache.outcome import Reason
from cache.storage.tables import images
from cache.verdict import Decision
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.near_clean import build_twins, sketch_secret, warning
from fediverdict.parts import build_judge
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.perceptual import perceptual
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from scanner.testpatterns import draw_pattern
from tests.fakes.scanner import FakeScanner

PHOTOS = Path(__file__).parents[2] / "fediverdict/demo_photos"
PHOTO = Image.open(PHOTOS / "rocket.jpg").convert("RGB").resize((480, 320))
SETTINGS = ("off", "own", "peers")


def jpeg(image, quality=85):
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()


def stickered(side=30):
    changed = PHOTO.copy()
    ImageDraw.Draw(changed).rectangle((50, 50, 50 + side, 50 + side), (255, 255, 0), (0, 0, 0))
    return changed


def in_red():
    """The picture in red, its brightness kept: the fake scanner flags what is mostly red."""
    flat = [Image.new("L", PHOTO.size, value) for value in (100, 220)]
    return Image.merge("YCbCr", (PHOTO.convert("L"), *flat)).convert("RGB")


def over_grey():
    """A picture that lies transparent on the page, and is the photo over grey alone."""
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.new("L", PHOTO.size, 250))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


KNOWN = jpeg(PHOTO, 92)
COPY = jpeg(PHOTO, 80)
FOREIGN = twin_of(draw_pattern(3, PHOTO.size), PHOTO)
ATTACKS = {
    "sticker": jpeg(stickered()),
    "in red": jpeg(in_red()),
    "crafted": jpeg(FOREIGN, 95),
    "transparent": over_grey(),
}


@pytest.fixture
async def make(sqlite_store):
    made = []

    def one(near_clean, audit="off", scanner=True):
        config = Config.model_validate(
            {"decide": {"near_clean": near_clean}, "trust": {"audit": audit}}
        )
        judgements = Judgements(config, load_policy("test"))
        pool = DecodePool(config.scanner, Limits(), sketch_secret(config, sqlite_store))
        asked = FakeScanner() if scanner else None
        made.append(Judge(sqlite_store, judgements, pool, asked, twins=build_twins(config)))
        return made[-1]

    yield one
    for judge in made:
        judge.close()


def sketches(store):
    return store.read_now(lambda c: c.execute(select(images.c.keyed)).scalars().all())


async def test_switched_off_no_copy_is_clean_unscanned_and_nothing_is_computed(make, sqlite_store):
    judge = make("off")
    await judge.judge(KNOWN)
    answer = await judge.judge(COPY)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, True)
    assert sketches(sqlite_store) == [None, None]


@pytest.mark.parametrize("near_clean", ["own", "peers"])
async def test_a_copy_of_what_we_scanned_is_clean_unscanned(make, sqlite_store, near_clean):
    judge = make(near_clean)
    await judge.judge(KNOWN)
    answer = await judge.judge(COPY)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, False)
    assert answer.outcome is not None
    assert answer.outcome.reason is Reason.NEAR_CLEAN
    assert None not in sketches(sqlite_store)


async def test_a_copy_that_was_answered_is_answered_again_without_decoding(make, monkeypatch):
    judge = make("own")
    await judge.judge(KNOWN)
    await judge.judge(COPY)
    monkeypatch.setattr(judge, "_open", None)
    answer = await judge.judge(COPY)
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, False)


@pytest.mark.parametrize("near_clean", SETTINGS)
async def test_a_peers_verdict_makes_copies_clean_with_peers_only(make, sqlite_store, near_clean):
    let_peer_judge(sqlite_store, [sha256_of(KNOWN)])
    judge = make(near_clean)
    assert not (await judge.judge(KNOWN)).scanned
    look = await judge.look(COPY, sha256_of(COPY))
    assert (look.outcome.decision is Decision.CLEAN) is (near_clean == "peers")


async def test_what_was_met_before_the_setting_was_changed_has_no_twins(make):
    await make("off").judge(KNOWN)
    assert (await make("own").judge(COPY)).scanned


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("near_clean", SETTINGS)
async def test_what_was_changed_is_scanned(make, near_clean, attack):
    judge = make(near_clean)
    await judge.judge(KNOWN)
    assert (await judge.judge(ATTACKS[attack])).scanned


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_was_changed_of_a_picture_that_peers_call_clean_is_scanned(
    make, sqlite_store, attack
):
    let_peer_judge(sqlite_store, [sha256_of(KNOWN)])
    judge = make("peers")
    assert not (await judge.judge(KNOWN)).scanned
    assert not (await judge.judge(COPY)).scanned
    assert (await judge.judge(ATTACKS[attack])).scanned


def test_the_crafted_twin_has_the_hashes_of_the_clean_picture():
    """Else the test above would show nothing."""
    decoded = Image.open(io.BytesIO(ATTACKS["crafted"])).convert("RGB")
    pdq, phash = apart(perceptual(decoded), perceptual(PHOTO))
    assert pdq <= 10
    assert phash <= 16


async def test_a_picture_that_we_scanned_ourselves_is_looked_up_without_its_twins(
    make, monkeypatch
):
    judge = make("own")
    await judge.judge(KNOWN)
    await judge.judge(COPY)  # known by its twin alone
    asked = []

    def of(*_):
        asked.append(1)
        return []

    monkeypatch.setattr(PrintedTwins, "_of", of)
    answer = await judge.judge(KNOWN)
    assert (answer.decision, answer.scanned, asked) == (Decision.CLEAN, False, [])
    await judge.look(COPY, sha256_of(COPY))
    assert asked


async def test_copies_of_copies_go_no_further_than_copies(make):
    """What was answered unscanned clears nothing: nobody walks away from the known picture."""
    judge = make("own")
    await judge.judge(KNOWN)
    assert not (await judge.judge(COPY)).scanned
    look = await judge.look(jpeg(PHOTO, 75), sha256_of(jpeg(PHOTO, 75)))
    assert {match.verdict.sha256 for match in look.evidence.twins} == {sha256_of(KNOWN)}


async def test_once_a_changed_picture_is_flagged_nothing_near_it_is_clean_unscanned(make):
    judge = make("own")
    await judge.judge(KNOWN)
    assert (await judge.judge(ATTACKS["in red"])).decision is Decision.FLAGGED
    look = await judge.look(COPY, sha256_of(COPY))
    assert look.outcome.decision is not Decision.CLEAN


async def test_the_audit_throw_falls_alike_for_all_copies_of_one_picture(make):
    """Who asks with ever new copies of one picture throws the dice once."""
    judge = make("own", audit="adaptive")
    await judge.judge(KNOWN)
    copies = [jpeg(PHOTO, quality) for quality in range(78, 90)]
    looks = [await judge.look(copy, sha256_of(copy)) for copy in copies]
    assert len({look.outcome.reason for look in looks}) == 1
    assert looks[0].outcome.reason in (Reason.AUDIT, Reason.NEAR_CLEAN)


async def test_each_instance_has_sketches_of_its_own(new_sqlite_url):
    import migrations  # noqa: PLC0415
    from cache.storage.database import Store  # noqa: PLC0415

    config = Config.model_validate({"decide": {"near_clean": "own"}})
    secrets = []
    for _ in range(2):
        url = new_sqlite_url()
        migrations.upgrade(url)
        store = Store.open(url)
        secrets += [sketch_secret(config, store), sketch_secret(config, store)]
        store.close()
    assert secrets[0] == secrets[1]
    assert secrets[2] == secrets[3] != secrets[0]


@pytest.mark.parametrize("near_clean", SETTINGS)
def test_an_admin_is_told_of_the_risk_of_peers_at_every_start(sqlite_store, caplog, near_clean):
    config = Config.model_validate({"decide": {"near_clean": near_clean}})
    build_judge(config, sqlite_store).close()
    assert ("docs/near-clean.md" in caplog.text) is (near_clean == "peers")
    assert (warning(config) is not None) is (near_clean == "peers")
