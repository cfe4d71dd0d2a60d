"""Draws test patterns and coloured shapes: what the demo, the tests and the tiny model use.

Test patterns play the abusive picture, so that nobody needs a real one. Everything is drawn
from a seed with numpy and Pillow; the same seed, size and versions give the same pixels.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Size = tuple[int, int]
"""Width and height in pixels."""
Grid = NDArray[np.float64]

BARS = (
    (255, 255, 255),
    (255, 255, 0),
    (0, 255, 255),
    (0, 255, 0),
    (255, 0, 255),
    (255, 0, 0),
    (0, 0, 255),
    (0, 0, 0),
)
"""The colours of broadcast bars, by falling brightness."""


def draw_pattern(seed: int, size: Size = (640, 480), kind: str | None = None) -> Image.Image:
    """Return a test pattern; its kind is `kind`, else the seed's (see `KINDS`)."""
    name = kind or list(KINDS)[seed % len(KINDS)]
    rng = np.random.default_rng([7, seed])
    image = Image.fromarray(KINDS[name](rng, size))
    _decorate(rng, ImageDraw.Draw(image), size)
    return image


def draw_shape(
    seed: int, size: Size = (640, 480), ground: Image.Image | None = None
) -> Image.Image:
    """Return one coloured shape over `ground` (any picture, stretched), or over drawn noise."""
    rng = np.random.default_rng([11, seed])
    image = draw_noise(seed, size) if ground is None else ground.convert("RGB").resize(size)
    kind = list(SHAPES)[seed % len(SHAPES)]
    reach = min(size) * rng.uniform(0.22, 0.4)
    middle = np.array(size) * rng.uniform(0.38, 0.62, 2)
    points = SHAPES[kind] * rng.uniform(0.8, 1.2, 2)
    turn = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    outline = [(float(x), float(y)) for x, y in points @ matrix * reach + middle]
    ImageDraw.Draw(image).polygon(outline, fill=_vivid(rng))
    return image


