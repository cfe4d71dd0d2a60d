"""Splits a file into the picture itself, the notes in it, and what follows its end.

A note is what stands beside the pixels: comments, texts, metadata, unknown chunks. Pictures are
usual in some (previews in EXIF and other camera data, thumbnails in C2PA). Pictures that a
multi-picture JPEG declares belong to it. Forgiving: what cannot be walked ends the walk.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from scanner.formats.blocks import BARE
from scanner.formats.boxes import boxes, elements
from scanner.formats.exif import Doubt
from scanner.formats.gif import gif_facts
from scanner.formats.jpeg import APP0, APP2, APP15, COM, EOI, SOS, end_of_scan
from scanner.formats.webp import riff_chunks

TEXT_BYTES = 1 << 16
"""Bytes unpacked of one compressed text."""
NOTES_BYTES = 8 << 20
"""Bytes of notes looked at in one file."""
SEGMENTS_MAX = 400_000
"""Segments walked of one JPEG."""
PICTURES_MAX = 64
"""Pictures a multi-picture JPEG may declare."""
MPF, MP_ENTRY, MP_ENTRY_BYTES = b"MPF\0", 0xB002, 16
PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"fdAT", b"fcTL", b"IEND"})
PNG_USUAL = frozenset({b"eXIf", b"caBX"})
PNG_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
WEBP_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"VP8X", b"ANIM"})
WEBP_USUAL = frozenset({b"EXIF", b"C2PA"})
FRAME_HEADER = 16
ISO_PIXELS = frozenset({b"ftyp", b"mdat", b"moof", b"sidx", b"mfra", b"styp"})
SEGMENT = b"\x18\x53\x80\x67"
EBML_NOTES = frozenset({b"\x19\x41\xa4\x69", b"\x12\x54\xc3\x67", b"\xec"})
"""Attachments, tags and padding of a Matroska file."""


class Note(NamedTuple):
    """Bytes beside the pixels, and whether pictures are usual there."""

    data: bytes
    usual_pictures: bool = False


class Layout(NamedTuple):
    """The notes of a file, and the parts of it that nothing declares, behind its end."""

    notes: list[Note]
    tails: list[bytes]


def layout(data: bytes, media_type: str) -> Layout:
    """Return what a file consists of beside its pixels; never raises for damaged ones."""
    walk = WALKS.get(media_type)
    return Layout([], []) if walk is None else walk(data)


def _jpeg(data: bytes) -> Layout:
    notes: list[Note] = []
    end, declared = _jpeg_end(data, 0, len(data), notes)
    tails = []
    for start, stop in sorted(declared):
        if start < end or data[start : start + 3] != b"\xff\xd8\xff":
            continue
        tails.append(data[end:start])
        end, _ = _jpeg_end(data, start, stop, notes)
        tails.append(data[end:stop])
        end = stop
    return Layout(notes, [*tails, data[end:]])


def _jpeg_end(
    data: bytes, start: int, stop: int, notes: list[Note]
) -> tuple[int, list[tuple[int, int]]]:
    """Return where a JPEG ends, and from where to where the further pictures are it declares."""
    declared: list[tuple[int, int]] = []
    at = start + 2
    for _ in range(SEGMENTS_MAX):
        if at + 2 > stop:
            break
        if data[at] != 0xFF:  # decoders skip what stands between segments
            start, at = at, data.find(b"\xff", at, stop) % (stop + 1)
            notes.append(Note(data[start:at]))
            continue
        marker = data[at + 1]
        if marker in {0, 0xFF}:
            at += 1
            continue
        if marker == EOI:
            return at + 2, declared
        end = at + 2 if marker in BARE - {SOS} else at + 2 + int.from_bytes(data[at + 2 : at + 4])
        body = data[at + 4 : end]
        if marker == SOS:
            end = _end_of_scan(data, end, stop)
        elif marker == COM or APP0 <= marker <= APP15:
            notes.append(Note(body, marker != COM))
        if marker == APP2 and body.startswith(MPF) and not declared:
            with suppress(struct.error):  # a table that is cut off declares nothing
                declared = list(_declared(data, at + 4 + len(MPF), stop))
        at = end
    return stop, declared


def _end_of_scan(data: bytes, start: int, stop: int) -> int:
    try:
        return end_of_scan(data, start)
    except Doubt:
        return stop


def _declared(data: bytes, base: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the places of the further pictures of a multi-picture file (CIPA DC-007)."""
    order = "<" if data[base : base + 2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, base + 4)
    (count,) = struct.unpack_from(f"{order}H", data, base + first)
    for entry in range(min(count, 16)):
        at = base + first + 2 + 12 * entry
        tag, _, size, offset = struct.unpack_from(f"{order}HHII", data, at)
        if tag == MP_ENTRY:
            for number in range(1, min(size // MP_ENTRY_BYTES, PICTURES_MAX)):
                length, place = struct.unpack_from(
                    f"{order}II", data, base + offset + number * MP_ENTRY_BYTES + 4
                )
                if base + place < stop:  # some writers claim too long a last picture
                    yield base + place, min(base + place + length, stop)


def _png(data: bytes) -> Layout:
    notes, at, held = [], 8, 0
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if kind not in PNG_PIXELS and held < NOTES_BYTES:
            body = data[at + 8 : end - 4]
            held += len(body)
            notes.append(Note(_unpacked(body) if kind in PNG_PACKED else body, kind in PNG_USUAL))
        at = end
        if kind == b"IEND":
            break
    return Layout(notes, [data[at:]])


def _unpacked(body: bytes) -> bytes:
    """Return a text or profile with what is compressed in it behind it, a limited part of that."""
    start = body.find(b"\x78", body.find(b"\0") + 1)
    if start < 0:
        return body
    try:
        return body + b"\0" + zlib.decompressobj().decompress(body[start:], TEXT_BYTES)
    except zlib.error:
        return body


def _gif(data: bytes) -> Layout:
    facts = gif_facts(data)
    notes, held = [], 0
    for start, end in facts.notes:
        held += end - start
        if held <= NOTES_BYTES:
            notes.extend([Note(data[start:end]), Note(_joined(data, start, end))])
    return Layout(notes, [data[facts.end :]])


def _joined(data: bytes, at: int, end: int) -> bytes:
    """Return the content of sub-blocks without their lengths."""
    parts = []
    while at < end and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts)


def _webp(data: bytes) -> Layout:
    end = 8 + int.from_bytes(data[4:8], "little")
    notes: list[Note] = []
    for name, body in _chunks(data[12:end]):
        if name == b"ANMF":
            inner = _chunks(body[FRAME_HEADER:])
            notes.extend(Note(part) for kind, part in inner if kind not in WEBP_PIXELS)
        elif name not in WEBP_PIXELS:
            notes.append(Note(body, name in WEBP_USUAL))
    return Layout(notes, [data[end + (end % 2) :]])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    with suppress(Doubt):
        yield from riff_chunks(data)


def _iso(data: bytes) -> Layout:
    notes, at, held = [], 0, 0
    for box in boxes(data, 0, len(data)):
        at = box.end
        if box.kind in ISO_PIXELS or held > NOTES_BYTES:
            continue
        size = min(box.end - box.body, NOTES_BYTES)
        held += size
        notes.append(Note(data[box.body : box.body + size], box.kind in {b"meta", b"moov"}))
    return Layout(notes, [data[at:]])


def _matroska(data: bytes) -> Layout:
    notes: list[Note] = []
    at = 0
    for element in elements(data, 0, len(data)):
        at = element.end
        if element.kind == SEGMENT:
            notes.extend(
                Note(data[part.body : min(part.end, part.body + NOTES_BYTES)])
                for part in elements(data, element.body, element.end)
                if part.kind in EBML_NOTES
            )
    return Layout(notes, [data[at:]])


WALKS: dict[str, Callable[[bytes], Layout]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/avif": _iso,
    "video/mp4": _iso,
    "video/quicktime": _iso,
    "video/webm": _matroska,
    "video/x-matroska": _matroska,
}
