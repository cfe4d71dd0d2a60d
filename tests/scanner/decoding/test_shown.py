"""What a classifier gets to see is what viewers show, not what is cheap to decode."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from scanner.classifiers.windows import windows
from scanner.decoding.decode import read
from scanner.decoding.profiles import PROFILE_BYTES_MAX, by_profile
from scanner.decoding.shown import as_shown, read_shown
from scanner.decoding.strips import LONG, STRIPS_MAX, is_long, strips
from scanner.decoding.thumbnail import SIDE
from scanner.errors import OverLimit, Undecodable
from scanner.formats.cropping import APERTURE, FIELDS, apertures
from scanner.limits import Limits
from scanner.testpatterns import draw_pattern, draw_shape
from tests.scanner.decoding.crafted import cropped_avif, grey_when_drafted, profile_of
from tests.scanner.decoding.hostile import png_header, png_of
from tests.scanner.drawings import encode, photo

LIMITS = Limits()
CELLS = (512, 512)
LOW_BITS = profile_of([value % 16 * 17 for value in range(256)])


def luma(image, size=CELLS):
    return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), float)


def likeness(image, other):
    """The correlation of two pictures, -1..1; 0 for a flat one."""
    one, two = (luma(picture).ravel() for picture in (image, other))
    return 0.0 if not (one.std() and two.std()) else float(np.corrcoef(one, two)[0, 1])


def two_in_one(shown, decoy):
    """Samples whose upper four bits are a decoy's and whose lower four are another picture's."""
    upper, lower = (np.asarray(image.convert("L")) // 16 for image in (decoy, shown))
    return Image.fromarray(upper * 16 + lower).convert("RGB")


def shown_views(data):
    return as_shown(read(data, LIMITS), data, LIMITS).frames


def test_a_picture_that_drafting_makes_grey_is_shown_to_the_classifier():
    hidden = draw_pattern(0, CELLS).convert("L")
    data = grey_when_drafted(np.asarray(hidden) // 2)
    drafted = read(data, LIMITS)
    assert np.asarray(drafted.frames[0]).std() < 1
    shown = as_shown(drafted, data, LIMITS)
    assert likeness(shown.frames[0], hidden) > 0.8
    assert len(shown.frames) == 1 and shown.fingerprint == drafted.fingerprint
    calibrated_by = read_shown(data, LIMITS)
    assert likeness(calibrated_by.frames[0], hidden) > 0.8


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("alpha", [255, 254])
def test_a_picture_that_only_the_colour_profile_shows_is_among_the_views(kind, alpha):
    hidden, decoy = draw_pattern(1, CELLS), draw_shape(2, CELLS)
    image = two_in_one(hidden, decoy)
    image.putalpha(alpha)
    options: dict[str, object] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if kind == "AVIF":  # lossy: a stretched picture instead of one in the low bits
        image = hidden.convert("L").point(lambda v: 112 + v // 8).convert("RGB")
        profile = profile_of([min(255, max(0, value - 112) * 8) for value in range(256)])
        options = {"quality": 100, "subsampling": "4:4:4", "icc_profile": profile}
    data = encode(image, kind, **{"icc_profile": LOW_BITS, **options})
    views = read(data, LIMITS).frames
    assert likeness(views[0], hidden) < 0.6 or kind == "AVIF"
    assert max(likeness(view, hidden) for view in views) > 0.9
    assert max(luma(view).std() for view in views) > 0.8 * luma(hidden).std()


def test_a_jpeg_stretched_by_its_profile_is_shown_stretched():
    hidden = draw_pattern(1, CELLS)
    faint = hidden.convert("L").point(lambda v: 112 + v // 8).convert("RGB")
    profile = profile_of([min(255, max(0, value - 112) * 8) for value in range(256)])
    data = encode(faint, "JPEG", quality=95, icc_profile=profile)
    plain, profiled = shown_views(data)
    assert luma(plain).std() < 15
    assert luma(profiled).std() > 0.8 * luma(hidden).std()
    assert likeness(profiled, hidden) > 0.9


def test_a_view_by_profile_is_turned_as_the_picture_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = two_in_one(draw_pattern(1, (300, 200)), draw_shape(2, (300, 200)))
    data = encode(image, "JPEG", quality=95, icc_profile=LOW_BITS, exif=exif)
    assert [view.size for view in shown_views(data)] == [(200, 300), (200, 300)]


def test_a_hidden_corner_is_enough():
    image = Image.new("RGB", (800, 800), (200, 200, 200))
    image.paste(two_in_one(draw_pattern(1, (120, 120)), draw_shape(2, (120, 120))), (0, 0))
    straight = [*range(256)]
    straight[:192] = [value % 16 * 17 for value in range(192)]
    image.info["icc_profile"] = profile_of(straight)
    assert by_profile(image) is not None


def test_usual_profiles_make_no_second_view():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert len(read(encode(photo(), "PNG", icc_profile=srgb), LIMITS).frames) == 1
    assert len(shown_views(encode(photo(), "JPEG", icc_profile=srgb))) == 1


@pytest.mark.parametrize("profile", [b"", b"no profile", LOW_BITS[:300], bytes(3_000)])
def test_a_profile_that_cannot_be_read_changes_nothing(profile):
    image = photo()
    image.info["icc_profile"] = profile
    assert by_profile(image) is None


def test_a_profile_is_heeded_up_to_its_limit():
    image = two_in_one(draw_pattern(1), draw_shape(2))
    image.info["icc_profile"] = LOW_BITS + bytes(PROFILE_BYTES_MAX - len(LOW_BITS))
    assert by_profile(image) is not None
    image.info["icc_profile"] += b"\0"
    assert by_profile(image) is None


def test_what_is_not_reduced_stays_as_it_was_read():
    data = encode(photo(size=(2 * SIDE - 1, 2 * SIDE - 1)), "JPEG")
    picture = read(data, LIMITS)
    assert as_shown(picture, data, LIMITS).frames[0] is picture.frames[0]
    large = encode(photo(size=(2 * SIDE, 2 * SIDE)), "JPEG")
    picture = read(large, LIMITS)
    assert as_shown(picture, large, LIMITS).frames[0] is not picture.frames[0]


def test_what_cannot_be_decoded_in_full_is_refused():
    data = encode(photo(size=(1200, 1200)), "JPEG")
    with pytest.raises((Undecodable, OverLimit)):
        as_shown(read(data, LIMITS), data[: len(data) // 2], LIMITS)


def png(samples, kind, *more, depth=8):
    """A PNG of (height, width, channels) samples, with more chunks in front of its pixels."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2" if depth == 16 else np.uint8)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = png_header(width, height, depth, kind)
    return png_of(header, *more, (b"IDAT", packed), (b"IEND", b""))


