"""Walks the blocks of a GIF: how many frames it has, and whether all viewers agree on them.

Viewers differ in what a disposal to the background shows, in frames that leave the screen or
do not cover it at first, and in plain text blocks; such a file has no `content`.
Source: GIF89a specification, 1990.
"""

from dataclasses import dataclass
from typing import NamedTuple

from scanner.formats.exif import XMP_ORIENTATION, Doubt

BLOCKS_MAX = 200_000
"""Blocks and sub-blocks walked; a file of 40 MB in full sub-blocks has 160,000."""
SCREEN_HEADER = 13
EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
CONTROL, PLAIN_TEXT, APPLICATION = 0xF9, 0x01, 0xFF


class Part(NamedTuple):
    """One frame: where its control block and its own blocks stand, and how it is disposed of."""

    control: tuple[int, int]
    start: int
    end: int
    disposal: int


@dataclass(frozen=True, slots=True)
class GifFacts:
    """Frames and blocks found, until the walk ended; `certain`: well, and viewers agree."""

    frames: int
    blocks: int
    certain: bool
    data_offsets: tuple[int, ...] = ()
    """Where the coded pixels of each frame start, in bytes."""
    width: int = 0
    height: int = 0
    """What screen and frames span together, in pixels; decoders may grow the canvas to that."""
    end: int = 0
    """Where the trailer ends, or the file where none was found."""
    delays: tuple[int, ...] = ()
    """How long each frame is shown, in hundredths of a second."""
    parts: tuple[Part, ...] = ()
    notes: tuple[tuple[int, int], ...] = ()
    """From where to where the sub-blocks of comments, texts and application data stand."""


class _Walk:
    def __init__(self, data: bytes, stop: int) -> None:
        self.data, self.stop = data, stop
        self.frames, self.blocks, self.doubts = 0, 0, False
        self.width = int.from_bytes(data[6:8], "little")
        self.height = int.from_bytes(data[8:10], "little")
        self.span = (self.width, self.height)
        self.data_offsets: list[int] = []
        self.delay, self.delays = 0, list[int]()
        self.control, self.parts = (0, 0), list[Part]()
        self.controls = 0
        self.notes: list[tuple[int, int]] = []

    def run(self) -> GifFacts:
        at = SCREEN_HEADER + self.table(10)
        try:
            while self.data[at] != TRAILER:
                at = self.image(at) if self.data[at] == IMAGE else self.extension(at)
            end = at + 1
        except (IndexError, Doubt):
            self.doubts = True
            end = len(self.data)
        certain = not self.doubts and self.frames > 0
        return GifFacts(
            self.frames,
            self.blocks,
            certain,
            tuple(self.data_offsets),
            *self.span,
            end,
            tuple(self.delays),
            tuple(self.parts),
            tuple(self.notes),
        )

    def table(self, flags_at: int) -> int:
        """Return the bytes of the colour table that the flags there announce."""
        flags = self.data[flags_at]
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def image(self, at: int) -> int:
        """Count a frame and return where the next block starts."""
        box = [int.from_bytes(self.data[at + n : at + n + 2], "little") for n in (1, 3, 5, 7)]
        self.frames += 1
        self.doubts |= box[0] + box[2] > self.width or box[1] + box[3] > self.height
        self.doubts |= self.frames == 1 and box != [0, 0, self.width, self.height]
        self.span = (max(self.span[0], box[0] + box[2]), max(self.span[1], box[1] + box[3]))
        start = at + 10 + self.table(at + 9)
        self.data_offsets.append(start + 1)
        self.delays.append(self.delay)
        end = self.skip(start + 1)
        disposal = self.data[self.control[0] + 3] >> 2 & 7 if any(self.control) else 0
        self.parts.append(Part(self.control, at, end, disposal))
        self.delay, self.control = 0, (0, 0)
        return end

    def extension(self, at: int) -> int:
        """Look at an extension block and return where the next block starts."""
        kind = self.data[at + 1]
        if self.data[at] != EXTENSION:
            raise Doubt("a block that viewers differ on")
        self.doubts |= kind == PLAIN_TEXT
        if kind == CONTROL:
            self.controls += 1
            self.delay = int.from_bytes(self.data[at + 4 : at + 6], "little")
            self.doubts |= (self.data[at + 3] >> 2) & 7 > 1 or self.controls > self.frames + 1
        end = self.skip(at + 2)
        if kind == CONTROL:
            self.control = (at, end)
        else:
            self.notes.append((at + 2, end))
        if kind == APPLICATION and XMP_ORIENTATION.search(self.data, at, end):
            self.doubts = True
        return end

    def skip(self, at: int) -> int:
        """Return where the sub-blocks that start at `at` end."""
        while True:
            length = self.data[at]
            at += length + 1
            self.blocks += 1
            if self.blocks > self.stop:
                raise Doubt("too many blocks")
            if not length:
                return at


def gif_facts(data: bytes, stop: int = BLOCKS_MAX) -> GifFacts:
    """Return what a GIF's blocks say; stops behind `stop` blocks, never raises."""
    if len(data) <= SCREEN_HEADER:
        return GifFacts(0, 0, certain=False)
    return _Walk(data, stop).run()
