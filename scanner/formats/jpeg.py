"""Walks the segments of a JPEG, strictly: what `content` v1 hashes, or Doubt.

Nothing is decoded. `content` leaves out COM and most APPn segments and all that follows EOI;
so whatever could change the picture from there raises Doubt: several EXIF blocks, an
orientation in XMP, multi-picture and gain map data, a second JPEG or a video behind EOI,
markers after the first scan that belong before it, anything out of the grammar.
Source: ITU-T T.81, annex B.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scanner.formats.exif import XMP_ORIENTATION, Doubt, orientation

SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP11, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE, 0xEF
TABLES = frozenset({0xDB, 0xC4, 0xCC, 0xDD})  # DQT, DHT, DAC, DRI
FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive, arithmetic
RESTARTS = range(0xD0, 0xD8)
SEGMENTS_MAX = 100_000
ICC = b"ICC_PROFILE"
EXIF = b"Exif\0\0"


class Segment(NamedTuple):
    """One marker segment: its marker byte, and its bytes from the marker to its end."""

    marker: int
    data: bytes

    @property
    def payload(self) -> bytes:
        """What stands behind marker and length."""
        return self.data[4:]


@dataclass(frozen=True, slots=True)
class JpegContent:
    """What `content` hashes of a JPEG: kept segments and scan data in order, orientation."""

    items: tuple[bytes, ...]
    orientation: int | None


def jpeg_content(data: bytes) -> JpegContent:
    """Return what `content` v1 hashes of a JPEG file; raises Doubt."""
    if data[:3] != b"\xff\xd8\xff":
        raise Doubt("no JPEG")
    items: list[bytes] = []
    turns: list[int | None] = []
    frames, scans, end = 0, 0, 4  # SOI and EOI
    for segment in segments(data):
        end += len(segment.data)
        if segment.marker in FRAMES:
            frames += 1
            _check_frame(segment)
        elif segment.marker == SOS:
            scans += 1
        if (frames, segment.marker) == (0, SOS) or frames > 1:
            raise Doubt("a scan without its frame, or a second frame")
        _check_place(segment, scans)
        if segment.marker == APP1:
            turns.extend(_orientations(segment))
        if _is_hashed(segment):
            items.append(segment.data)
    if not scans or len(turns) > 1:
        raise Doubt("no scan, or several EXIF blocks")
    _check_tail(data, end)
    return JpegContent(tuple(items), turns[0] if turns else None)


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments between SOI and EOI; the data of a scan follow as a marker 0.

    Raises Doubt.
    """
    at = 2
    for _ in range(SEGMENTS_MAX):
        if (at + 4 > len(data) and data[at : at + 2] != b"\xff\xd9") or data[at] != 0xFF:
            raise Doubt("bytes where a marker belongs")
        marker = data[at + 1]
        if marker == EOI:
            return
        length = int.from_bytes(data[at + 2 : at + 4])
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise Doubt("a segment that is cut off")
        yield Segment(marker, data[at:end])
        at = end
        if marker == SOS:
            at = end_of_scan(data, end)
            yield Segment(0, data[end:at])
    raise Doubt("too many segments")


def end_of_scan(data: bytes, start: int) -> int:
    """Return where the marker stands that ends the coded data from `start`; raises Doubt."""
    at = start
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and data[at + 1] not in RESTARTS:
            return at
        at += 2
    raise Doubt("a scan without an end")


def _check_tail(data: bytes, start: int) -> None:
    """Raise Doubt when a second picture or a video hides behind EOI."""
    if data.find(b"\xff\xd8\xff", start) >= 0 or data.find(b"ftyp", start) >= 0:
        raise Doubt("another picture behind the end")


def _check_frame(segment: Segment) -> None:
    """Raise Doubt for what is not 8 bits in 1 or 3 components, or leaves its height open."""
    if len(segment.payload) < 6:
        raise Doubt("a frame header that is cut off")
    height = int.from_bytes(segment.payload[1:3])
    if segment.payload[0] != 8 or segment.payload[5] not in {1, 3} or not height:
        raise Doubt("not 8 bits in 1 or 3 components of known height")


def _check_place(segment: Segment, scans: int) -> None:
    """Raise Doubt for a marker that has no business here, or brings pictures of its own."""
    app = APP0 <= segment.marker <= APP15
    usual = segment.marker in TABLES | FRAMES | {0, SOS, COM}
    if not (usual or (app and not scans)):
        raise Doubt(f"marker {segment.marker:#x} out of place")
    if segment.marker in FRAMES and scans:
        raise Doubt("a frame behind its scans")
    icc = segment.payload.startswith(ICC)
    if segment.marker == APP2 and not icc and not segment.payload.startswith(b"FPXR\0"):
        raise Doubt("multi-picture or gain map data")
    if segment.marker == APP11 and segment.payload[12:16] != b"jumb":
        raise Doubt("an extension layer")


def _orientations(segment: Segment) -> list[int | None]:
    """Return the orientation of an EXIF block as a list of one, nothing for another APP1."""
    if segment.payload.startswith(EXIF):
        return [orientation(segment.payload[len(EXIF) :])]
    if segment.payload[:4].lower() == b"exif" or XMP_ORIENTATION.search(segment.payload):
        raise Doubt("an orientation where viewers may or may not look")
    return []


def _is_hashed(segment: Segment) -> bool:
    if segment.marker == APP2:
        return segment.payload.startswith(ICC)
    return segment.marker not in {COM, *range(APP1, APP15 + 1)} or segment.marker == APP14
