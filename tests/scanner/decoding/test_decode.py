"""Reading pictures of strangers: what comes out, what is refused, and with which error."""

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scanner.decoding.decode import read
from scanner.decoding.fingerprint import sha256_of
from scanner.errors import OverLimit, ScannerError, Undecodable
from scanner.formats.blocks import count_blocks
from scanner.limits import Limits
from scanner.testpatterns import draw_pattern
from tests.scanner.decoding.test_pdq import distance
from tests.scanner.drawings import encode, photo

LIMITS = Limits()
SMALL = photo("camera", (64, 48))
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")


def animation(kind="PNG", frames=4, size=(20, 10), **options):
    pictures = [draw_pattern(seed, size) for seed in range(frames)]
    return encode(
        pictures[0], kind, save_all=True, append_images=pictures[1:], duration=50, **options
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_each_open_format_is_read(kind):
    data = encode(SMALL, kind)
    picture = read(data, LIMITS)
    assert picture.fingerprint.sha256 == sha256_of(data)
    assert picture.fingerprint.pdq and picture.fingerprint.phash
    assert picture.fingerprint.pdq_quality is not None
    assert len(picture.fingerprint.pdq) == len(picture.fingerprint.phash) == 32
    assert picture.pdq_variants[0] == picture.fingerprint.pdq
    assert len(picture.pdq_variants) == 8
    assert 0 <= picture.fingerprint.pdq_quality <= 100
    assert (picture.width, picture.height) == (64, 48)
    assert (picture.frames_seen, picture.frames_total) == (1, 1)
    assert picture.frames[0].mode == "RGB"


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO", "TGA", "PCX"])
def test_other_formats_of_pillow_stay_shut(kind):
    with pytest.raises(Undecodable):
        read(encode(SMALL, kind), LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"%PDF-1.4",
        b"<svg/>",
    ],
)
def test_what_is_no_picture_is_undecodable(data):
    with pytest.raises(Undecodable):
        read(data, LIMITS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_undecodable(kind, share):
    data = encode(photo("ascent", (200, 200)), kind)
    with pytest.raises(Undecodable):
        read(data[: int(len(data) * share)], LIMITS)


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_raise_nothing_but_scanner_errors(kind, draw):
    data = bytearray(encode(SMALL, kind))
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at] = draw.draw(st.integers(0, 255))
    try:
        picture = read(bytes(data), LIMITS)
    except ScannerError:
        return
    assert picture.frames_seen >= 1


@given(
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"GIF89a", b"\x89PNG\r\n\x1a\n"]),
    st.binary(max_size=400),
)
@settings(max_examples=150, deadline=None)
def test_noise_raises_nothing_but_scanner_errors(start, noise):
    with pytest.raises(ScannerError):
        read(start + noise, LIMITS)


