"""Cuts a very long frame into views of their own, so that reducing it takes no panel away.

A classifier looks at a frame in windows (`classifiers/windows.py`), and past 17:1 these get
longer instead of more; the whole frame is reduced to a megapixel besides. One panel of a strip
of 60 would be 20 pixels high: shown to everybody who scrolls, and seen by no model. So a longer
frame has views of at most 17:1 beside that of the whole, each overlapping the next by a panel.
"""

from math import ceil

from PIL import Image

from scanner.classifiers.windows import WINDOWS_MAX
from scanner.decoding.thumbnail import shrink

LONG = WINDOWS_MAX + 1
"""Long side to short side, up to which the windows of a frame are at most 2:1."""
STRIPS_MAX = 8
"""Views of one frame; past 121:1 they get longer instead of more."""


def is_long(size: tuple[int, int]) -> bool:
    """Tell whether a frame of that size, in pixels, is cut."""
    return max(size) > LONG * min(size)


def strips(image: Image.Image) -> list[Image.Image]:
    """Return reduced views that cover an RGB image, in order; none of one that is not long."""
    if not is_long(image.size):
        return []
    long, short = max(image.size), min(image.size)
    count = min(ceil((long - short) / ((LONG - 1) * short)), STRIPS_MAX)
    length = min(ceil((long + (count - 1) * short) / count), long)
    starts = [number * (long - length) // max(count - 1, 1) for number in range(count)]
    return [shrink(image.crop(_box(image, start, length))) for start in starts]


def _box(image: Image.Image, start: int, length: int) -> tuple[int, int, int, int]:
    if image.width > image.height:
        return (start, 0, start + length, image.height)
    return (0, start, image.width, start + length)
