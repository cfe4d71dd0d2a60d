"""A picture that was read: its fingerprints and the frames a classifier looks at."""

from dataclasses import dataclass, field

from PIL import Image

from scanner.decoding.fingerprint import Fingerprint
from scanner.decoding.perceptual import Perceptual, perceptual
from scanner.formats.inside import Inside


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, small enough to keep.

    `frames` are upright RGB, reduced to at most 512 pixels on the short side (a JPEG's to a
    megapixel, as its decoder gives them): one for each judged frame of the file, and more where
    viewers may show it otherwise (`views.py`). The first frame's come first, the others in an
    order that spreads over the film, so that whoever stops early has seen some of every part;
    `frame_numbers` says for each which frame of the file it is (from 0; the still of an AVIF film
    is 0 too). `pdq_variants` are the PDQ hashes of the eight rotations and mirror images, the
    first that of the picture itself; `width` and `height` are those of the canvas as it is shown,
    in pixels. `frames_seen` < `frames_total`: not all was judged. `inside` says what else the
    file holds, and never changes a decision.
    """

    fingerprint: Fingerprint
    pdq_variants: tuple[bytes, ...]
    frames: tuple[Image.Image, ...] = field(repr=False)
    frames_seen: int
    frames_total: int
    width: int
    height: int
    frame_numbers: tuple[int, ...]
    plain: tuple[int, ...] = field(repr=False)
    """For each of `frames`, the index of the plain view of the same frame: where hashes come from.
    """
    media_type: str
    inside: tuple[Inside, ...] = ()

    def hashes_of(self, index: int) -> Perceptual:
        """Return the perceptual hashes of the frame that `frames[index]` is a view of."""
        return perceptual(self.frames[self.plain[index]])
