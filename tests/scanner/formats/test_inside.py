"""What is found in a file beside its picture, what is usual there, and what it costs."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.decoding.decode import read
from scanner.formats.inside import SAMSUNG_BYTES, Inside, inside
from scanner.formats.media_types import is_mismatch, media_type_of
from scanner.limits import Limits
from scanner.testpatterns import draw_noise, draw_pattern, draw_shape
from tests.scanner.decoding.hostile import png_of, sound_files
from tests.scanner.drawings import encode, photo
from tests.scanner.formats.test_hostile import chunks_of, jpeg_segment

LIMITS = Limits()
APPENDED, POLYGLOT, MISMATCH = Inside.APPENDED_DATA, Inside.POLYGLOT, Inside.TYPE_MISMATCH
IMAGE = photo("camera", (64, 48))
FILES = sound_files()
JPEG, PNG, GIF = FILES["jpg"], FILES["png"], FILES["gif"]


def zipped(comment=b""):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("name.txt", "text " * 100)
        archive.comment = comment
    return target.getvalue()


def tarred(mode: Literal["w", "w:gz", "w:xz"]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(None, mode, target) as archive:
        entry = tarfile.TarInfo("name.txt")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    return target.getvalue()


def program():
    """The head of a Windows program: MZ, and PE where MZ says."""
    return b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + b"PE\0\0\x64\x86" + bytes(40)


MORE = {
    "zip": zipped(),
    "tar": tarred("w"),
    "tar.gz": tarred("w:gz"),
    "tar.xz": tarred("w:xz"),
    "gzip": gzip.compress(b"hello" * 50),
    "xz": lzma.compress(b"hello"),
    "bzip2": bz2.compress(b"hello"),
    "zstd": b"\x28\xb5\x2f\xfd\x20\x05\x29\0\0hello",
    "rar": b"Rar!\x1a\7\1\0" + bytes(20),
    "7z": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24),
    "php": b"<?php system($_GET[0]); ?>",
    "script": b"<SCRIPT>alert(1)</SCRIPT>",
    "html": b"<html><body>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg">',
    "shell": b"#!/bin/sh\nrm -r x",
    "windows": program(),
    "elf": b"\x7fELF\2\1\1" + bytes(50),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
}
PICTURES = {
    "jpeg": encode(IMAGE, "JPEG"),
    "png": encode(IMAGE, "PNG"),
    "gif": encode(IMAGE, "GIF"),
    "webp": encode(IMAGE, "WEBP"),
    "avif": encode(IMAGE, "AVIF"),
}
if "mp4" in FILES:
    PICTURES |= {"mp4": FILES["mp4"], "webm": FILES["webm"]}


def found(data, name=None):
    return read(data, LIMITS, name=name).inside


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_found_in_what_encoders_write(name):
    assert found(FILES[name], f"picture.{name}") == ()


@pytest.mark.parametrize("name", FILES)
def test_bytes_behind_the_end_are_appended_data(name):
    assert found(FILES[name] + b"more") == (APPENDED,)


@pytest.mark.parametrize("name", FILES)
def test_padding_behind_the_end_is_none(name):
    assert found(FILES[name] + bytes(600) + b"\r\n\xff") == ()


@pytest.mark.parametrize("what", MORE | PICTURES)
@pytest.mark.parametrize("name", ["jpg", "png", "gif", "webp", "avif"])
def test_what_is_behind_the_end_is_known(name, what):
    data = FILES[name] + b"some bytes" + b"\0" + (MORE | PICTURES)[what]
    assert found(data) == (APPENDED, POLYGLOT)


def in_comment(data):
    return JPEG[:2] + jpeg_segment(0xFE, data) + JPEG[2:]


def in_exif(data):
    return JPEG[:2] + jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + data) + JPEG[2:]


def in_chunk(name, data):
    head, *rest = chunks_of(PNG)
    return png_of(head, (name, data), *rest)


def in_text(data):
    return in_chunk(b"tEXt", b"Comment\0" + data)


def in_packed_text(data):
    return in_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(data))


def in_unknown_chunk(data):
    return in_chunk(b"teSt", data)


def in_gif_comment(data):
    parts = [data[at : at + 255] for at in range(0, len(data), 255)]
    blocks = b"".join(bytes([len(part)]) + part for part in parts)
    return GIF[:-1] + b"\x21\xfe" + blocks + b"\0;"


def in_webp_chunk(data):
    plain = encode(IMAGE, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    body = plain[8:] + b"teSt" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def in_iso_box(data):
    return FILES["avif"] + struct.pack(">I", len(data) + 8) + b"free" + data


PLACES: tuple[Callable[[bytes], bytes], ...] = (
    in_comment,
    in_text,
    in_packed_text,
    in_unknown_chunk,
    in_gif_comment,
)
PLACES += (in_webp_chunk, in_iso_box)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", MORE | PICTURES)
def test_what_is_in_comments_and_unknown_parts_is_known(place, what):
    assert found(place((MORE | PICTURES)[what])) == (POLYGLOT,)


@pytest.mark.parametrize("what", MORE)
def test_archives_scripts_and_programs_are_known_in_exif_too(what):
    assert found(in_exif(MORE[what])) == (POLYGLOT,)


def test_a_jpeg_without_an_end_is_looked_through_as_well():
    """Some decoders need none once all rows are there."""
    assert inside(in_comment(MORE["php"])[:-2], "image/jpeg") == (POLYGLOT,)


@pytest.mark.parametrize("at", [4, 8, 20, 40])
def test_a_broken_table_of_further_pictures_hides_nothing(at):
    table = jpeg_segment(0xE2, (b"MPF\0II*\0\x08\0\0\0\1\0\2\xb0" + b"\xff" * 40)[:at])
    data = in_comment(MORE["php"])
    assert inside(data[:2] + table + data[2:] + b"more", "image/jpeg") == (APPENDED, POLYGLOT)


def test_previews_in_exif_are_usual():
    assert found(in_exif(PICTURES["jpeg"])) == ()
    assert found(in_chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0" + PICTURES["jpeg"])) == ()


@pytest.mark.parametrize("place", PLACES)
def test_words_in_comments_are_no_finding(place):
    for text in (
        b"Created with GIMP",
        b"PK is MZ and #!",
        b"a <b> & php?",
        b"# heading\n!x",
        b"%PDF",
    ):
        assert found(place(text)) == ()


def test_a_zip_that_ends_with_the_picture_is_known_wherever_its_parts_are():
    """Its entries are in a comment, its directory and end behind the picture, and further."""
    archive = zipped()
    at = archive.index(b"PK\1\2")
    assert found(in_comment(b"x" + archive[:at]) + archive[at:]) == (APPENDED, POLYGLOT)
    assert inside(JPEG[:-2] + zipped(b"comment") + b"\xff\xd9", "image/jpeg") == (POLYGLOT,)


def test_a_zip_in_between_decoys_is_known():
    decoys = b"PK\5\6" * 5000
    assert POLYGLOT in found(JPEG + decoys + zipped())


def multi_picture(*more):
    target = io.BytesIO()
    IMAGE.save(target, "MPO", save_all=True, append_images=list(more))
    return target.getvalue()


def test_pictures_that_a_multi_picture_file_declares_are_its_own():
    data = multi_picture(draw_shape(1, (32, 24)), draw_shape(2, (32, 24)))
    assert found(data) == ()
    assert found(data + b"more") == (APPENDED,)
    assert found(data + zipped()) == (APPENDED, POLYGLOT)


def test_a_picture_that_nothing_declares_is_appended():
    data = multi_picture(draw_shape(1, (32, 24)))
    undeclared = data.replace(b"MPF\0", b"XXX\0")
    assert found(undeclared) == (APPENDED, POLYGLOT)


def test_what_lies_between_and_in_declared_pictures_is_found():
    data = multi_picture(draw_shape(1, (32, 24)))
    second = data.rindex(b"\xff\xd8\xff")
    hidden = data[:second] + zipped() + data[second:]  # the table points into the archive now
    assert POLYGLOT in inside(hidden, "image/jpeg")
    comment = jpeg_segment(0xFE, MORE["php"])
    assert POLYGLOT in inside(data[: second + 2] + comment + data[second + 2 :], "image/jpeg")


def samsung(size):
    """A trailer as phones of Samsung write it: data, directory, its length."""
    data = b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1700000000000"
    data = data.ljust(size - 24 - 8, b"1")
    directory = b"SEFH" + struct.pack("<IIHHII", 106, 1, 0, 0x0A01, len(data), len(data))
    return data + directory + struct.pack("<I", len(directory)) + b"SEFT"


def test_the_short_trailer_of_a_phone_is_usual_and_one_byte_more_is_not():
    assert len(samsung(SAMSUNG_BYTES)) == SAMSUNG_BYTES
    assert found(JPEG + samsung(200)) == ()
    assert found(JPEG + samsung(SAMSUNG_BYTES)) == ()
    assert found(JPEG + samsung(SAMSUNG_BYTES + 1)) == (APPENDED,)


@pytest.mark.skipif("mp4" not in PICTURES, reason="needs PyAV")
def test_the_film_of_a_motion_photo_is_found_because_nobody_judged_it():
    assert found(JPEG + PICTURES["mp4"] + samsung(200)) == (APPENDED, POLYGLOT)


@pytest.mark.parametrize(
    ("name", "media_type", "claims"),
    [
        ("a.jpg", "image/jpeg", False),
        ("A.JPEG", "image/jpeg", False),
        ("a.jfif", "image/jpeg", False),
        ("image/jpeg", "image/jpeg", False),
        ("image/JPEG; charset=x", "image/jpeg", False),
        ("image/pjpeg", "image/jpeg", False),
        ("image/apng", "image/png", False),
        ("image/x.jpg", "image/jpeg", False),
        ("video/quicktime", "video/mp4", False),
        ("a.mov", "video/mp4", False),
        ("a.mkv", "video/webm", False),
        ("application/octet-stream", "image/png", False),
        ("no extension", "image/png", False),
        ("0190c3b2-7b4e-7000", "image/png", False),
        ("https://example.com", "image/png", False),
        ("a.unknownextension", "image/png", False),
        ("", "image/png", False),
        ("a.png", "image/jpeg", True),
        ("image/png", "image/jpeg", True),
        ("image/x.png", "image/jpeg", True),
        ("a.jpg.exe", "image/jpeg", True),
        ("text/html", "image/gif", True),
        ("a.php", "image/gif", True),
        ("a.heic", "image/jpeg", True),
        ("a.mp4", "image/webp", True),
        ("a.gif", "video/mp4", True),
        ("video/mp4", "video/webm", True),
    ],
)
def test_a_name_or_media_type_that_claims_another_kind_is_a_mismatch(name, media_type, claims):
    assert is_mismatch(media_type, name) is claims


def test_a_mismatch_comes_with_the_picture():
    assert found(JPEG, "photo.png") == (MISMATCH,)
    assert found(JPEG + b"more" + zipped(), "photo.zip") == (APPENDED, POLYGLOT, MISMATCH)


@pytest.mark.parametrize("name", FILES)
def test_the_media_type_is_that_of_the_bytes(name):
    kinds = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}
    kinds |= {"avif": "image/avif", "mp4": "video/mp4", "webm": "video/webm"}
    kinds["mkv"] = "video/x-matroska"
    assert read(FILES[name], LIMITS).media_type == kinds[name.rsplit(".", 1)[-1]]


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_found_in_pictures_of_any_kind(seed):
    """Coded pixels hold every short signature sooner or later; they are not searched."""
    dice = random.Random(seed)
    for make in (draw_noise, draw_pattern, draw_shape):
        image = make(seed, (240, 180))
        for kind in ("JPEG", "PNG", "GIF", "WEBP", "AVIF"):
            options = {"quality": dice.randrange(40, 100)} if kind != "GIF" else {}
            assert found(encode(image, kind, **options), f"x.{kind}") == ()


def test_noise_in_comments_is_no_finding():
    dice = random.Random(1)
    for _ in range(200):
        data = in_comment(dice.randbytes(60_000))
        assert inside(data, "image/jpeg") == ()


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_files_raise_nothing(name, draw):
    data = bytearray(FILES[name])
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert isinstance(inside(bytes(data), media_type_of(FILES[name]), "x.jpg"), tuple)


@pytest.mark.parametrize(
    "make",
    [
        lambda: JPEG + random.Random(1).randbytes(40_000_000),
        lambda: JPEG + b"MZ" * 20_000_000,
        lambda: JPEG + b"PK\5\6" * 10_000_000,
        lambda: JPEG[:2] + jpeg_segment(0xFE, b"\x1f\x8b\x08\0" * 15_000) * 600 + JPEG[2:],
        lambda: JPEG[:2] + b"\xff\xfe\0\2" * 10_000_000 + JPEG[2:],
        lambda: PNG[:33] + (bytes(4) + b"teSt" + bytes(4)) * 99_000 + PNG[33:],
    ],
)
def test_forty_megabytes_are_looked_at_in_bounded_time(make):
    """Nobody waits for it: what is looked at again and again would take minutes."""
    assert seconds(make()) < 20


def seconds(data):
    start = time.process_time()
    inside(data, media_type_of(data), "x.jpg")
    return time.process_time() - start
