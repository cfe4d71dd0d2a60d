"""The secret sketch: what it takes for copies, what it does not, and whose pictures have one."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageFont

from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.keyed import (
    BLOCK_LIMIT,
    GRID,
    KEYED_BYTES,
    SMALL_BYTES,
    STEP,
    WHOLE_LIMIT,
    WINDOW_LIMIT,
    distance,
    is_copy,
    keyed,
    small_of,
)
from scanner.decoding.pool import DecodePool
from scanner.errors import Undecodable
from scanner.limits import Limits
from scanner.settings import ScannerSettings
from scanner.testpatterns import draw_pattern
from tests.scanner.decoding.crafted import grey_when_drafted
from tests.scanner.drawings import encode

SECRET, OTHER = bytes(32), bytes(31) + b"\x01"
ASTRONAUT = Path(__file__).parents[3] / "fediverdict/demo_photos/astronaut.jpg"
PHOTO = Image.open(ASTRONAUT).convert("RGB").resize((640, 480))
SECRETS = [bytes([number]) * 32 for number in range(20)]


def sketch(image, secret=SECRET):
    return keyed(small_of(image), secret)


def as_jpeg(image, quality):
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return Image.open(io.BytesIO(target.getvalue())).convert("RGB")


def with_square(image, side, colour, at=(200, 200)):
    changed = image.copy()
    ImageDraw.Draw(changed).rectangle((*at, at[0] + side, at[1] + side), fill=colour)
    return changed


def flipped(sketch, counts):
    """The sketch with so many bits of each block changed."""
    bits = np.unpackbits(np.frombuffer(sketch, np.uint8, offset=1)).reshape(GRID * GRID, -1)
    for block, count in counts.items():
        bits[block, :count] ^= 1
    return sketch[:1] + np.packbits(bits).tobytes()


def test_the_same_picture_and_secret_give_the_same_sketch():
    assert sketch(PHOTO) == sketch(PHOTO.copy())
    assert len(sketch(PHOTO)) == KEYED_BYTES
    assert len(small_of(PHOTO)) == SMALL_BYTES


def test_the_sketch_of_a_secret_never_changes_between_releases():
    """Else stored sketches would compare with nothing: raise VERSION if it has to change."""
    small = bytes(np.arange(SMALL_BYTES, dtype=np.uint32).astype(np.uint8) // 2)
    known = bytes.fromhex(
        "a669c7261eed7ccad41b784d9dc9ff85f948f74d6622f6b03be5de8d2e3612d4"
        "36a7153a55c3c8e0b463f7e5a95012fb2097162e482d85210d5f72d433ea5a87"
    )
    differ = int.from_bytes(known) ^ int.from_bytes(keyed(small, SECRET)[1:65])
    assert differ.bit_count() <= 2  # where rounding decides, another processor may round otherwise


def test_without_the_secret_nothing_can_be_told():
    found = distance(sketch(PHOTO), sketch(PHOTO, OTHER))
    assert found is not None
    assert 1_850 < found.whole < 2_250  # of 4096, 2048 in the mean
    assert not is_copy(sketch(PHOTO), sketch(PHOTO, OTHER))


@pytest.mark.parametrize("secret", SECRETS[:5])
@pytest.mark.parametrize(
    "copy",
    [
        as_jpeg(PHOTO, 85),
        as_jpeg(PHOTO, 60),
        as_jpeg(PHOTO.resize((1280, 960), Image.Resampling.LANCZOS), 90),
        as_jpeg(PHOTO.resize((512, 384), Image.Resampling.LANCZOS), 80),
        PHOTO.point(lambda level: min(level + 1, 255)),
    ],
    ids=["q85", "q60", "larger", "smaller", "brighter by one"],
)
def test_re_encoded_and_resized_copies_are_copies(copy, secret):
    assert is_copy(sketch(PHOTO, secret), sketch(copy, secret))


@pytest.mark.parametrize(
    "changed",
    [
        with_square(PHOTO, 40, (255, 255, 255)),
        with_square(PHOTO, 20, (255, 0, 0)),
        with_square(PHOTO, 40, (255, 255, 255), at=(221, 161)),
        Image.blend(PHOTO, draw_pattern(1, PHOTO.size), 0.2),
        PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        PHOTO.crop((6, 6, 634, 474)),
        Image.merge("RGB", PHOTO.split()[::-1]),
    ],
    ids=["sticker", "small sticker", "across blocks", "ghost", "mirrored", "cropped", "recoloured"],
)
def test_what_was_changed_is_no_copy_under_any_secret(changed):
    assert not any(is_copy(sketch(PHOTO, secret), sketch(changed, secret)) for secret in SECRETS)


def test_a_change_of_one_coefficient_by_a_whole_period_is_seen():
    """With projections of +1 and -1 it would flip not a single bit."""
    first = np.full((256, 256), 128, np.float64)
    wave = np.outer(np.ones(32), np.cos(np.pi * (np.arange(32) + 0.5) / 32))
    wave *= 2 * STEP / np.linalg.norm(wave)
    second = first.copy()
    second[64:96, 64:96] += wave
    rest = bytes([128]) * (SMALL_BYTES - 256 * 256)
    pair = [np.round(one).astype(np.uint8).tobytes() + rest for one in (first, second)]
    found = distance(*(keyed(one, SECRET) for one in pair))
    assert found is not None
    assert 20 < found.block < 44


def test_each_limit_holds_at_the_limit_and_one_past_it():
    base = sketch(PHOTO)
    assert is_copy(base, flipped(base, {9: BLOCK_LIMIT}))
    assert not is_copy(base, flipped(base, {9: BLOCK_LIMIT + 1}))
    window = dict.fromkeys((9, 10, 17, 18), WINDOW_LIMIT // 4)
    assert is_copy(base, flipped(base, window))
    assert not is_copy(base, flipped(base, window | {9: WINDOW_LIMIT // 4 + 1}))
    even, more = divmod(WHOLE_LIMIT, GRID * GRID)
    whole = {block: even + (block < more) for block in range(GRID * GRID)}
    assert sum(whole.values()) == WHOLE_LIMIT
    assert is_copy(base, flipped(base, whole))
    whole[63] += 1
    assert not is_copy(base, flipped(base, whole))


@pytest.mark.parametrize(
    "other", [b"", b"\x01", bytes(KEYED_BYTES), sketch(PHOTO)[:-1], sketch(PHOTO) + b"\0"]
)
def test_what_is_no_sketch_of_this_version_is_no_copy(other):
    assert distance(sketch(PHOTO), other) is None
    assert not is_copy(other, other)


def test_a_thumbnail_of_another_length_is_refused():
    with pytest.raises(ValueError, match="no thumbnail"):
        keyed(bytes(SMALL_BYTES - 1), SECRET)


@pytest.fixture
async def make():
    made = []

    def one(secret=None):
        made.append(DecodePool(ScannerSettings(decoders=1), Limits(), secret))
        return made[-1]

    yield one
    for pool in made:
        pool.close()


async def facts(pool, data):
    async with pool.open(data, sha256_of(data)) as opened:
        return opened.facts


def transparent():
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encode(image, "PNG")


def with_gamma():
    target = io.BytesIO()
    PHOTO.save(target, "PNG")
    data = target.getvalue()
    chunk = b"gAMA" + (10_000).to_bytes(4, "big")
    whole = (4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return data[:33] + whole + data[33:]


def film():
    target = io.BytesIO()
    PHOTO.save(target, "PNG", save_all=True, append_images=[PHOTO.rotate(5)], duration=40)
    return target.getvalue()


def with_profile(renamed=None):
    """The photo with the usual profile; one of its tags, which nothing reads, may be renamed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    target = io.BytesIO()
    tags = profile[:1000]
    assert tags.count(b"cprt") == 1
    profile = tags.replace(b"cprt", renamed or b"cprt") + profile[1000:]
    PHOTO.save(target, "PNG", icc_profile=profile)
    return target.getvalue()