@pytest.mark.parametrize("alpha", [254, 128])
def test_gamma_works_on_samples_and_not_on_what_is_mixed_with_the_ground(alpha):
    hidden = draw_pattern(1, CELLS)
    dark = np.asarray(hidden) // 16
    samples = np.dstack([dark, np.full(dark.shape[:2], alpha, np.uint8)])
    plain, lifted, *_ = read(png(samples, 6, (b"gAMA", struct.pack(">I", 200_000))), LIMITS).frames
    assert luma(plain).std() < 6
    assert luma(lifted).std() > 10
    assert likeness(lifted, hidden) > 0.8


def test_linear_light_is_shown_as_it_is_seen():
    dark = np.asarray(draw_pattern(1, CELLS)) // 16
    for transfer, count in ((8, 2), (13, 1)):
        data = png(dark, 2, (b"cICP", bytes([1, transfer, 0, 1])))
        assert len(read(data, LIMITS).frames) == count


def steep_profile():
    """All of the range lies in the lowest 256 of 65,536 samples."""
    return profile_of([0, *[255] * 255])


def test_a_picture_in_the_lower_half_of_16_bits_is_refused_where_viewers_show_it():
    low = np.asarray(draw_pattern(1, CELLS)).astype(np.uint16)
    profile = (b"iCCP", b"x\0\0" + zlib.compress(steep_profile()))
    for more in (profile, (b"gAMA", struct.pack(">I", 500_000))):
        with pytest.raises(Undecodable, match="more than 8 bits"):
            read(png(low, 2, more, depth=16), LIMITS)
        assert read(png(low, 2, more), LIMITS).frames  # 8 bits: nothing was cut off
    usual = (b"gAMA", struct.pack(">I", 100_000))
    assert read(png(low * 257, 2, usual, depth=16), LIMITS).frames


