"""Walks the boxes of ISO files (AVIF, MP4, QuickTime) and the elements of EBML (Matroska, WebM).

Forgiving: what is no box ends the walk. Sources: ISO/IEC 14496-12, section 4.2; RFC 8794.
"""

from collections.abc import Iterator
from typing import NamedTuple

BOXES_MAX = 100_000
"""Boxes of one level; a film of an hour in fragments has some thousand."""


class Box(NamedTuple):
    """One box or element: its name, and where it, its body and what follows it start."""

    kind: bytes
    start: int
    body: int
    end: int


def boxes(data: bytes, start: int, stop: int) -> Iterator[Box]:
    """Yield the boxes between two places; a cut-off `mdat` ends at `stop`."""
    for _ in range(BOXES_MAX):
        size, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        body = start + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8]), body + 8
        end = start + size if size else stop
        if kind == b"mdat":
            end = min(end, stop)
        if len(kind) < 4 or not _is_name(kind) or not body <= end <= stop:
            return
        yield Box(kind, start, body, end)
        start = end


def inner(data: bytes, box: Box, *path: bytes) -> Iterator[Box]:
    """Yield the boxes below a box that lie at a path of names."""
    for found in boxes(data, box.body, box.end):
        if found.kind == path[0]:
            if len(path) == 1:
                yield found
            else:
                yield from inner(data, found, *path[1:])


def elements(data: bytes, start: int, stop: int) -> Iterator[Box]:
    """Yield the EBML elements between two places; one of unknown size ends at `stop`."""
    for _ in range(BOXES_MAX):
        name = _length(data, start, 4)
        size = _length(data, start + name, 8) if name else 0
        body = start + name + size
        if not size or body > stop:
            return
        value = int.from_bytes(data[start + name : body]) & ((1 << 7 * size) - 1)
        end = stop if value == (1 << 7 * size) - 1 else body + value
        if end > stop:
            return
        yield Box(data[start : start + name], start, body, end)
        start = end


def _is_name(kind: bytes) -> bool:
    return all(0x20 <= value < 0x7F or value == 0xA9 for value in kind)


def _length(data: bytes, at: int, longest: int) -> int:
    """Return the bytes of the number that starts there by its leading zero bits; 0 for none."""
    if at >= len(data) or not data[at]:
        return 0
    length = 9 - data[at].bit_length()
    return length if length <= longest and at + length <= len(data) else 0
