"""Copies the picture out of a file, part by part, into a file of the same format.

Each format's function keeps the parts that make up the picture, its colours and its timing, and
nothing else; it raises Doubt, IndexError or struct.error for a file that is not well formed.
ISO files keep their length, since their tables name places: what goes is filled with zeros.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from scanner.formats.boxes import Box, boxes, elements
from scanner.formats.exif import Doubt
from scanner.formats.gif import CONTROL, EXTENSION, IMAGE, SCREEN_HEADER, TRAILER
from scanner.formats.jpeg import APP0, APP2, APP14, EXIF, ICC, SOS, TABLES, segments
from scanner.formats.jpeg import FRAMES as JPEG_FRAMES
from scanner.formats.layout import EBML_NOTES, FRAME_HEADER, ISO_PIXELS, SEGMENT
from scanner.formats.png import SIGNATURE, png_parts
from scanner.formats.webp import riff_chunks

ORIENTATION = 0x0112
JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
"""Without a preview; its density is that of square pixels."""
PNG_KEPT = frozenset(
    {
        *("IHDR", "PLTE", "tRNS", "IDAT", "IEND", "acTL", "fcTL", "fdAT"),
        *("gAMA", "cHRM", "sRGB", "cICP", "iCCP", "sBIT", "bKGD", "mDCV", "cLLI", "pHYs"),
    }
)
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
WEBP_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
WEBP_XMP, WEBP_EXIF = 0x04, 0x08
ISO_KEPT = ISO_PIXELS | {b"moov", b"meta"}
EBML_VOID = b"\xec"
SIZE_BYTES = 8
INFLATED_BYTES = 1 << 20
"""Bytes of a stream unpacked at once, to find its end."""


def jpeg(data: bytes, orientation: int) -> bytes:
    """Return the first picture of a JPEG: tables, frame and scans, profile and orientation."""
    parts, has_jfif = [], False
    for segment in segments(data):
        has_jfif |= segment.marker == APP0 and segment.payload.startswith(b"JFIF\0")
        if _is_kept(segment.marker, segment.payload):
            parts.append(segment.data)
    head = [b"\xff\xd8", JFIF if has_jfif else b""]
    turned = [] if orientation == 1 else [_exif_segment(orientation)]
    return b"".join([*head, *turned, *parts, b"\xff\xd9"])


def _is_kept(marker: int, payload: bytes) -> bool:
    profile = marker == APP2 and payload.startswith(ICC)
    return profile or marker in TABLES | JPEG_FRAMES | {0, SOS, APP14}


def _exif_segment(orientation: int) -> bytes:
    payload = _exif(orientation)
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def _exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def png(data: bytes, orientation: int) -> bytes:
    """Return the chunks of a PNG that make up its picture; the checksums are made anew."""
    parts, stream = [SIGNATURE], zlib.decompressobj()
    for name, body in png_parts(data):
        kept = _coded(stream, body) if name == "IDAT" else body
        if name in PNG_KEPT:
            parts.append(_chunk(name.encode("latin-1"), kept))
        if name == "IHDR" and orientation != 1:
            parts.append(_chunk(b"eXIf", _exif(orientation).removeprefix(EXIF)))
    return b"".join(parts)


def _coded(stream: "zlib._Decompress", body: bytes) -> bytes:
    """Return the part of a piece of a compressed stream that belongs to it, none past its end."""
    if stream.eof:
        return b""
    rest = body
    while rest and not stream.eof:
        stream.decompress(rest, INFLATED_BYTES)
        rest = stream.unconsumed_tail
    return body[: len(body) - len(stream.unused_data)]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def gif(data: bytes, _: int) -> bytes:
    """Return screen, colours, frames with their timing, and the loop count of a GIF."""
    at = SCREEN_HEADER + _table(data[10])
    parts = [data[:at]]
    while data[at] != TRAILER:
        if data[at] == IMAGE:
            start, end = at, _skip(data, at + 10 + _table(data[at + 9]) + 1)
        elif data[at] == EXTENSION:
            start, end = at, _skip(data, at + 2)
        else:
            raise Doubt("a block that is none")
        loop = data[at + 2] == 11 and data[at + 3 : at + 14] in LOOPS and end - at == 19
        if data[at] == IMAGE or data[at + 1] == CONTROL or loop:
            parts.append(data[start:end])
        at = end
    return b"".join([*parts, bytes([TRAILER])])


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def webp(data: bytes, orientation: int) -> bytes:
    """Return the chunks of a WebP that make up its picture, with its flags and sizes mended."""
    end = 8 + int.from_bytes(data[4:8], "little")
    parts = list(_webp_parts(data[12:end], orientation))
    if orientation != 1:
        parts.append(_riff(b"EXIF", _exif(orientation).removeprefix(EXIF)))
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_parts(data: bytes, orientation: int) -> Iterator[bytes]:
    for name, body in riff_chunks(data):
        if name == b"VP8X":
            flags = body[0] & ~(WEBP_XMP | WEBP_EXIF) | (WEBP_EXIF if orientation != 1 else 0)
            yield _riff(name, bytes([flags]) + body[1:])
        elif name == b"ANMF":
            inner = riff_chunks(body[FRAME_HEADER:])
            kept = [_riff(kind, part) for kind, part in inner if kind in WEBP_KEPT]
            yield _riff(name, body[:FRAME_HEADER] + b"".join(kept))
        elif name in WEBP_KEPT:
            yield _riff(name, body)


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def iso(data: bytes, _: int) -> bytes:
    """Return an AVIF or MP4 up to its last box, other boxes and user data filled with zeros."""
    result, end = bytearray(data), 0
    for box in boxes(data, 0, len(data)):
        end = box.end
        if box.kind not in ISO_KEPT:
            _blank(result, box)
        elif box.kind == b"moov":
            for part in boxes(data, box.body, box.end):
                _blank_extras(data, result, part)
    return bytes(result[:end])


def _blank_extras(data: bytes, result: bytearray, part: Box) -> None:
    """Empty a box of a movie that is no track and no header, and what a track holds beside it."""
    if part.kind not in {b"mvhd", b"trak", b"mvex"}:
        _blank(result, part)
    elif part.kind == b"trak":
        for inner in boxes(data, part.body, part.end):
            if inner.kind not in {b"tkhd", b"mdia", b"edts", b"tref"}:
                _blank(result, inner)


def _blank(result: bytearray, box: Box) -> None:
    result[box.start + 4 : box.start + 8] = b"free"
    result[box.body : box.end] = bytes(box.end - box.body)


def matroska(data: bytes, _: int) -> bytes:
    """Return a Matroska file up to its last element, attachments, tags and padding emptied."""
    result, end = bytearray(data), 0
    for element in elements(data, 0, len(data)):
        end = element.end
        for part in elements(data, element.body, element.end):
            if element.kind == SEGMENT and part.kind in EBML_NOTES:
                _void(result, part)
    return bytes(result[:end])


def _void(result: bytearray, part: Box) -> None:
    """Make an element an empty one of the same length."""
    length = part.end - part.start
    if length < 1 + SIZE_BYTES:
        raise Doubt("an element too short to be emptied")
    size = (length - 1 - SIZE_BYTES) | 1 << 7 * SIZE_BYTES
    head = EBML_VOID + size.to_bytes(SIZE_BYTES)
    result[part.start : part.end] = head + bytes(length - len(head))


REWRAPS: dict[str, Callable[[bytes, int], bytes]] = {
    "image/jpeg": jpeg,
    "image/png": png,
    "image/gif": gif,
    "image/webp": webp,
    "image/avif": iso,
    "video/mp4": iso,
    "video/quicktime": iso,
    "video/webm": matroska,
    "video/x-matroska": matroska,
}
