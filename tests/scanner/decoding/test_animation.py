"""Long animations: which frames are seen, that no memory is without a limit, and what is told."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scanner.decoding.decode import content_of, read
from scanner.decoding.kept import Kept
from scanner.decoding.perceptual import perceptual
from scanner.decoding.sampling import positions
from scanner.errors import OverLimit
from scanner.formats.gif import gif_facts
from scanner.formats.timing import frame_times
from scanner.limits import Limits
from scanner.testpatterns import draw_pattern
from tests.scanner.drawings import encode

LIMITS = Limits()
FORMATS = ("PNG", "GIF", "WEBP", "AVIF")
SEED = bytes(range(32))


def shades(count, size=(16, 12), mode="RGB"):
    """A film whose frames tell their number by their grey: 0, 2, 4 and so on."""
    return [Image.new("RGB", size, (2 * n,) * 3).convert(mode) for n in range(count)]


def film(pictures, kind="PNG", **options):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return encode(
        pictures[0], kind, save_all=True, append_images=pictures[1:], duration=40, loop=0,
        **lossless, **options,
    )  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_a_film_of_more_frames_than_the_limit_is_sampled(kind):
    picture = read(film(shades(100), kind), LIMITS, seed=SEED)
    assert (picture.frames_seen, picture.frames_total) == (64, 100)
    of_film = (
        picture.frame_numbers
        if kind != "AVIF"
        else picture.frame_numbers[:1]
        + tuple(number for number in picture.frame_numbers[1:] if number)
    )  # an AVIF's still is number 0 too
    assert sorted(of_film) == list(positions(SEED, 100, 64))


@pytest.mark.parametrize("kind", FORMATS)
def test_each_view_is_of_the_frame_whose_number_it_has(kind):
    picture = read(film(shades(100), kind), LIMITS, seed=SEED)
    for number, frame in zip(picture.frame_numbers, picture.frames, strict=True):
        assert abs(int(np.asarray(frame)[3, 3, 0]) - 2 * number) <= (3 if kind == "AVIF" else 0)


def test_the_first_frame_comes_first_and_the_rest_spread():
    picture = read(film(shades(64)), LIMITS)
    assert picture.frame_numbers[:8] == (0, 32, 16, 48, 8, 40, 24, 56)


def test_another_seed_sees_other_frames_and_the_same_fingerprint():
    data = film([draw_pattern(n, (32, 24)) for n in range(80)])
    one, other = (read(data, LIMITS, seed=bytes([n]) * 32) for n in (1, 2))
    assert one.frame_numbers != other.frame_numbers
    assert one.fingerprint == other.fingerprint


def test_content_is_exact_for_frames_that_were_not_sampled():
    """Two films that differ in one frame that nobody looked at have different digests."""
    pictures = shades(100)
    unseen = (set(range(100)) - set(positions(SEED, 100, 64))).pop()
    changed = [*pictures[:unseen], Image.new("RGB", (16, 12), "red"), *pictures[unseen + 1 :]]
    one, other = (read(film(frames), LIMITS, seed=SEED) for frames in (pictures, changed))
    assert one.fingerprint.content is not None
    assert one.fingerprint.content != other.fingerprint.content
    assert one.fingerprint.content == content_of(film(pictures), LIMITS)


def test_a_frame_that_is_hidden_is_seen_by_some_seed():
    pictures = shades(100)
    pictures[57] = Image.new("RGB", (16, 12), "red")
    data = film(pictures)
    seen = [
        any(frame.getpixel((3, 3)) == (255, 0, 0) for frame in read(data, LIMITS, seed=s).frames)
        for s in (bytes([n]) * 32 for n in range(20))
    ]
    assert any(seen) and not all(seen)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("place", [3, 571, 599])
def test_a_frame_that_stays_on_display_is_seen_among_hundreds_that_flash_by(kind, place):
    """Frame 3 is in the first stratum, 599 is the last: a film that ends stays there."""
    pictures = [Image.new("RGB", (16, 12), (0, 0, n % 2 * 50)) for n in range(600)]
    pictures[place] = Image.new("RGB", (16, 12), "red")
    times = [20] * 600
    times[place] = 20 if place == 599 else 3_000
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encode(
        pictures[0], kind, save_all=True, append_images=pictures[1:], duration=times, **lossless
    )
    for seed in (bytes([number]) * 32 for number in range(6)):
        picture = read(data, LIMITS, seed=seed)
        assert picture.frames_seen == 64 and picture.frames_total == 600
        assert max(int(np.asarray(frame)[3, 3, 0]) for frame in picture.frames) > 200


@pytest.mark.parametrize("kind", FORMATS)
def test_times_are_those_that_were_written(kind):
    times = [20, 0, 3_000, 70, 10, 200]
    pictures = [Image.new("RGB", (16, 12), (40 * n, 0, 0)) for n in range(6)]
    data = encode(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=times)
    shown = (
        [max(time, 1) for time in times]
        if kind == "AVIF"
        else [time if time > 10 else 100 for time in times]
    )
    assert frame_times(data, kind, 6) == shown
    assert frame_times(data, kind, 3)[:3] == shown[:3]


@given(st.binary(max_size=300), st.sampled_from((*FORMATS, "JPEG", None)))
def test_times_of_any_bytes_are_told_or_not(data, kind):
    assert all(time >= 0 for time in frame_times(data, kind, 5))


def black_on_nothing(disposal):
    """A GIF whose second frame is drawn in black where a black one was disposed of."""
    hidden = draw_pattern(1, (64, 48)).convert("L").point(lambda v: 255 * (v > 128))
    first, second = (Image.new("P", hidden.size), hidden.point(lambda v: v // 255).convert("P"))
    parts = []
    for frame, transparent in ((first, 0), (second, 1)):
        frame.putpalette([0, 0, 0, 255, 255, 255])
        data = encode(frame, "GIF", optimize=False)
        (part,) = gif_facts(data).parts
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | transparent, 9, 1, 0)
        parts.append(control + data[part.start : part.end])
    head = data[: part.start]
    return head + b"".join(parts) + b";", hidden


@pytest.mark.parametrize("disposal", [2, 3, 4])
def test_what_is_drawn_where_a_frame_was_disposed_of_is_seen_as_browsers_show_it(disposal):
    data, hidden = black_on_nothing(disposal)
    wanted = np.asarray(hidden, float).ravel()
    picture = read(data, LIMITS)
    pixels = [np.asarray(view.convert("L"), float).ravel() for view in picture.frames]
    assert max(np.corrcoef(wanted, one)[0, 1] for one in pixels if one.std()) > 0.95
    assert (picture.frames_seen, picture.frames_total) == (2, 2)


@pytest.mark.parametrize("disposal", [0, 1])
def test_what_is_drawn_where_a_frame_stays_is_put_over_it(disposal):
    data, _ = black_on_nothing(disposal)
    assert all(np.asarray(view).max() == 0 for view in read(data, LIMITS).frames)


def test_hashes_of_a_view_are_those_of_the_plain_view_of_its_frame():
    pictures = [draw_pattern(n, (64, 48)).convert("RGBA") for n in range(3)]
    for frame in pictures:
        frame.putalpha(200)
    picture = read(film(pictures), LIMITS)
    assert len(picture.frames) == 9
    assert picture.plain == (0, 0, 0, 3, 3, 3, 6, 6, 6)
    assert picture.frame_numbers == (0, 0, 0, 2, 2, 2, 1, 1, 1)
    found = picture.hashes_of(5)
    assert found == perceptual(picture.frames[3])
    assert found.variants[0] != picture.fingerprint.pdq
    first = picture.hashes_of(0)
    assert (first.variants, first.phash) == (picture.pdq_variants, picture.fingerprint.phash)


def test_view_pixels_at_the_limit_are_kept_and_one_less_drops_a_frame():
    data = film(shades(8))
    whole = read(data, Limits(view_pixels=8 * 16 * 12))
    assert (whole.frames_seen, whole.frames_total) == (8, 8)
    less = read(data, Limits(view_pixels=8 * 16 * 12 - 1))
    assert (less.frames_seen, less.frames_total) == (7, 8)
    assert less.frame_numbers == whole.frame_numbers[:7]  # what is left still spreads
    half = read(data, Limits(view_pixels=4 * 16 * 12))
    assert half.frame_numbers == (0, 4, 2, 6)
    assert half.fingerprint == whole.fingerprint


def test_views_of_one_frame_that_do_not_fit_are_over_the_limit():
    data = encode(Image.new("RGB", (16, 12)), "PNG")
    assert read(data, Limits(view_pixels=16 * 12))
    with pytest.raises(OverLimit, match="pixels of views"):
        read(data, Limits(view_pixels=16 * 12 - 1))


def test_a_frame_goes_with_all_its_views():
    kept = Kept(5)
    dot = Image.new("RGB", (1, 1))
    for number, rank in enumerate((0, 2, 1)):
        kept.add(rank, 0, number, [dot] * 2)
    assert [(entry.rank, entry.number) for entry in kept.entries()] == [(0, 0), (1, 2)]
    assert not kept.wants(2) and kept.wants(1)


def test_pictures_of_a_multi_picture_jpeg_at_the_limit_pass_and_one_more_does_not():
    data = encode(shades(3)[0], "MPO", save_all=True, append_images=shades(3)[1:])
    assert read(data, Limits(frames=3)).frames_seen == 3
    with pytest.raises(OverLimit, match="pictures in one file"):
        read(data, Limits(frames=2))


def test_the_film_of_an_avif_that_shows_a_still_is_sampled_and_counted():
    data = film(shades(100), "AVIF").replace(b"ftypavis", b"ftypavif", 1)
    picture = read(data, LIMITS, seed=SEED)
    assert (picture.frames_seen, picture.frames_total) == (64, 100)
    assert len(picture.frames) == 65
