"""The views of a film that are kept: as many as fit, spread over the film, first frame always.

Bounds memory: past the limit the frames of the highest rank go (`sampling.ranks`), so that what
stays still covers every part. A frame goes with all its views: half seen is not seen.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from scanner.errors import OverLimit


class Entry(NamedTuple):
    """A frame's views: its rank (the lowest first), film, number, and the views, plain first."""

    rank: int
    film: int
    number: int
    views: tuple[Image.Image, ...]


class Kept:
    """Collects the views of frames up to a number of pixels."""

    def __init__(self, limit_pixels: int) -> None:
        self._limit, self._pixels = limit_pixels, 0
        self._entries: dict[int, Entry] = {}
        self._ceiling: int | None = None

    def wants(self, rank: int) -> bool:
        """Tell whether a frame of this rank may stay, so that none is converted in vain."""
        return self._ceiling is None or rank < self._ceiling

    def add(self, rank: int, film: int, number: int, views: Sequence[Image.Image]) -> None:
        """Keep a frame's views; raises OverLimit when one frame alone does not fit."""
        self._entries[rank] = Entry(rank, film, number, tuple(views))
        self._pixels += _pixels(views)
        while self._pixels > self._limit and len(self._entries) > 1:
            self._ceiling = max(self._entries)
            self._pixels -= _pixels(self._entries.pop(self._ceiling).views)
        if self._pixels > self._limit:
            raise OverLimit(f"{self._pixels} pixels of views, the limit is {self._limit}")

    def entries(self) -> list[Entry]:
        """Return what is kept, the lowest rank first."""
        return [self._entries[rank] for rank in sorted(self._entries)]

    def changed(self, change: Callable[[Image.Image], Image.Image]) -> "Kept":
        """Return the same frames with each view changed, its number of pixels excepted."""
        other = Kept(self._limit)
        for entry in self.entries():
            other.add(entry.rank, entry.film, entry.number, [change(v) for v in entry.views])
        return other

    def seen(self, film: int) -> int:
        """Return how many frames of a film are kept."""
        return sum(entry.film == film for entry in self._entries.values())


def _pixels(views: Sequence[Image.Image]) -> int:
    return sum(view.width * view.height for view in views)
