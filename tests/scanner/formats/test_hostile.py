"""Files in which a viewer finds another picture than a decoder: refused, or seen in full."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from scanner.decoding.decode import content_of, read
from scanner.errors import OverLimit, Undecodable
from scanner.limits import Limits
from tests.scanner.drawings import encode, photo

LIMITS = Limits()
SIZE = (64, 48)
PHOTO = photo("camera", SIZE)
GREY = Image.new("RGB", SIZE, (128, 128, 128))


def png(*chunks):
    """A PNG of chunks (name, body)."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def chunks_of(data):
    """The chunks (name, body) of a PNG."""
    at, found = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def header(depth, kind, size=(16, 16)):
    return (b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))


def grey_png(depth, row, *extra):
    """A grey PNG of 16 equal rows."""
    pixels = (b"IDAT", zlib.compress((b"\0" + row) * 16))
    return png(header(depth, 0), *extra, pixels, (b"IEND", b""))


def contrast(picture):
    """The largest standard deviation among the frames: 0 when only flat ones are seen."""
    return max(np.asarray(frame).std() for frame in picture.frames)


PALETTE = chunks_of(encode(PHOTO.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))
IHDR, PLTE, IDAT, IEND = PALETTE
COLOURS = len(PLTE[1]) // 3
CLEAR, OPAQUE = (b"tRNS", bytes(COLOURS)), (b"tRNS", b"\xff" * COLOURS)
MOVING = chunks_of(encode(GREY, "PNG", save_all=True, append_images=[PHOTO], duration=50, loop=0))
ACTL = MOVING[1]

HIDING = {
    "transparency before the palette": [IHDR, CLEAR, PLTE, IDAT, IEND],
    "transparency behind the pixels": [IHDR, PLTE, IDAT, CLEAR, IEND],
    "transparency twice": [IHDR, PLTE, OPAQUE, CLEAR, IDAT, IEND],
    "two palettes": [IHDR, PLTE, (b"PLTE", bytes(768)), IDAT, IEND],
    "two headers": [IHDR, IHDR, PLTE, IDAT, IEND],
    "no header first": [PLTE, IHDR, IDAT, IEND],
    "more transparency than palette": [IHDR, (b"PLTE", PLTE[1][:300]), CLEAR, IDAT, IEND],
    "pixels in two places": [IHDR, PLTE, IDAT, (b"tIME", bytes(7)), IDAT, IEND],
    "Apple's own PNG": [(b"CgBI", bytes(4)), IHDR, PLTE, IDAT, IEND],
    "an unknown critical chunk": [IHDR, (b"ABCD", b""), PLTE, IDAT, IEND],
    "an animation announced twice": [*MOVING[:2], ACTL, *MOVING[2:]],
    "an animation of fewer frames": [
        MOVING[0],
        (b"acTL", struct.pack(">II", 1, 0)),
        *MOVING[2:],
    ],
    "an animation of no frames": [MOVING[0], (b"acTL", bytes(8)), *MOVING[2:]],
    "an animation not announced": [MOVING[0], *MOVING[2:]],
}


@pytest.mark.parametrize("name", HIDING)
def test_a_png_that_viewers_read_otherwise_is_undecodable(name):
    with pytest.raises(Undecodable):
        read(png(*HIDING[name]), LIMITS)


def test_a_sound_png_of_the_same_chunks_is_read():
    assert contrast(read(png(*PALETTE), LIMITS)) > 50
    assert contrast(read(png(IHDR, PLTE, OPAQUE, IDAT, IEND), LIMITS)) > 50
    assert read(png(*MOVING), LIMITS).frames_total == 2


