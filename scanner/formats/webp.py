"""Walks the chunks of a WebP: whether every frame is lossless and nothing else hides, or Doubt.

Source: RFC 9649.
"""

from collections.abc import Iterator

from scanner.formats.exif import XMP_ORIENTATION, Doubt

CHUNKS_MAX = 100_000
KNOWN = frozenset({b"VP8X", b"VP8L", b"ICCP", b"ANIM", b"ANMF", b"EXIF", b"XMP "})
ONCE = KNOWN - {b"ANMF"}
FRAME_HEADER = 16


def check_lossless_webp(data: bytes) -> None:
    """Raise Doubt unless each image of the file is lossless (VP8L) and every chunk is known."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Doubt("no WebP")
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Doubt("a file that is cut off")
    seen: set[bytes] = set()
    for name, body in riff_chunks(data[12:end]):
        if name not in KNOWN or (name in ONCE and name in seen):
            raise Doubt("a chunk that is unknown, doubled or lossy")
        if name == b"XMP " and XMP_ORIENTATION.search(body):
            raise Doubt("an orientation in XMP")
        if name == b"ANMF" and [n for n, _ in riff_chunks(body[FRAME_HEADER:])] != [b"VP8L"]:
            raise Doubt("a frame that is not lossless")
        seen.add(name)
    if {b"VP8L", b"ANMF"} <= seen:
        raise Doubt("an animation beside a still picture")


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and body of each chunk; raises Doubt."""
    at = 0
    for _ in range(CHUNKS_MAX):
        if at == len(data):
            return
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            raise Doubt("a chunk that is cut off")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise Doubt("too many chunks")
