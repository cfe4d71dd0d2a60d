"""What viewers may show of one frame, so that the classifier sees all of it.

A transparent picture lies on whatever page shows it: one in grey 128 and alpha alone is nothing
over grey and a picture over white. A PNG's gAMA lifts details out of black or white that are
not there without it. So a frame has one view over grey (the one that hashes come from), two more
over black and white where it is transparent, and one by its gamma, or its colour profile, where
that matters.
"""

from PIL import Image

from scanner.decoding.profiles import by_profile
from scanner.decoding.thumbnail import flatten, shrink

GROUNDS = ((0, 0, 0), (255, 255, 255))
USUAL_GAMMA = 1 / 2.2
GAMMA_TOLERANCE = 1.1
"""By what factor a gamma may differ from the usual one without a view of its own."""


def views(frame: Image.Image) -> list[Image.Image]:
    """Return RGB views of a frame of any mode, reduced; the one over grey first."""
    seen = [flatten(frame) if frame.mode != "RGB" else frame.copy()]  # the next frame replaces it
    gamma = frame.info.get("gamma") or USUAL_GAMMA
    if not 1 / GAMMA_TOLERANCE < gamma / USUAL_GAMMA < GAMMA_TOLERANCE:
        seen.append(_by_gamma(seen[0], USUAL_GAMMA / gamma))
    if (profiled := by_profile(frame)) is not None:
        seen.append(flatten(profiled))
    return [*map(shrink, seen), *_over_grounds(frame)]


def _by_gamma(image: Image.Image, exponent: float) -> Image.Image:
    table = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return image.point(table * 3)


def _over_grounds(frame: Image.Image) -> list[Image.Image]:
    """Return the frame over black and over white, nothing for one that is opaque."""
    if not frame.has_transparency_data:
        return []
    rgba = frame.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return []
    small = shrink(rgba)
    return [_over(small, ground) for ground in GROUNDS]


def _over(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    ground = Image.new("RGB", image.size, colour)
    ground.paste(image, (0, 0), image.getchannel("A"))
    return ground
