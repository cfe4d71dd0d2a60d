"""A JPEG as viewers show it, for the classifier: decoded in full, and by its colour profile.

Decoders cut samples to 0..255 after the inverse DCT. Reduced decoding (`draft`) averages before
that cut, viewers after it: blocks far out of range can be flat grey when drafted, and a picture
in every browser. Hashes are left as drafted (equality of them is never asked for); only a picture
that has to be scanned pays for being decoded in full, which costs little beside the scan.
"""

import io
from dataclasses import replace

from PIL import Image

from scanner.decoding.decode import orientation_of, read, refusals
from scanner.decoding.picture import Picture
from scanner.decoding.profiles import by_profile
from scanner.decoding.strips import is_long, strips
from scanner.decoding.thumbnail import SIDE, flatten, shrink, turn
from scanner.limits import Limits

JPEG = "image/jpeg"


def as_shown(picture: Picture, data: bytes, limits: Limits) -> Picture:
    """Return the picture that was read from these bytes with the views that a classifier needs.

    A JPEG's first frame is that of the full decoder in place of the drafted one; one by its
    profile comes along where that matters, and parts of a very long one. Raises Undecodable or
    OverLimit, and nothing else.
    """
    if picture.media_type != JPEG:
        return picture
    with refusals(limits):
        plain, more = _views(data)
    frames = (plain or picture.frames[0], *picture.frames[1:], *more)
    numbers = (*picture.frame_numbers, *(picture.frame_numbers[0] for _ in more))
    firsts = (*picture.plain, *(0 for _ in more))
    return replace(picture, frames=frames, frame_numbers=numbers, plain=firsts)


def read_shown(data: bytes, limits: Limits) -> Picture:
    """Return the picture of a file's bytes as it is scanned; raises as `read` does.

    In this process: for files that are known to be harmless.
    """
    return as_shown(read(data, limits), data, limits)


def _views(data: bytes) -> tuple[Image.Image | None, list[Image.Image]]:
    """Return the plain view, None where drafting took nothing away, and the further ones."""
    is_reduced = _is_reduced(data)
    with _opened(data) as image:
        if not is_reduced and not image.info.get("icc_profile") and not is_long(image.size):
            return None, []
        orientation = orientation_of(image)
        image.load()
        flat = flatten(image)
        plain = turn(_averaged(flat), orientation) if is_reduced else None
        profiled = by_profile(image)
        more = [*strips(flat), *([] if profiled is None else [shrink(profiled)])]
        return plain, [turn(view, orientation) for view in more]


def _averaged(image: Image.Image) -> Image.Image:
    """Return an RGB image at the size that drafting gives, by whole blocks: that is quick."""
    factor = min(image.size) // SIDE
    return shrink(image.reduce(factor)) if factor > 1 else shrink(image)


def _is_reduced(data: bytes) -> bool:
    """Tell whether `read` took less than all of the picture."""
    with _opened(data) as image:
        full = image.size
        image.draft("RGB", (SIDE, SIDE))
        return image.size != full


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("JPEG",))
