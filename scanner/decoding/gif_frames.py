"""Puts the frames of a GIF together as browsers do, where Pillow does it otherwise.

A frame that is disposed of leaves nothing behind in a browser, so that the page shows; Pillow
paints its place in the background colour, on which what follows can be drawn unseen. Each frame
is decoded by itself, as a GIF of its own, by Pillow.
"""

import io
import struct
from collections.abc import Iterator

from PIL import Image

from scanner.formats.gif import TRAILER, GifFacts

CLEAR = (0, 0, 0, 0)
TO_BACKGROUND = 2
TO_PREVIOUS = frozenset({3, 4})
"""Four means nothing in the specification; browsers take it for three."""


def browser_frames(data: bytes, facts: GifFacts) -> Iterator[Image.Image]:
    """Yield what a browser shows as each frame, RGBA; the next one replaces it."""
    canvas = Image.new("RGBA", (facts.width, facts.height), CLEAR)
    for part in facts.parts:
        before = canvas.copy() if part.disposal in TO_PREVIOUS else None
        pixels = _alone(data, part.control, part.start, part.end)
        left, top = struct.unpack_from("<HH", data, part.start + 1)
        box = (left, top, left + pixels.width, top + pixels.height)
        canvas.paste(pixels, box, pixels.getchannel("A"))
        yield canvas
        if before is not None:
            canvas = before
        elif part.disposal == TO_BACKGROUND:
            canvas.paste(CLEAR, box)


def _alone(data: bytes, control: tuple[int, int], start: int, end: int) -> Image.Image:
    """Return the pixels of one frame, with its transparency, at its own size."""
    size = data[start + 5 : start + 9]
    tables = data[10:13] + data[13 : 13 + _table_bytes(data[10])]
    block = data[start : start + 1] + bytes(4) + data[start + 5 : end]
    file = data[:6] + size + tables + data[slice(*control)] + block + bytes([TRAILER])
    with Image.open(io.BytesIO(file), formats=("GIF",)) as image:
        return image.convert("RGBA")


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
