"""The clean apertures of an AVIF: parts of a picture that some viewers show instead of all of it.

Browsers crop to an aperture that starts in the upper left corner and show the whole of others;
Pillow shows the whole always. Source: ISO/IEC 14496-12, section 12.1.4.
"""

import struct
from collections.abc import Iterator
from itertools import islice

APERTURE = b"\0\0\0\x28clap"
APERTURES_MAX = 8
"""Of one file; one is rare."""
FIELDS = struct.Struct(">IIIIiIiI")

Box = tuple[int, int, int, int]


def apertures(data: bytes, size: tuple[int, int]) -> set[Box]:
    """Return left, upper, right and lower edges in pixels of the parts of a canvas of that size."""
    found = {box for box in islice(_boxes(data, size), APERTURES_MAX) if box is not None}
    return found - {(0, 0, *size)}


def _boxes(data: bytes, size: tuple[int, int]) -> Iterator[Box | None]:
    at = data.find(APERTURE)
    while at >= 0:
        if len(data) >= at + len(APERTURE) + FIELDS.size:
            yield _box(FIELDS.unpack_from(data, at + len(APERTURE)), size)
        at = data.find(APERTURE, at + 1)


def _box(fields: tuple[int, ...], size: tuple[int, int]) -> Box | None:
    """Return the edges that width, height and the offset of the middle give, None for no part."""
    if not all(fields[1::2]):
        return None
    width, height, right, down = (fields[n] / fields[n + 1] for n in (0, 2, 4, 6))
    left, top = (size[0] - width) / 2 + right, (size[1] - height) / 2 + down
    edges = (round(left), round(top), round(left + width), round(top + height))
    inside = 0 <= edges[0] < edges[2] <= size[0] and 0 <= edges[1] < edges[3] <= size[1]
    return edges if inside else None
