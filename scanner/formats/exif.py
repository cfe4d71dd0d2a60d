"""Reads the orientation number out of EXIF data, strictly.

Two readings: `orientation` for hashing, where any doubt is an error, since viewers differ in
what they forgive; and `XMP_ORIENTATION`, the other place where some viewers look.
"""

import re
import struct

ORIENTATION = 0x0112
SHORT = 3
XMP_ORIENTATION = re.compile(rb"orientation", re.IGNORECASE)


class Doubt(Exception):
    """What a viewer makes of these bytes is not certain, so nothing is derived from them."""


def orientation(tiff: bytes) -> int | None:
    """Return the orientation 1..8 of IFD0 in a TIFF block, or None where it has none.

    Raises Doubt for a block that is not well formed. Source: EXIF 2.32, section 4.6.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        raise Doubt("EXIF without a byte order")
    try:
        magic, start = struct.unpack_from(f"{order}HI", tiff, 2)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        entries = [
            struct.unpack_from(f"{order}HHIHH", tiff, start + 2 + 12 * number)
            for number in range(count)
        ]
    except struct.error as error:
        raise Doubt("EXIF that is cut off") from error
    found = [entry[1:4] for entry in entries if entry[0] == ORIENTATION]
    if magic != 42:
        raise Doubt("EXIF without its magic number")
    return _one_of(found)


def _one_of(found: list[tuple[int, int, int]]) -> int | None:
    if not found:
        return None
    kind, count, value = found[0]
    if len(found) > 1 or kind != SHORT or count != 1 or not 1 <= value <= 8:
        raise Doubt("an orientation that is none of 1..8")
    return value
