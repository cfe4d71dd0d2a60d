"""Counts the blocks that a file is made of, before a decoder walks them one by one.

Pillow reads JPEG segments, PNG chunks and GIF blocks in Python: a file of 40 MB in empty ones
keeps it busy for half a minute. The walks here forgive what Pillow forgives and stop early.
"""

from collections.abc import Iterator
from itertools import islice

from scanner.formats.gif import gif_facts
from scanner.formats.jpeg import APP1, EXIF, SOS
from scanner.formats.png import SIGNATURE

BARE = frozenset({0x01, *range(0xD0, 0xDA)})
"""JPEG markers without a length: TEM, restarts, SOI and EOI."""


def count_blocks(data: bytes, stop: int) -> int:
    """Return the blocks in front of a JPEG's first scan, of a PNG, or of a GIF; 0 for others.

    Counts to `stop` + 1 at most.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data, stop)
    if data.startswith(SIGNATURE):
        return _png(data, stop)
    return gif_facts(data, stop).blocks if data.startswith(b"GIF8") else 0


def count_exif(data: bytes, stop: int) -> int:
    """Return the EXIF blocks in front of a JPEG's first scan, 0 for others; to `stop` + 1 at most.

    Pillow joins them one by one, copying all it has each time.
    """
    found = 0
    for at in _markers(data) if data.startswith(b"\xff\xd8") else ():
        found += data[at + 1] == APP1 and data.startswith(EXIF, at + 4)
        if found > stop:
            break
    return found


def _jpeg(data: bytes, stop: int) -> int:
    return sum(1 for _ in islice(_markers(data), stop + 1))


def _markers(data: bytes) -> Iterator[int]:
    """Yield where each marker stands in front of the first scan, and each byte that is none."""
    at = 2
    while at + 4 <= len(data):
        yield at
        marker = data[at + 1]
        if data[at] != 0xFF or marker in {0, 0xFF}:
            at += 1
        elif marker == SOS:
            return
        else:
            length = 0 if marker in BARE else int.from_bytes(data[at + 2 : at + 4])
            at += 2 + length


def _png(data: bytes, stop: int) -> int:
    at, count = len(SIGNATURE), 0
    while at + 8 <= len(data) and count <= stop:
        at += 12 + int.from_bytes(data[at : at + 4])
        count += 1
    return count