@pytest.mark.parametrize(
    "data",
    [
        grey_png(16, b"\x80\0\x80\1" * 8, (b"tRNS", b"\x80\0")),
        grey_png(8, bytes(range(16)), (b"tRNS", b"\1\5")),
        grey_png(8, bytes(range(16)), (b"tRNS", b"\0\5\0")),
    ],
)
def test_a_transparent_colour_that_pillow_would_miss_is_undecodable(data):
    with pytest.raises(Undecodable, match="transparent colour"):
        read(data, LIMITS)


@pytest.mark.parametrize(("depth", "factor"), [(2, 85), (4, 17)])
def test_a_transparent_grey_of_few_bits_is_found(depth, factor):
    """Stored as 0, 1, 2, 3: grey 1 is clear; Pillow alone looked for 1 among the 8-bit ones."""
    row = (b"\x1b" if depth == 2 else b"\1\x23") * (16 * depth // 8)
    data = grey_png(depth, row[: 16 * depth // 8], (b"tRNS", b"\0\1"))
    picture = read(data, LIMITS)
    shown = [frame.getpixel((1, 0)) for frame in picture.frames]
    assert shown == [(128,) * 3, (0,) * 3, (255,) * 3]
    assert picture.frames[1].getpixel((2, 0)) == (2 * factor,) * 3
    opaque = grey_png(depth, row[: 16 * depth // 8])
    assert content_of(data, LIMITS) != content_of(opaque, LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_a_picture_in_the_alpha_channel_is_seen(kind):
    """Grey 128 with the photo as alpha: nothing over grey, the photo over any other page."""
    hidden = GREY.convert("RGBA")
    hidden.putalpha(PHOTO.convert("L"))
    picture = read(encode(hidden, kind, lossless=True), LIMITS)
    assert len(picture.frames) == 3
    assert contrast(picture) > 30
    assert (picture.frames_seen, picture.frames_total) == (1, 1)


def test_an_opaque_picture_with_an_alpha_channel_has_one_view():
    assert len(read(encode(PHOTO.convert("RGBA"), "PNG"), LIMITS).frames) == 1


def test_a_picture_that_only_its_gamma_shows_is_seen():
    """White but for one or two steps; gamma 0.01 makes these black."""
    faint = PHOTO.convert("L").point(lambda value: 250 if value < 128 else 255)
    first, *rest = chunks_of(encode(faint, "PNG"))
    plain, dark = (
        read(png(first, *extra, *rest), LIMITS)
        for extra in ([], [(b"gAMA", struct.pack(">I", 500))])
    )
    assert contrast(plain) < 5
    assert contrast(dark) > 50
    usual = read(png(first, (b"gAMA", struct.pack(">I", 45455)), *rest), LIMITS)
    assert len(usual.frames) == 1


def gif(*blocks, size=(4, 4)):
    """A GIF with a palette of black and white."""
    return (
        b"GIF89a"
        + struct.pack("<2H", *size)
        + b"\x80\0\0"
        + b"\0\0\0\xff\xff\xff"
        + b"".join([*blocks, b";"])
    )


def image_block(values, size=(4, 4), place=(0, 0), table=b""):
    """An image of uncompressed codes: a clear code before each pair of pixels."""
    codes = [code for at in range(0, len(values), 2) for code in (4, *values[at : at + 2])]
    bits = sum(code << (3 * n) for n, code in enumerate([*codes, 5]))
    body = bits.to_bytes((3 * len(codes) + 10) // 8, "little")
    flags = b"\x87" if table else b"\0"
    return (
        b"," + struct.pack("<4H", *place, *size) + flags + table
        + b"\2" + bytes([len(body)]) + body + b"\0"
    )  # fmt: skip


BLACK, CHECKS = image_block([0] * 16), image_block([0, 1] * 8)


def swallowed_by_pillow(more):
    """An image behind an empty extension: its palette is a chain of lengths up to its end.

    `more` are the bytes that are swallowed behind it.
    """
    table = bytearray(768)
    table[35], table[291], table[547] = 255, 255, 232 + more
    return b"\x21\xaa\0" + image_block([1, 2] * 8, table=bytes(table))


def test_a_gif_of_these_parts_is_read():
    assert contrast(read(gif(CHECKS), LIMITS)) > 100
    assert contrast(read(gif(BLACK), LIMITS)) == 0


def test_a_gif_whose_first_frame_pillow_skips_is_undecodable():
    """Pillow takes what follows an empty extension for its data; viewers take it for an image."""
    with pytest.raises(Undecodable, match="same place"):
        read(gif(swallowed_by_pillow(2), b";\0", BLACK), LIMITS)
    with pytest.raises(Undecodable, match="not every decoder"):
        read(gif(swallowed_by_pillow(0), BLACK), LIMITS)


def test_a_frame_without_disposal_stays_after_one_that_had_it():
    """Frame 2 restores to background, 3 and 4 stay: the last shows what 3 and 4 drew together."""
    control = [b"\x21\xf9\4" + bytes([bits << 2]) + b"\0\0\0\0" for bits in (1, 2, 0, 0)]
    white = image_block([1] * 8, (4, 2)), image_block([1] * 8, (4, 2), (0, 2))
    data = gif(control[0] + BLACK, control[1] + BLACK, control[2] + white[0], control[3] + white[1])
    last = np.asarray(read(data, LIMITS).frames[3])
    assert (last == 255).all()


def test_a_gif_that_grows_past_the_limit_is_refused_before_it_does():
    far = image_block([0] * 16, place=(13_000, 13_000))
    with pytest.raises(OverLimit, match="pixels"):
        read(gif(BLACK, far), LIMITS)
    assert read(gif(BLACK, image_block([0] * 16, place=(4, 4))), Limits(pixels=64)).frames_total
    with pytest.raises(OverLimit, match="pixels"):
        read(gif(BLACK, image_block([0] * 16, place=(4, 4))), Limits(pixels=63))


def jpeg_segment(marker, payload):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def test_exif_blocks_at_the_limit_pass_and_one_more_does_not():
    """Pillow joins them by copying: 4,000 of them took half a minute."""
    plain = encode(PHOTO, "JPEG")
    block = jpeg_segment(0xE1, b"Exif\0\0" + b"x" * 50)
    assert read(plain[:2] + block * 3 + plain[2:], Limits(exif_blocks=3))
    with pytest.raises(OverLimit, match="EXIF"):
        read(plain[:2] + block * 4 + plain[2:], Limits(exif_blocks=3))


def pictures(*images, **options):
    """A multi-picture JPEG."""
    buffer = io.BytesIO()
    images[0].save(buffer, "MPO", save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def test_later_pictures_of_a_file_are_held_to_the_limits_too():
    """Only the first one's size counted: a dot in front let anything through."""
    data = pictures(Image.new("RGB", (1, 1)), PHOTO, PHOTO)
    area = SIZE[0] * SIZE[1]
    assert read(data, Limits(pixels=area, composited_pixels=2 * area + 1)).frames_total == 3
    with pytest.raises(OverLimit, match="pixels"):
        read(data, Limits(pixels=area - 1))
    with pytest.raises(OverLimit, match="composited"):
        read(data, Limits(composited_pixels=2 * area))
    scans = data.count(b"\xff\xda")
    with pytest.raises(OverLimit, match="scans"):
        read(data, Limits(scan_pixels=(2 * area + 1) * scans - 1))


@pytest.mark.parametrize("brand", [b"avis", b"avif", b"msf1", b"mif1"])
def test_both_the_still_and_the_film_of_an_avif_are_seen(brand):
    """The first frame is flat, as is the still; whichever a viewer shows, the film is seen."""
    data = encode(GREY, "AVIF", save_all=True, append_images=[PHOTO], duration=50)
    picture = read(data.replace(b"ftypavis", b"ftyp" + brand, 1), LIMITS)
    assert len(picture.frames) == 3
    assert contrast(picture) > 50
