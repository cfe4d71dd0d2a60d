"""What viewers may show of one frame, so that the classifier sees all of it.

A transparent picture lies on whatever page shows it: one in grey 128 and alpha alone is nothing
over grey and a picture over white. A PNG's gAMA lifts details out of black or white that are
not there without it. So a frame has one view over grey (the one that hashes come from), two more
over black and white where it is transparent, one by its gamma, or its colour profile, where that
matters, and several of its parts where it is very long.
"""

from itertools import pairwise

from PIL import Image

from scanner.decoding.profiles import by_profile, steepest_step
from scanner.decoding.strips import strips
from scanner.decoding.thumbnail import flatten, shrink
from scanner.errors import Undecodable

GROUNDS = ((0, 0, 0), (255, 255, 255))
USUAL_GAMMA = 1 / 2.2
STEP_MAX = 24
"""By how much of 255 a gamma or profile may part two neighbouring samples; linear light has 20."""
GAMMA_TOLERANCE = 1.1
"""By what factor a gamma may differ from the usual one without a view of its own."""


def views(frame: Image.Image) -> list[Image.Image]:
    """Return RGB views of a frame of any mode, reduced; the one over grey first."""
    seen = [flatten(frame) if frame.mode != "RGB" else frame.copy()]  # the next frame replaces it
    table = _gamma_table(frame)
    if table is not None:
        seen.append(_by_table(frame, table))
    if (profiled := by_profile(frame)) is not None:
        seen.append(flatten(profiled))
    return [*map(shrink, seen), *_over_grounds(frame), *strips(seen[0])]


def check_steps(frame: Image.Image) -> None:
    """Raise Undecodable for a frame of more than 8 bits that shows in the bits cut off here.

    Decoders give the upper 8; a steep gamma or profile makes a picture of those below.
    """
    table = _gamma_table(frame) or [0]
    steepest = max((after - before for before, after in pairwise(table)), default=0)
    if max(steepest, steepest_step(frame)) > STEP_MAX:
        raise Undecodable("a picture in more than 8 bits, of a gamma or profile that hides it")


def _gamma_table(frame: Image.Image) -> list[int] | None:
    """Return what a frame's gamma makes of each sample, None where it is about the usual one."""
    gamma = frame.info.get("gamma") or USUAL_GAMMA
    if 1 / GAMMA_TOLERANCE < gamma / USUAL_GAMMA < GAMMA_TOLERANCE:
        return None
    return [round(255 * (value / 255) ** (USUAL_GAMMA / gamma)) for value in range(256)]


def _by_table(frame: Image.Image, table: list[int]) -> Image.Image:
    """Return a frame with its samples changed, before they are mixed with any ground."""
    if not frame.has_transparency_data:
        return flatten(frame).point(table * 3)
    rgba = frame.convert("RGBA")
    return flatten(rgba.point([*table * 3, *range(256)]))


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
