"""What a colour profile makes of a frame, where that is another picture than its plain samples.

Viewers show a frame through its ICC profile, and a profile may be any table: one that spreads
the low bits of each sample over the whole range shows a picture that nobody finds without it.
Hashes stay with the plain samples; the classifier gets this view as well. Usual profiles (sRGB,
Display P3, camera and print profiles) change little, and a view is not made twice for that. A
profile that cannot be read is one that viewers do not heed.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

SAMPLED_SIDE, CELLS = 256, 8
"""Pixels of a side of what is looked at, picked and not mixed, and cells of a side it is cut in."""
TOLERANCE, CELL_TOLERANCE = 8, 24
"""By how much of 255 all samples, and those of one cell, may differ in the mean without a view."""
PROFILE_BYTES_MAX = 4 << 20
"""Longer profiles are not heeded; those of printers have 2 MB."""
SPACES = {"RGB": "RGB", "RGBA": "RGB", "RGBX": "RGB", "P": "RGB", "PA": "RGB"}
SPACES |= {"L": "GRAY", "LA": "GRAY", "1": "GRAY", "CMYK": "CMYK"}
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def by_profile(frame: Image.Image) -> Image.Image | None:
    """Return a frame as its profile shows it, RGB or RGBA; None where that changes little."""
    profile = frame.info.get("icc_profile")
    space = SPACES.get(frame.mode)
    if not isinstance(profile, bytes) or not 0 < len(profile) <= PROFILE_BYTES_MAX or not space:
        return None
    transform = _transform(profile, space)
    if transform is None or not _matters(_colours(_picked(frame), space), transform):
        return None
    shown = _applied(_colours(frame, space), transform)
    if shown is not None and frame.has_transparency_data:
        shown.putalpha(frame.convert("RGBA").getchannel("A"))
    return shown


def steepest_step(frame: Image.Image) -> int:
    """Return by how much of 255 a frame's profile parts two neighbouring samples, at most."""
    profile, space = frame.info.get("icc_profile"), SPACES.get(frame.mode, "GRAY")
    if not isinstance(profile, bytes) or len(profile) > PROFILE_BYTES_MAX:
        return 0
    transform = _transform(profile, space)
    ramps = Image.fromarray(_ramps() if space == "RGB" else _ramps()[3:, :, 0])
    shown = None if transform is None else _applied(ramps.convert(MODES[space]), transform)
    if shown is None:
        return 0
    steps = np.diff(np.asarray(shown, np.int16).reshape(-1, 256, 3), axis=1)
    return int(np.abs(steps).max())


def _ramps() -> NDArray[np.uint8]:
    """Return all values of red, green, blue and grey, (4, 256, 3)."""
    ramps = np.zeros((4, 256, 3), np.uint8)
    for channel in range(3):
        ramps[channel, :, channel] = ramps[3, :, channel] = range(256)
    return ramps


@lru_cache(maxsize=8)
def _transform(profile: bytes, space: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile of that colour space to sRGB, None where there is none."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != space:
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, MODES[space], "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _picked(frame: Image.Image) -> Image.Image:
    """Return some of the pixels, unmixed."""
    size = (min(frame.width, SAMPLED_SIDE), min(frame.height, SAMPLED_SIDE))
    return frame.resize(size, Image.Resampling.NEAREST)


def _colours(frame: Image.Image, space: str) -> Image.Image:
    """Return a frame in the colours that the profile speaks of, without its alpha."""
    if space == "RGB" and frame.mode != "RGB":
        return frame.convert("RGBA").convert("RGB")
    return frame.convert(MODES[space])


def _matters(colours: Image.Image, transform: ImageCms.ImageCmsTransform) -> bool:
    """Tell whether what is shown is another picture, in all or in one cell of it."""
    shown = _applied(colours, transform)
    if shown is None:
        return False
    plain = np.asarray(colours.convert("RGB"), np.int16)
    change = np.abs(np.asarray(shown, np.int16) - plain).mean(axis=2)
    rows = np.array_split(change, min(CELLS, len(change)))
    cells = [cell for row in rows for cell in np.array_split(row, min(CELLS, row.shape[1]), axis=1)]
    worst = max(float(cell.mean()) for cell in cells)
    return float(change.mean()) > TOLERANCE or worst > CELL_TOLERANCE


def _applied(colours: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image | None:
    try:
        return ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, ValueError):
        return None
