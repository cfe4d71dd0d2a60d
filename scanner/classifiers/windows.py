"""Cuts a long picture into overlapping windows, so that the model sees its ends as well.

A model looks at a square. Cropped to its middle, a strip shows harmless nothing and keeps its
ends to itself; squashed, they are too thin to be known. So a frame longer than 2:1 is judged
in windows of at most 2:1, each overlapping the next by half, up to a number.
"""

from math import ceil

from PIL import Image

RATIO = 2
"""Long side to short side, up to which a frame is judged in one piece."""
WINDOWS_MAX = 16
"""Windows of one frame; past 17:1 they get longer instead of more."""


def windows(frame: Image.Image) -> list[Image.Image]:
    """Return windows that cover the frame, in order along its long side; itself if not long."""
    long, short = max(frame.size), min(frame.size)
    if long <= RATIO * short:
        return [frame]
    count = min(ceil(long / short) - 1, WINDOWS_MAX)
    length = ceil(RATIO * long / (count + 1))
    starts = [number * (long - length) // (count - 1) for number in range(count)]
    return [frame.crop(_box(frame, start, length)) for start in starts]


def _box(frame: Image.Image, start: int, length: int) -> tuple[int, int, int, int]:
    if frame.width > frame.height:
        return (start, 0, start + length, frame.height)
    return (0, start, frame.width, start + length)
