"""The canonical thumbnail v1, which all perceptual hashes come from.

Orientation applied, alpha over grey 128, no ICC conversion, luma by Rec. 601, stretched to
512x512 (bilinear, antialiased).
"""

import numpy as np
from PIL import Image

SIDE = 512
FRAME_PIXELS_MAX = 1 << 20
"""Pixels of a frame that is kept: bounds the memory of an animation's frames (192 MB)."""
GREY = (128, 128, 128)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What an EXIF orientation asks to be done; 1 and anything unknown asks for nothing."""


def flatten(image: Image.Image) -> Image.Image:
    """Return an image of any mode as RGB, alpha over grey 128, 16 bits cut to their upper 8.

    One that is RGB already is returned as it is, no copy.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        samples = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(samples.clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    ground = Image.new("RGB", rgba.size, GREY)
    ground.paste(rgba, (0, 0), rgba.getchannel("A"))
    return ground


def shrink(image: Image.Image) -> Image.Image:
    """Return an RGB or RGBA image reduced to 512 pixels on its short side, or fewer if it is long.

    Smaller images stay as they are; the thumbnail of the result is that of the image.
    """
    ratio = min(
        1.0, SIDE / min(image.size), (FRAME_PIXELS_MAX / (image.width * image.height)) ** 0.5
    )
    if ratio == 1.0:
        return image
    size = (max(1, int(image.width * ratio)), max(1, int(image.height * ratio)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image as its EXIF orientation 1..8 asks to show it."""
    method = TURNS.get(orientation)
    return image if method is None else image.transpose(method)


def thumbnail(frame: Image.Image) -> Image.Image:
    """Return the 512x512 luma of an upright RGB frame."""
    return frame.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