def test_bytes_at_the_limit_pass_and_one_more_does_not():
    data = encode(SMALL, "PNG")
    assert read(data, Limits(image_bytes=len(data)))
    with pytest.raises(OverLimit, match="bytes"):
        read(data, Limits(image_bytes=len(data) - 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_at_the_limit_pass_and_one_more_does_not(kind):
    data = encode(SMALL, kind)
    assert read(data, Limits(pixels=64 * 48))
    with pytest.raises(OverLimit, match="pixels"):
        read(data, Limits(pixels=64 * 48 - 1))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF"])
def test_frames_at_the_limit_are_all_seen_and_of_one_more_a_sample_is(kind):
    data = animation(kind, 5)
    picture = read(data, Limits(frames=5))
    assert (picture.frames_seen, picture.frames_total) == (5, 5)
    assert len(picture.frames) == (6 if kind == "AVIF" else 5)  # a still beside the film
    part = read(data, Limits(frames=4))
    assert (part.frames_seen, part.frames_total) == (4, 5)
    assert part.fingerprint == picture.fingerprint  # `content` too: every frame was composited


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF"])
def test_frames_in_all_at_the_limit_pass_and_one_more_does_not(kind):
    data = animation(kind, 5)
    assert read(data, Limits(frames=2, frames_total=5)).frames_total == 5
    with pytest.raises(OverLimit, match="5 frames"):
        read(data, Limits(frames=2, frames_total=4))


def test_composited_pixels_at_the_limit_pass_and_one_more_does_not():
    data = animation("PNG", 3, (20, 10))
    assert read(data, Limits(composited_pixels=600))
    with pytest.raises(OverLimit, match="composited"):
        read(data, Limits(composited_pixels=599))


def test_scans_of_a_jpeg_at_the_limit_pass_and_one_more_does_not():
    data = encode(SMALL, "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    assert scans > 3
    assert read(data, Limits(scan_pixels=64 * 48 * scans))
    with pytest.raises(OverLimit, match="scans"):
        read(data, Limits(scan_pixels=64 * 48 * scans - 1))


def jpeg_of_segments(count):
    """A JPEG with that many empty comments more than it needs."""
    data = encode(SMALL, "JPEG")
    return data[:2] + b"\xff\xfe\0\2" * count + data[2:]


def png_of_chunks(count):
    data = encode(SMALL, "PNG")
    body = b"tIME"
    return data[:33] + (bytes(4) + body + struct.pack(">I", zlib.crc32(body))) * count + data[33:]


def gif_of_comments(count):
    return encode(SMALL, "GIF")[:-1] + b"\x21\xfe\0" * count + b";"


@pytest.mark.parametrize("make", [jpeg_of_segments, png_of_chunks, gif_of_comments])
def test_blocks_at_the_limit_pass_and_one_more_does_not(make):
    own = count_blocks(make(0), 1000)
    assert read(make(100), Limits(blocks=own + 100))
    with pytest.raises(OverLimit, match="blocks"):
        read(make(101), Limits(blocks=own + 100))


def test_a_flood_of_fill_bytes_is_over_the_limit():
    data = encode(SMALL, "JPEG")
    with pytest.raises(OverLimit, match="blocks"):
        read(data[:2] + b"\xff" * 200_001 + data[2:], LIMITS)


def test_a_tiny_file_of_a_giant_picture_is_over_the_limit_before_it_is_decoded():
    """A PNG header that claims 50,000 x 50,000 pixels: Pillow's own bomb check answers first."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    chunks = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = encode(SMALL, "PNG")
    with pytest.raises(OverLimit):
        read(data[:8] + chunks + data[33:], LIMITS)


def test_a_gif_of_endless_frames_is_refused_without_decoding_them():
    one = animation("GIF", 2, (1, 1))
    frame = one[one.rindex(b"\x21\xf9") : -1]
    with pytest.raises(OverLimit, match="frames"):
        read(one[:-1] + frame * 10_000 + b";", LIMITS)


def test_every_frame_of_an_animation_comes_out_composited():
    """The second frame of this GIF covers a corner only; the rest shows the first."""
    first, second = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "red")
    second.paste("blue", (0, 0, 10, 10))
    data = encode(first, "GIF", save_all=True, append_images=[second], duration=50)
    frame = read(data, LIMITS).frames[1]
    assert frame.getpixel((5, 5)) == (0, 0, 255)
    assert frame.getpixel((30, 30)) == (255, 0, 0)


def test_frames_are_kept_small_and_the_size_of_the_canvas_is_known():
    picture = read(encode(draw_pattern(1, (1600, 1200)), "PNG"), LIMITS)
    assert min(picture.frames[0].size) == 512
    assert (picture.width, picture.height) == (1600, 1200)


def test_a_long_strip_keeps_a_bounded_frame():
    picture = read(encode(Image.new("RGB", (40_000, 600)), "PNG"), LIMITS)
    assert picture.frames[0].width * picture.frames[0].height <= 1 << 20


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_applied(kind, orientation):
    """Stored turned and marked so, a picture hashes as the upright one."""
    upright = photo("camera", (96, 64))
    back = [None, 0, 3, 1, 5, 2, 6, 4]  # the transposes that undo orientation 1 to 8
    method = back[orientation - 1]
    stored = upright if method is None else upright.transpose(Image.Transpose(method))
    tags = Image.Exif()
    tags[0x0112] = orientation
    picture = read(encode(stored, kind, exif=tags.tobytes(), quality=95), LIMITS)
    assert (picture.width, picture.height) == (96, 64)
    plain = read(encode(upright, "PNG"), LIMITS)
    assert distance(picture.fingerprint.pdq, plain.fingerprint.pdq) <= 12


def test_broken_exif_does_not_keep_a_picture_from_being_judged():
    data = encode(SMALL, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read(data, LIMITS).frames_seen == 1


def test_transparency_is_shown_over_grey():
    picture = read(encode(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"), LIMITS)
    assert picture.frames[0].getpixel((0, 0)) == (128, 128, 128)


def test_sixteen_bits_are_cut_to_their_upper_eight():
    picture = read(encode(Image.new("I;16", (8, 8), 0x8123), "PNG"), LIMITS)
    assert picture.frames[0].getpixel((0, 0)) == (0x81,) * 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_is_read(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert read(encode(SMALL.convert(mode), kind), LIMITS).frames[0].mode == "RGB"


def test_a_jpeg_and_a_half_size_copy_are_near():
    large = draw_pattern(5, (1200, 900))
    one = read(encode(large, "JPEG"), LIMITS).fingerprint
    other = read(encode(large.resize((600, 450)), "JPEG", quality=60), LIMITS).fingerprint
    assert distance(one.pdq, other.pdq) <= 31
    assert distance(one.phash, other.phash) <= 47


def test_a_multi_picture_jpeg_shows_all_its_pictures_and_has_no_content():
    buffer = io.BytesIO()
    SMALL.save(buffer, "MPO", save_all=True, append_images=[photo("aero", (64, 48))])
    picture = read(buffer.getvalue(), LIMITS)
    assert (picture.frames_total, picture.fingerprint.content) == (2, None)
    cut = read(buffer.getvalue()[: buffer.getvalue().rindex(b"\xff\xd8")], LIMITS)
    assert cut.frames_total == 1


def test_the_message_of_an_error_is_one_line_without_a_traceback():
    with pytest.raises(Undecodable) as caught:
        read(encode(SMALL, "PNG")[:60], LIMITS)
    assert "\n" not in str(caught.value)
