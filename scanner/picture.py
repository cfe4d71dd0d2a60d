"""A picture that was read: its fingerprints and the frames a classifier looks at."""

from dataclasses import dataclass, field

from PIL import Image

from scanner.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, small enough to keep.

    `frames` are RGB, reduced to at most 512 pixels on the short side: one for each frame of the
    file, and more where viewers may show it otherwise (`views.py`); `pdq_variants` are the
    PDQ hashes of the eight rotations and mirror images, the first that of the picture itself;
    `width` and `height` are those of the canvas after its EXIF orientation, in pixels.
    """

    fingerprint: Fingerprint
    pdq_variants: tuple[bytes, ...]
    frames: tuple[Image.Image, ...] = field(repr=False)
    frames_seen: int
    frames_total: int
    width: int
    height: int