def draw_noise(seed: int, size: Size = (640, 480)) -> Image.Image:
    """Return coloured noise of a random fineness, smooth as clouds or fine as sand."""
    rng = np.random.default_rng([13, seed])
    width, height = size
    total = np.zeros((height, width, 3))
    slope = rng.uniform(0.3, 1.4)
    for octave in range(1, 9):
        cells = rng.uniform(-1, 1, (2**octave, 2**octave, 3))
        coarse = Image.fromarray((cells * 127 + 128).astype(np.uint8)).resize(size, 3)
        total += (np.asarray(coarse) - 128.0) * 2.0 ** (-slope * octave)
    total = total * rng.uniform(25, 60) / (total.std() + 1e-9) + rng.uniform(70, 185, 3)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _bars(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """Colour bars; below them a row of bars in another order and a grey staircase."""
    width, height = size
    out = np.zeros((height, width, 3), np.uint8)
    cut = (np.array([rng.uniform(0.45, 0.75), rng.uniform(0.8, 0.9)]) * height).astype(int)
    count = int(rng.integers(6, 9))
    out[: cut[0]] = _columns(np.array(BARS)[:count], width)
    out[cut[0] : cut[1]] = _columns(rng.permutation(np.array(BARS)), width)
    steps = np.linspace(0, 255, int(rng.integers(5, 13))).astype(int)
    out[cut[1] :] = _columns(np.stack([steps] * 3, 1), width)
    return np.ascontiguousarray(np.rot90(out, 2)) if rng.random() < 0.3 else out


def _gratings(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """Panels of black and white lines, each of its own direction and fineness."""
    x, y = _grid(size)
    out = np.zeros(x.shape)
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    for row in range(rows):
        for column in range(columns):
            inside = (x * columns // 1 == column) & (y * rows // 1 == row)
            turn, cycles = rng.choice([0, 0.5, 0.25, 0.75]) * np.pi, rng.uniform(10, 40)
            wave = np.sin(2 * np.pi * cycles * (x * np.cos(turn) + y * np.sin(turn)))
            out[inside] = (wave > 0)[inside]
    return _two_tone(rng, out)


def _checker(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """Checkered squares, with one quarter finer than the rest."""
    x, y = _grid(size)
    cells = int(rng.integers(6, 14))
    board = ((x * cells) // 1 + (y * cells) // 1) % 2
    fine = ((x * cells * 2) // 1 + (y * cells * 2) // 1) % 2
    inside = (abs(x - rng.uniform(0.2, 0.8)) < 0.2) & (abs(y - rng.uniform(0.2, 0.8)) < 0.2)
    return _two_tone(rng, np.where(inside, fine, board))


def _rings(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """Concentric rings around one centre, with a smaller set in a corner."""
    x, y = _grid(size)
    radius = np.hypot(x - rng.uniform(0.4, 0.6), y - rng.uniform(0.4, 0.6))
    rings = (radius * rng.uniform(10, 22)) // 1 % 2
    corner = rng.integers(0, 2, 2) * 0.7 + 0.15
    small = np.hypot(x - corner[0], y - corner[1])
    return _two_tone(rng, np.where(small < 0.14, (small * 50) // 1 % 2, rings))


def _wedges(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """A resolution star: black and white wedges that meet in one point."""
    x, y = _grid(size)
    x, y = x - rng.uniform(0.35, 0.65), y - rng.uniform(0.35, 0.65)
    spokes = int(rng.integers(9, 24))
    star = np.sin(np.arctan2(y, x) * spokes + rng.uniform(0, 6)) > 0
    return _two_tone(rng, np.where(np.hypot(x, y) < 0.04, 0.5, star))


def _card(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """A television station's card: white grid on grey, a circle with bars, lines and steps."""
    x, y = _grid(size)
    out = np.full((*x.shape, 3), rng.integers(60, 140), np.uint8)
    cells = int(rng.integers(10, 17))
    out[((x * cells) % 1 < 0.1) | ((y * cells * size[1] / size[0]) % 1 < 0.1)] = 255
    aspect = size[0] / size[1]
    circle = np.hypot((x - 0.5) * aspect, y - 0.5) < 0.44
    out[circle] = _circle_rows(rng, size)[circle]
    return out


def _circle_rows(rng: np.random.Generator, size: Size) -> NDArray[np.uint8]:
    """What stands inside a station card's circle: rows of bars, lines and grey steps."""
    width, height = size
    steps = np.linspace(0, 255, 8).astype(int)
    lines = (np.sin(np.arange(width) ** 2 * 40 / width**2 * np.pi) > 0) * 255
    rows = [
        _columns(np.array(BARS), width),
        _columns(rng.permutation(np.array(BARS)), width),
        np.stack([lines] * 3, 1).astype(np.uint8),
        _columns(np.stack([steps] * 3, 1), width),
    ]
    order = rng.permutation(len(rows))
    picks = order[(np.arange(height) * len(rows) // height).clip(0, len(rows) - 1)]
    chosen: NDArray[np.uint8] = np.stack(rows)[picks]
    return chosen


KINDS: dict[str, Callable[[np.random.Generator, Size], NDArray[np.uint8]]] = {
    "bars": _bars,
    "gratings": _gratings,
    "checker": _checker,
    "rings": _rings,
    "wedges": _wedges,
    "card": _card,
}


def _circle_points() -> Grid:
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], 1)


SHAPES: dict[str, Grid] = {
    "circle": _circle_points(),
    "square": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.9,
    "triangle": np.array([[0, -1.2], [1.05, 0.7], [-1.05, 0.7]]),
}


def _decorate(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: Size) -> None:
    """Add what makes one pattern unlike the next: a few marks of random place and tone."""
    width, height = size
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform(0.05, 0.75, 2) * (width, height)
        w, h = rng.uniform(0.08, 0.22, 2) * (width, height)
        tone = int(rng.integers(0, 256))
        box = (float(x), float(y), float(x + w), float(y + h))
        if rng.random() < 0.5:
            draw.ellipse(box, fill=(tone, tone, tone), outline=(255 - tone,) * 3)
        else:
            draw.rectangle(box, fill=(tone, tone, tone), outline=(255 - tone,) * 3)


def _grid(size: Size) -> tuple[Grid, Grid]:
    """Return x and y of each pixel's middle, 0..1, each of shape (height, width)."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    return (x + 0.5) / width, (y + 0.5) / height


def _columns(colours: NDArray[np.int_], width: int) -> NDArray[np.uint8]:
    """Return one row of `width` pixels, cut evenly into the colours; shape (width, 3)."""
    picks = np.arange(width) * len(colours) // width
    return colours[picks].astype(np.uint8)


def _two_tone(rng: np.random.Generator, mask: Grid) -> NDArray[np.uint8]:
    """Return the mask 0..1 painted from a dark to a bright tone, seldom coloured."""
    dark, bright = rng.integers(0, 60, 3), rng.integers(195, 256, 3)
    if rng.random() < 0.7:
        dark, bright = np.repeat(dark[:1], 3), np.repeat(bright[:1], 3)
    painted = dark + mask[..., None] * (bright - dark)
    return painted.astype(np.uint8)


def _vivid(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return a strong colour, clearly not grey."""
    high, low, middle = rng.integers(190, 256), rng.integers(0, 70), rng.integers(0, 256)
    red, green, blue = rng.permutation([high, low, middle])
    return int(red), int(green), int(blue)
