"""The content digest: committed vectors, what survives re-wrapping, and what has none."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scanner.decoding.decode import content_of, read
from scanner.errors import ScannerError
from scanner.formats.content import ItemHash, content_of_jpeg
from scanner.formats.exif import Doubt
from scanner.formats.webp import check_lossless_webp
from scanner.limits import Limits
from tests.scanner.drawings import encode, photo
from tests.scanner.formats.make_content_vectors import exif

LIMITS = Limits()
VECTORS = json.loads((Path(__file__).parent / "content_vectors.json").read_text())
SMALL = photo("camera", (40, 32))
JPEG = encode(SMALL, "JPEG", quality=80)


def segment(marker, payload):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def insert(data, extra, at=2):
    return data[:at] + extra + data[at:]


def exif_segment(orientation):
    return segment(0xE1, b"Exif\0\0" + exif(orientation).removeprefix(b"Exif\0\0"))


def before_scan(data):
    return data.index(b"\xff\xda")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_committed_vectors_hold(vector):
    data = base64.b64decode(vector["file"])
    found = read(data, LIMITS).fingerprint.content
    assert (found and found.hex()) == vector["content"]
    assert content_of(data, LIMITS) == found


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xFE, b"a comment"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        segment(0xED, b"Photoshop 3.0\0"),
        segment(0xE5, b"whatever"),
        segment(0xEB, b"JP\0\0\0\0\0\1\0\0\0\x20jumb"),
    ],
)
def test_metadata_that_shows_nothing_leave_the_digest_as_it_is(extra):
    assert content_of_jpeg(insert(JPEG, extra)) == content_of_jpeg(JPEG) is not None


def test_what_follows_the_end_leaves_the_digest_as_it_is():
    assert content_of_jpeg(JPEG + b"trailing bytes") == content_of_jpeg(JPEG)


@pytest.mark.parametrize(
    "extra",
    [segment(0xE2, b"ICC_PROFILE\0\1\1abc"), segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")],
)
def test_what_changes_colours_changes_the_digest(extra):
    assert content_of_jpeg(insert(JPEG, extra)) not in {None, content_of_jpeg(JPEG)}


def test_the_orientation_changes_the_digest_and_the_rest_of_exif_does_not():
    turned = [content_of_jpeg(insert(JPEG, exif_segment(number))) for number in range(1, 9)]
    assert len({*turned, content_of_jpeg(JPEG)}) == 9
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a camera"
    named = segment(0xE1, b"Exif\0\0" + tags.tobytes().removeprefix(b"Exif\0\0"))
    assert content_of_jpeg(insert(JPEG, named)) == turned[5]


HOSTILE = {
    "empty": b"",
    "only a start": b"\xff\xd8\xff",
    "no end": JPEG[:-2],
    "cut in the scan": JPEG[: before_scan(JPEG) + 40],
    "two EXIF blocks": insert(JPEG, exif_segment(1) + exif_segment(6)),
    "orientation nine": insert(JPEG, exif_segment(9)),
    "broken EXIF": insert(JPEG, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "EXIF of another magic": insert(JPEG, segment(0xE1, b"Exif\0\0II+\0\x08\0\0\0\0\0")),
    "EXIF misspelt": insert(JPEG, segment(0xE1, b"EXIF\0\0" + exif(6))),
    "orientation in XMP": insert(
        JPEG, segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>')
    ),
    "several pictures (MPF)": insert(JPEG, segment(0xE2, b"MPF\0II*\0")),
    "a gain map": insert(JPEG, segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0")),
    "an extension layer": insert(JPEG, segment(0xEB, b"JP\0\0\0\0\0\1\0\0\0\x20RESI")),
    "a second JPEG behind the end": JPEG + JPEG,
    "a video behind the end": JPEG + b"\0\0\0\x18ftypmp42",
    "a second start": insert(JPEG, b"\xff\xd8"),
    "an end before the scan": insert(JPEG, b"\xff\xd9", before_scan(JPEG)),
    "fill bytes before a marker": insert(JPEG, b"\xff\xff"),
    "garbage between segments": insert(JPEG, b"\0\0"),
    "a marker without meaning": insert(JPEG, segment(0x02, b"ab")),
    "TEM": insert(JPEG, b"\xff\x01"),
    "a restart marker outside a scan": insert(JPEG, b"\xff\xd0"),
    "lines counted behind the scan (DNL)": insert(JPEG, segment(0xDC, b"\0\x10"), len(JPEG) - 2),
    "metadata behind the scan": insert(JPEG, exif_segment(6), len(JPEG) - 2),
    "a length of one": insert(JPEG, b"\xff\xfe\0\1"),
    "a length past the end": insert(JPEG, b"\xff\xfe\xff\xff"),
    "no height": JPEG.replace(b"\xff\xc0\0\x11\x08\0\x20", b"\xff\xc0\0\x11\x08\0\0"),
    "twelve bits": JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    "lossless": JPEG.replace(b"\xff\xc0\0\x11", b"\xff\xc3\0\x11"),
    "two frames": insert(JPEG, JPEG[JPEG.index(b"\xff\xc0") :][:19], JPEG.index(b"\xff\xc0")),
    "CMYK": encode(SMALL.convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_jpeg_in_doubt_has_no_content(name):
    assert HOSTILE[name] != JPEG
    assert content_of_jpeg(HOSTILE[name]) is None


def test_an_end_marker_inside_a_comment_is_no_end():
    """The walk goes by lengths, so bytes after a lookalike still count."""
    lookalike = insert(JPEG, segment(0xFE, b"\xff\xd9"))
    assert content_of_jpeg(lookalike) == content_of_jpeg(JPEG)
    changed = bytearray(lookalike)
    changed[before_scan(lookalike) + 30] ^= 1
    assert content_of_jpeg(bytes(changed)) != content_of_jpeg(JPEG)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_of_a_bare_jpeg_changes_the_digest_or_makes_it_absent(data):
    """A bare JPEG is hashed in full, so nothing in it can change unseen."""
    at = data.draw(st.integers(0, len(JPEG) - 1))
    changed = bytearray(JPEG)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert content_of_jpeg(bytes(changed)) != content_of_jpeg(JPEG)


@given(st.binary(max_size=300), st.integers(0, len(JPEG)))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_walk_fail(noise, at):
    found = content_of_jpeg(JPEG[:at] + noise + JPEG[at:])
    assert found is None or len(found) == 32


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


PNG = encode(SMALL, "PNG")
AFTER_HEADER = 33


@pytest.mark.parametrize(
    "other", [encode(SMALL, "PNG", compress_level=1), encode(SMALL, "WEBP", lossless=True)]
)
def test_a_lossless_rewrap_keeps_the_digest(other):
    assert other != PNG
    assert content_of(other, LIMITS) == content_of(PNG, LIMITS) is not None


def test_a_jpeg_and_a_png_of_the_same_pixels_differ():
    decoded = Image.open(io.BytesIO(JPEG)).convert("RGB")
    assert content_of(encode(decoded, "PNG"), LIMITS) != content_of(JPEG, LIMITS)


def test_a_text_chunk_leaves_the_digest_of_a_png_as_it_is():
    noted = insert(PNG, chunk(b"tEXt", b"Comment\0hi"), AFTER_HEADER)
    assert content_of(noted, LIMITS) == content_of(PNG, LIMITS)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"sRGB", b"\0"),
        chunk(b"cICP", b"\1\x0d\0\1"),
    ],
)
def test_a_colour_chunk_changes_the_digest_of_a_png(extra):
    assert content_of(insert(PNG, extra, AFTER_HEADER), LIMITS) not in {
        None,
        content_of(PNG, LIMITS),
    }


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"gAMA", b"\0\0\0\1") * 2,
        chunk(b"orNT", b"\6"),
        chunk(b"vpAg", b"1234"),
        chunk(b"gAMA", b"\0\0\0\1")[:-1] + b"?",
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 8\n"),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>")),
    ],
)
def test_a_png_in_doubt_has_no_content(extra):
    try:
        found = content_of(insert(PNG, extra, AFTER_HEADER), LIMITS)
    except ScannerError:
        found = None
    assert found is None


def test_colour_chunks_behind_the_pixels_are_in_doubt():
    late = insert(PNG, chunk(b"gAMA", b"\0\0\0\1"), len(PNG) - 12)
    assert content_of(late, LIMITS) is None


def moving(kind, **options):
    frames = [photo(name, (30, 20)) for name in ("aero", "ascent", "camera")]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def test_an_animation_that_starts_beside_its_default_picture_is_in_doubt():
    assert content_of(moving("PNG", duration=50, default_image=True), LIMITS) is None


@pytest.mark.parametrize("option", [{"blend": 1}, {"disposal": 1}, {"disposal": 2}])
def test_an_animated_png_that_pillow_composes_otherwise_than_browsers_is_in_doubt(option):
    """Pillow mixes alpha where it should add, and disposes to a colour instead of nothing."""
    frames = [Image.new("RGBA", (8, 8), (tone, 9, 9, 99)) for tone in (0, 99, 200)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], **option)
    assert content_of(data, LIMITS) is None


def test_durations_and_loops_are_part_of_the_digest():
    found = {
        content_of(moving("PNG", duration=50, loop=0), LIMITS),
        content_of(moving("PNG", duration=60, loop=0), LIMITS),
        content_of(moving("PNG", duration=50, loop=2), LIMITS),
    }
    assert len(found) == 3
    assert None not in found


@pytest.mark.parametrize("disposal", [2, 3])
def test_a_gif_whose_disposal_viewers_differ_on_has_no_content(disposal):
    assert content_of(moving("GIF", duration=50, disposal=disposal), LIMITS) is None


def test_a_gif_that_only_adds_frames_has_content():
    assert content_of(moving("GIF", duration=50, disposal=1), LIMITS) is not None


def test_a_gif_whose_first_frame_leaves_the_screen_uncovered_has_no_content():
    data = bytearray(encode(SMALL.convert("L"), "GIF"))
    data[6:8] = (60).to_bytes(2, "little")
    assert content_of(bytes(data), LIMITS) is None


def test_a_webp_with_a_chunk_nobody_knows_has_no_content():
    data = encode(SMALL, "WEBP", lossless=True, exif=exif(1))
    extra = b"ABCD\4\0\0\0abcd"
    longer = data[:4] + struct.pack("<I", len(data) - 8 + len(extra)) + data[8:] + extra
    assert content_of(data, LIMITS) is not None
    assert content_of(longer, LIMITS) is None


def test_a_still_picture_in_an_animated_webp_is_in_doubt():
    data = moving("WEBP", lossless=True, duration=50)
    still = encode(SMALL, "WEBP", lossless=True)[12:]
    longer = data[:4] + struct.pack("<I", len(data) - 8 + len(still)) + data[8:] + still
    check_lossless_webp(data)
    with pytest.raises(Doubt, match="beside"):
        check_lossless_webp(longer)


def test_a_mixed_webp_animation_has_no_content():
    assert content_of(moving("WEBP", duration=50, lossless=False), LIMITS) is None


@pytest.mark.parametrize(
    ("mode", "transparency"), [("P", 5), ("P", bytes(range(256))), ("L", 77), ("RGB", (1, 2, 3))]
)
def test_pixels_hash_the_same_in_strips_as_in_one_piece(mode, transparency):
    """150 rows make two full strips and a cut one; transparency is kept in each."""
    data = encode(photo("camera", (20, 150)).convert(mode), "PNG", transparency=transparency)
    image = Image.open(io.BytesIO(data))
    strips, whole = ItemHash("x"), ItemHash("x")
    strips.add_pixels(image)
    whole.add(image.convert("RGBA").tobytes())
    assert strips.digest() == whole.digest()
