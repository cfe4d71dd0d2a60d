"""Taking out of a file what is not its picture: that stays as it is, and the rest is gone."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from scanner.decoding.decode import read
from scanner.errors import ScannerError, StripError, Undecodable
from scanner.formats import strip as strip_file
from scanner.formats.inside import Inside
from scanner.formats.strip import strip
from scanner.limits import Limits
from tests.scanner.decoding.hostile import mutations, png_of, sound_files
from tests.scanner.drawings import encode, photo
from tests.scanner.formats.test_hostile import chunks_of, jpeg_segment
from tests.scanner.formats.test_inside import MORE, PLACES, in_exif, zipped

LIMITS = Limits()
FILES = sound_files()
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(data):
    """Every frame at full size, with its duration."""
    with Image.open(io.BytesIO(data)) as image:
        frames = range(getattr(image, "n_frames", 1) if image.format != "MPO" else 1)
        found = []
        for number in frames:
            image.seek(number)
            found.append((image.convert("RGBA").tobytes(), image.info.get("duration")))
        return found, image.info.get("loop"), image.getexif().get(0x0112)


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(("4", "m", "v"))])
def test_the_pixels_the_timing_and_the_orientation_stay(name):
    stripped = strip(FILES[name] + zipped(), LIMITS)
    assert pixels(stripped) == pixels(FILES[name])
    assert read(stripped, LIMITS).inside == ()


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(("4", "m", "v"))])
def test_the_frames_of_a_video_stay(name):
    before, after = read(FILES[name], LIMITS), read(strip(FILES[name] + zipped(), LIMITS), LIMITS)
    assert [frame.tobytes() for frame in after.frames] == [f.tobytes() for f in before.frames]
    assert after.inside == ()


@pytest.mark.parametrize("name", ["jpg", "progressive.jpg", "png", "apng.png", "film.gif"])
def test_content_stays_where_there_is_one(name):
    """What `content` leaves out is what may go."""
    before = read(FILES[name], LIMITS).fingerprint.content
    assert before is not None
    assert read(strip(FILES[name], LIMITS), LIMITS).fingerprint.content == before


@pytest.mark.parametrize("place", [*PLACES, in_exif])
@pytest.mark.parametrize("what", MORE)
def test_what_is_found_is_gone(place, what):
    data = place(MORE[what])
    assert read(data, LIMITS).inside == (Inside.POLYGLOT,)
    stripped = strip(data, LIMITS)
    assert read(stripped, LIMITS).inside == ()
    assert MORE[what] not in stripped
    assert pixels(stripped) == pixels(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_places_and_names_go_and_the_profile_stays(kind):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 8, "a camera"
    tags.get_ifd(0x8825)[1] = "N"
    data = encode(photo(), kind, exif=tags.tobytes(), icc_profile=PROFILE)
    with Image.open(io.BytesIO(strip(data, LIMITS))) as image:
        assert dict(image.getexif()) == {0x0112: 8}
        assert image.info["icc_profile"] == PROFILE


def test_further_pictures_of_a_file_go():
    stripped = strip(FILES["mpo.jpg"], LIMITS)
    assert stripped.count(b"\xff\xd8\xff") == 1
    assert read(stripped, LIMITS).frames_total == 1


def test_a_preview_in_the_file_goes():
    preview = encode(photo("aero", (16, 16)), "JPEG")
    assert preview not in strip(in_exif(preview), LIMITS)


def test_what_lies_behind_the_compressed_pixels_of_a_png_goes():
    """Inside the chunk, but past the end of its stream: no decoder looks there."""
    head, *rest = chunks_of(FILES["png"])
    hidden = [(name, body + zipped() if name == b"IDAT" else body) for name, body in rest]
    stripped = strip(png_of(head, *hidden), LIMITS)
    assert b"PK\3\4" not in stripped
    assert pixels(stripped) == pixels(FILES["png"])


def test_a_profile_that_holds_an_archive_goes_with_it():
    data = encode(photo(), "JPEG", icc_profile=PROFILE + zipped())
    assert read(data, LIMITS).inside == (Inside.POLYGLOT,)
    stripped = strip(data, LIMITS)
    assert read(stripped, LIMITS).inside == ()
    difference = np.asarray(read(stripped, LIMITS).frames[0], int) - read(data, LIMITS).frames[0]
    assert abs(difference).max() <= 8  # it had to be coded anew


def test_a_jpeg_out_of_the_grammar_is_coded_anew():
    jpeg, comment = FILES["jpg"], jpeg_segment(0xFE, zipped())
    odd = jpeg[:2] + comment + bytes(3) + jpeg[2:]  # decoders skip what is no marker
    assert read(strip(odd, LIMITS), LIMITS).inside == ()


def test_what_cannot_be_verified_is_not_given_out(monkeypatch):
    other = encode(photo("aero"), "JPEG")
    monkeypatch.setattr(strip_file, "_ways", lambda _: iter([lambda *_: other, lambda *_: b""]))
    with pytest.raises(StripError, match="unchanged"):
        strip(FILES["jpg"], LIMITS)


def test_what_is_no_picture_is_undecodable():
    with pytest.raises(Undecodable):
        strip(b"no picture", LIMITS)


def test_a_stripped_file_is_stripped_to_itself():
    for name, data in FILES.items():
        once = strip(data + zipped(), LIMITS)
        assert strip(once, LIMITS) == once, name


def test_damaged_files_raise_nothing_but_scanner_errors():
    for name, data in mutations(7, 150):
        try:
            stripped = strip(data, LIMITS)
        except ScannerError:
            continue
        assert read(stripped, LIMITS).inside == (), name


def test_comments_are_nowhere_in_a_stripped_file():
    marker = b"a comment to be found"
    for segment in (0xFE, 0xE5, 0xED, 0xEF):
        data = FILES["jpg"][:2] + jpeg_segment(segment, marker) + FILES["jpg"][2:]
        assert marker not in strip(data, LIMITS)