def test_a_steep_profile_of_an_avif_which_may_have_12_bits_is_refused():
    with pytest.raises(Undecodable, match="more than 8 bits"):
        read(encode(photo(), "AVIF", icc_profile=steep_profile()), LIMITS)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read(encode(photo(), "AVIF", icc_profile=srgb), LIMITS).frames


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("flip", [False, True])
def test_one_panel_of_a_long_strip_is_seen_at_a_size_that_can_be_judged(kind, flip):
    hidden = draw_pattern(1, (400, 400))
    strip = Image.new("RGB", (400, 24_000), (90, 120, 90))
    strip.paste(hidden, (0, 13_777))
    data = encode(strip.transpose(Image.Transpose.TRANSPOSE) if flip else strip, kind)
    picture = as_shown(read(data, LIMITS), data, LIMITS)
    assert set(picture.frame_numbers) == {0} and set(picture.plain) == {0}
    parts = [window for frame in picture.frames for window in windows(frame)]
    inked = [np.asarray(part.convert("L"), float) for part in parts]
    shares = [(np.abs(part - np.median(part)) > 30).mean() for part in inked]
    assert max(shares) > 0.2  # of a window at least a fifth is the panel, not a hundredth
    assert all(max(part.size) <= 2.1 * min(part.size) + 1 for part in parts[len(parts) // 2 :])


@given(st.integers(40, 3_000), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_strips_cover_all_of_a_long_picture(long, short):
    ramp = np.linspace(0, 255, long).astype(np.uint8)
    image = Image.fromarray(np.repeat(ramp[None, :, None], short, 0).repeat(3, 2))
    found = strips(image)
    assert bool(found) == is_long(image.size) and len(found) <= STRIPS_MAX
    if found:
        lows, highs = ([f(np.asarray(one)) for one in found] for f in (np.min, np.max))
        assert lows[0] == 0 and highs[-1] == 255
        assert all(lows[n + 1] <= highs[n] + 1 for n in range(len(found) - 1))
        if long <= (LONG - 1) * STRIPS_MAX * short:
            assert all(max(one.size) <= LONG * min(one.size) for one in found)


def test_the_part_that_an_avif_is_cropped_to_is_a_view_of_its_own():
    canvas = photo(size=(800, 600))
    hidden = draw_pattern(1, (80, 60))
    canvas.paste(hidden, (0, 0))
    data = encode(canvas, "AVIF", quality=95)
    assert len(read(data, LIMITS).frames) == 1
    whole, part = read(cropped_avif(data, 80, 60, -360, -270), LIMITS).frames
    assert whole.size != part.size == (80, 60)
    assert likeness(part, hidden) > 0.95
    assert len(read(cropped_avif(data, 80, 60, -361, -270), LIMITS).frames) == 1  # no part of it


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ((80, 1, 60, 1, 0, 1, 0, 1), {(40, 20, 120, 80)}),
        ((80, 1, 60, 1, -40, 1, -20, 1), {(0, 0, 80, 60)}),
        ((160, 1, 100, 1, 0, 1, 0, 1), set()),
        ((80, 0, 60, 1, 0, 1, 0, 1), set()),
        ((0, 1, 60, 1, 0, 1, 0, 1), set()),
        ((2**32 - 1, 1, 60, 1, -(2**31), 1, 0, 1), set()),
    ],
)
def test_an_aperture_is_a_part_of_the_canvas_or_none(fields, wanted):
    data = APERTURE + FIELDS.pack(*fields)
    assert apertures(b"x" + data, (160, 100)) == wanted
    assert apertures(data[:-1], (160, 100)) == set()