async def test_the_usual_profile_leaves_a_picture_its_sketch(make):
    assert (await facts(make(SECRET), with_profile())).keyed == sketch(PHOTO)


def stepped_profile():
    """The usual profile, but that its curves rise in two steps."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.index(b"para")
    profile[at : at + 14] = b"curv" + bytes(4) + (1).to_bytes(4, "big") + b"\x40\x00"  # power 64
    return bytes(profile)


async def test_a_picture_whose_profile_is_steep_has_no_sketch(make):
    """It shows black as black: nothing but what it does to a few dots speaks against it."""
    target, plain = io.BytesIO(), Image.new("RGB", PHOTO.size)
    plain.save(target, "PNG", icc_profile=stepped_profile())
    assert (await facts(make(SECRET), target.getvalue())).keyed is None
    assert (await facts(make(SECRET), encode(plain, "PNG"))).keyed is not None


def page():
    """A white page of small text, nearly empty to a sketch."""
    image = Image.new("RGB", (1240, 1754), "white")
    font = ImageFont.load_default(24)
    for line in range(48):
        text = f"{line} the quick brown fox jumps over the lazy dog at noon, and so on to the end"
        ImageDraw.Draw(image).text((60, 60 + 34 * line), text, "black", font)
    return image


def test_a_line_of_a_page_of_text_cannot_be_changed():
    known = page()
    changed = known.copy()
    changed.paste(known.crop((60, 60, 1240, 94)).transpose(Image.Transpose.ROTATE_180), (60, 400))
    assert not is_copy(sketch(known), sketch(changed))


@pytest.mark.parametrize("share", [0.0005, 0.001, 0.002])
@pytest.mark.parametrize("place", [(0, 0), (0.25, 0.25)], ids=["corner", "where blocks meet"])
def test_a_red_stamp_is_seen_wherever_it_is(share, place):
    stamped, side = PHOTO.copy(), round((share * PHOTO.width * PHOTO.height) ** 0.5)
    at = tuple(
        max(0, round(one * whole) - side // 2) for one, whole in zip(place, PHOTO.size, strict=True)
    )
    stamped.paste((220, 0, 0), (*at, at[0] + side, at[1] + side))
    assert not is_copy(sketch(PHOTO), sketch(stamped))


@pytest.mark.parametrize("ink", [0, 128])
@pytest.mark.parametrize("size", [16, 24, 40])
def test_a_caption_on_a_plain_ground_is_seen(size, ink):
    known = Image.new("RGB", (1000, 1000), "white")
    known.paste(PHOTO.resize((1000, 700)), (0, 300))
    meme, font = known.copy(), ImageFont.load_default(size)
    ImageDraw.Draw(meme).text((80, 120), "ONE DOES NOT SIMPLY", (ink,) * 3, font)
    assert not is_copy(sketch(known), sketch(meme))


async def test_a_decoded_picture_has_a_sketch_only_where_there_is_a_secret(make):
    data = encode(PHOTO, "PNG")
    assert (await facts(make(), data)).keyed is None
    assert (await facts(make(SECRET), data)).keyed == sketch(PHOTO)


@pytest.mark.parametrize(
    "data",
    [
        transparent(),
        with_gamma(),
        film(),
        encode(PHOTO.crop((0, 0, 640, 30)), "PNG"),
        encode(PHOTO.convert("CMYK"), "JPEG"),
        with_profile(b"A2B0"),
        with_profile(b"D2B1"),
    ],
    ids=["transparent", "gamma", "film", "very long", "four inks", "a table", "a float table"],
)
async def test_what_can_be_shown_in_more_than_one_way_has_no_sketch(make, data):
    assert (await facts(make(SECRET), data)).keyed is None


async def test_a_jpeg_is_sketched_as_viewers_show_it(make):
    """Drafted it is flat grey, and so could be made the twin of anything."""
    hidden = np.asarray(draw_pattern(0, (512, 512)).convert("L")) // 2
    found = await facts(make(SECRET), grey_when_drafted(hidden))
    grey = Image.new("RGB", (512, 512), (128, 128, 128))
    assert found.keyed is not None
    assert not is_copy(found.keyed, sketch(grey))


@pytest.mark.parametrize("small", [b"x", bytes(SMALL_BYTES - 1), bytes(SMALL_BYTES + 1)])
async def test_a_decoder_that_gives_another_thumbnail_is_ended(make, monkeypatch, small):
    pool = make(SECRET)
    data = encode(PHOTO, "PNG")
    await facts(pool, data)
    (decoder,) = pool._all
    exchange = decoder._exchange

    async def lies(request, sent, bound):
        header, _ = await exchange(request, sent, bound)
        return header, small

    monkeypatch.setattr(type(decoder), "_exchange", lambda _, *given: lies(*given))
    with pytest.raises(Undecodable):
        await facts(pool, data)
    assert not decoder.alive
