"""What happens to pictures on their way, and what people do to them: name -> transform.

Each takes an RGB picture and returns another; deterministic, so that a run can be repeated.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Transform = Callable[[Image.Image], Image.Image]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the picture as a file."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def through(kind: str, **options: Any) -> Transform:
    """Return what encodes a picture and decodes it again."""

    def apply(image: Image.Image) -> Image.Image:
        return Image.open(io.BytesIO(encoded(image, kind, **options))).convert("RGB")

    return apply


def jpeg(quality: int) -> Transform:
    """Return a JPEG round trip."""
    return through("JPEG", quality=quality)


def scaled(factor: float, method: Image.Resampling, image: Image.Image) -> Image.Image:
    """Return the picture at another size, as a JPEG of quality 80 as servers make them."""
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return jpeg(80)(image.resize(size, method))


def noisy(deviation: float, image: Image.Image) -> Image.Image:
    """Return the picture with normal noise."""
    noise = np.random.default_rng(1).normal(0, deviation, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def toned(change: Callable[[float], float], image: Image.Image) -> Image.Image:
    """Return the picture with each sample 0..1 changed."""
    table = [round(255 * min(max(change(value / 255), 0), 1)) for value in range(256)]
    return image.point(table * 3)


def cropped(share: float, image: Image.Image) -> Image.Image:
    """Return the picture without that share of its size at every edge."""
    return ImageOps.crop(image, round(share * min(image.size)))


def bordered(share: float, image: Image.Image) -> Image.Image:
    """Return the picture in a black border."""
    return ImageOps.expand(image, round(share * min(image.size)), BLACK)


def turned(degrees: float, image: Image.Image) -> Image.Image:
    """Return the picture turned a little, corners black."""
    return image.rotate(degrees, Image.Resampling.BICUBIC)


def stretched(factor: float, image: Image.Image) -> Image.Image:
    """Return the picture wider than it was."""
    return image.resize((round(image.width * factor), image.height))


def captioned(text: str, share: float, image: Image.Image) -> Image.Image:
    """Return the picture with a meme's caption: white capitals, black outline, at the bottom."""
    changed = image.copy()
    font = ImageFont.load_default(max(8, round(share * image.height)))
    place = (image.width / 2, image.height * 0.97)
    ImageDraw.Draw(changed).text(
        place, text, WHITE, font, anchor="ms", stroke_width=3, stroke_fill=BLACK
    )
    return changed


def marked(share: float, opacity: int, image: Image.Image) -> Image.Image:
    """Return the picture with a site's name over it: in a corner if small, else across."""
    layer = Image.new("RGBA", image.size)
    font = ImageFont.load_default(max(8, round(share * image.height)))
    corner = share < 0.1
    place = (image.width * 0.98, image.height * 0.98) if corner else (image.width / 2,) * 2
    anchor = "rs" if corner else "mm"
    ImageDraw.Draw(layer).text(place, "example.org", (*WHITE, opacity), font, anchor=anchor)
    return _over(image, layer)


def stickered(area: float, at: tuple[float, float], image: Image.Image) -> Image.Image:
    """Return the picture with a round, yellow and black sticker of that share of its area."""
    changed, side = image.copy(), (area * image.width * image.height) ** 0.5
    x, y = at[0] * (image.width - side), at[1] * (image.height - side)
    draw = ImageDraw.Draw(changed)
    draw.ellipse((x, y, x + side, y + side), (255, 220, 0), BLACK, max(1, round(side / 12)))
    third = side / 3
    draw.rectangle((x + third, y + third, x + 2 * third, y + 2 * third), BLACK)
    return changed


def veiled(opacity: int, image: Image.Image) -> Image.Image:
    """Return the picture under a red veil."""
    return _over(image, Image.new("RGBA", image.size, (220, 0, 0, opacity)))


def _over(image: Image.Image, layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


LANCZOS, BILINEAR = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR
TRANSFORMS: dict[str, Transform] = {
    "PNG": through("PNG"),
    **{f"JPEG q{quality}": jpeg(quality) for quality in (90, 80, 60, 40, 30, 10)},
    "JPEG q60 twice": lambda image: jpeg(60)(jpeg(60)(image)),
    **{f"WebP q{quality}": through("WEBP", quality=quality) for quality in (80, 50)},
    "AVIF q60": through("AVIF", quality=60, speed=9),
    "GIF, 256 colours": through("GIF"),
    "double size": partial(scaled, 2, LANCZOS),
    "three quarters": partial(scaled, 0.75, LANCZOS),
    "half size": partial(scaled, 0.5, LANCZOS),
    "half size, bilinear": partial(scaled, 0.5, BILINEAR),
    "quarter size": partial(scaled, 0.25, LANCZOS),
    "eighth size": partial(scaled, 0.125, LANCZOS),
    "sharpened": lambda image: image.filter(ImageFilter.UnsharpMask(2, 100)),
    "blurred by 1": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blurred by 3": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "noise 5": partial(noisy, 5),
    "noise 20": partial(noisy, 20),
    "brighter by 10 %": partial(toned, lambda value: value * 1.1),
    "darker by 20 %": partial(toned, lambda value: value * 0.8),
    "contrast 120 %": partial(toned, lambda value: 0.5 + (value - 0.5) * 1.2),
    "contrast 70 %": partial(toned, lambda value: 0.5 + (value - 0.5) * 0.7),
    "gamma 0.8": partial(toned, lambda value: value**0.8),
    "gamma 1.25": partial(toned, lambda value: value**1.25),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "colours doubled": lambda image: ImageEnhance.Color(image).enhance(2),
    "16 colours": lambda image: image.quantize(16).convert("RGB"),
    **{f"cropped by {share} %": partial(cropped, share / 100) for share in (1, 2, 5, 10)},
    **{f"border of {share} %": partial(bordered, share / 100) for share in (2, 5)},
    **{f"turned by {degrees} degrees": partial(turned, degrees) for degrees in (1, 3)},
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "wider by 10 %": partial(stretched, 1.1),
    "corner text": partial(marked, 0.04, 255),
    "watermark across": partial(marked, 0.2, 110),
    "meme caption": partial(captioned, "ONE DOES NOT SIMPLY", 0.1),
    "sticker of 1 %": partial(stickered, 0.01, (0.7, 0.3)),
    "sticker of 4 %": partial(stickered, 0.04, (0.7, 0.3)),
    "red veil": partial(veiled, 60),
}
CAPTIONS = (
    "ONE DOES NOT SIMPLY",
    "ALWAYS BEEN",
    "MONDAYS",
    "WHEN THE TESTS PASS",
    "NOBODY: ABSOLUTELY NOBODY:",
    "THIS IS FINE",
)
