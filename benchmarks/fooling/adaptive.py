"""Attackers who know everything of `decide.near_clean = "own"` but the key, and one who may ask.

The first simulates: he draws keys of his own, and takes of each way to change the clean picture
the strongest that passes for a quarter of them; what he gets by real keys is measured. The second
has an oracle: he may ask of any number of pictures whether they are answered clean unscanned
(in truth a picture that is not is scanned, and if it is flagged all that is near it is scanned
from then on), and goes from the clean picture to the bad one by whatever steps pass.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.fooling.files import ghost, hybrid, inset
from benchmarks.fooling.pictures import Photo
from benchmarks.fooling.recall import Print, compared
from benchmarks.fooling.seen import Scan, levels_apart
from benchmarks.fooling.suite import Table
from benchmarks.fooling.transforms import encoded
from benchmarks.report import note
from scanner.decoding.keyed import (
    CHROMA_SIDE,
    GRID,
    LUMA_SIDE,
    SMALL_BYTES,
    is_copy,
    keyed,
    small_of,
)
from scanner.decoding.perceptual import perceptual
from scanner.testpatterns import draw_pattern

Change = Callable[[Image.Image, Image.Image], Image.Image]
PHOTOS, ASKING_PHOTOS = 12, 6
SIMULATED_KEYS, REAL_KEYS = 8, 16
WANTED = 0.25
"""Share of simulated keys under which an attacker wants to pass."""
ASKS = (100, 1000, 3000)
SEEN_LEVELS = 16


@dataclass(frozen=True, slots=True)
class Way:
    """A way to change the clean picture, weakest first."""

    unit: str
    steps: dict[float, Change]


def block_moved(rms: float, clean: Image.Image, bad: Image.Image) -> Image.Image:
    """Return the picture nearest the bad one whose blocks are no further than that from clean."""
    before, after = (np.asarray(one, np.float64) for one in (clean, bad))
    moved = before.copy()
    for rows in np.array_split(np.arange(clean.height), GRID):
        for columns in np.array_split(np.arange(clean.width), GRID):
            part = np.ix_(rows, columns)
            change = after[part] - before[part]
            length = float(np.sqrt((change**2).mean())) or 1.0
            moved[part] += change * min(1.0, rms / length)
    return Image.fromarray(moved.clip(0, 255).round().astype(np.uint8))


def woven(levels: float, clean: Image.Image, bad: Image.Image) -> Image.Image:
    """Return the clean picture with the bad one woven in, pixel by pixel up and down."""
    checks = np.indices((clean.height, clean.width)).sum(0) % 2 * 2 - 1
    weave = checks * np.asarray(bad.convert("L"), np.float64) / 255 * levels
    pixels = np.asarray(clean, np.float64) + weave[..., None]
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def one_block(share: float, clean: Image.Image, bad: Image.Image) -> Image.Image:
    """Return the clean picture with the bad one, small, shining through in one block of 64."""
    width, height = clean.width // GRID, clean.height // GRID
    place = (3 * clean.width // GRID, 4 * clean.height // GRID)
    changed = clean.copy()
    part = clean.crop((*place, place[0] + width, place[1] + height))
    changed.paste(Image.blend(part, bad.resize((width, height)), share), place)
    return changed


def _way(unit: str, change: Callable[..., Image.Image], *steps: float) -> Way:
    return Way(unit, {step: partial(change, step) for step in steps})


def _by_percent(change: Callable[..., Image.Image]) -> Callable[..., Image.Image]:
    return lambda percent, clean, bad: change(percent / 100, clean, bad)


WAYS = {
    "bad picture over all of it": _way("% opacity", _by_percent(ghost), 1, 2, 4, 6, 8, 10, 15, 25),
    "towards the bad one, each block as far": _way(
        "levels", block_moved, 1, 2, 3, 4, 6, 8, 12, 16, 24
    ),
    "bad picture in one block": _way("% opacity", _by_percent(one_block), 2, 5, 10, 20, 40, 100),
    "bad picture, small": _way("% area", _by_percent(inset), 0.01, 0.02, 0.05, 0.1, 0.25, 1, 4),
    "details finer than": _way("cycles", hybrid, 240, 200, 160, 128, 100, 64, 32),
    "woven in, pixel by pixel": _way("levels", woven, 4, 8, 16, 32, 64),
}


def tables(photos: Sequence[Photo]) -> list[Table]:
    """Return what both attackers reach."""
    some = photos[:PHOTOS]
    bads = [draw_pattern(number, photo.image.size) for number, photo in enumerate(some)]
    columns = (
        "pass, % over keys",
        "strength, median",
        "seen change, levels",
        "flagged if scanned",
        "flagged and passed, expected",
    )
    title = f"All but the key is known: {len(some)} pictures, `own`, the strongest that passes"
    simulated = Table(title, columns)
    scan = Scan()
    for name, way in WAYS.items():
        note(f"  knows all but the key: {name}")
        rows = [_strongest(way, photo, bad, scan) for photo, bad in zip(some, bads, strict=True)]
        columns_found = list(zip(*rows, strict=True))
        simulated.rows[f"{name} ({way.unit})"] = [
            100 * float(np.mean(columns_found[0])),
            float(np.median(columns_found[1])),
            float(np.median(columns_found[2])),
            float(sum(columns_found[3])),
            float(np.dot(columns_found[0], columns_found[3])),
        ]
    return [simulated, _asking(some[:ASKING_PHOTOS], bads)]


def _strongest(
    way: Way, photo: Photo, bad: Image.Image, scan: Scan
) -> tuple[float, float, float, bool]:
    """Return share of real keys passed, strength, change in levels, and whether it is flagged."""
    known, mine = photo.image, _keys(SIMULATED_KEYS)
    best, strength = known, 0.0
    for step, change in way.steps.items():
        image = change(known, bad)
        if _passing(image, known, mine) < WANTED:
            break
        best, strength = image, step
    passing = _passing(best, known, _keys(REAL_KEYS)) if strength else 0.0
    data = encoded(best, "PNG", compress_level=1)
    return passing, strength, levels_apart(best, known), bool(strength) and scan.flags(data)


def _passing(image: Image.Image, known: Image.Image, keys: Sequence[bytes]) -> float:
    """Return the share of keys under which `own` takes the picture for the known one."""
    smalls = [small_of(one) for one in (image, known)]
    hashes = [perceptual(one) for one in (image, known)]
    taken = 0
    for key in keys:
        prints = [
            Print(found, keyed(small, key), 1.0)
            for found, small in zip(hashes, smalls, strict=True)
        ]
        taken += compared(*prints)[-1]
    return taken / len(keys)


def _keys(count: int) -> list[bytes]:
    return [secrets.token_bytes(32) for _ in range(count)]


def _asking(photos: Sequence[Photo], bads: Sequence[Image.Image]) -> Table:
    """Return how far the attacker with an oracle comes in so many asks."""
    note(f"  asks {ASKS[-1]} times, of {len(photos)} pictures")
    columns = [f"after {asks} asks" for asks in ASKS]
    found = [_asked(photo.image, bad) for photo, bad in zip(photos, bads, strict=False)]
    area, way = (np.mean([one[part] for one in found], axis=0) for part in (0, 1))
    rows = {
        f"% of the picture changed by {SEEN_LEVELS} levels": list(map(float, area)),
        "% of the way to the bad picture": list(map(float, way)),
    }
    return Table(f"May ask: {len(photos)} pictures, `own`, a key each", columns, {**rows})


def _asked(known: Image.Image, bad: Image.Image) -> tuple[list[float], list[float]]:
    key, rng = secrets.token_bytes(32), np.random.default_rng(secrets.randbits(64))
    start, goal = (_planes(small_of(one)) for one in (known, bad))
    sketch, now = keyed(_packed(start), key), [plane.copy() for plane in start]
    area, way = [], []
    for ask in range(1, ASKS[-1] + 1):
        tried = _stepped(now, goal, rng)
        if is_copy(keyed(_packed(tried), key), sketch):
            now = tried
        if ask in ASKS:
            change = np.abs(now[0] - start[0])
            area.append(100 * float((change >= SEEN_LEVELS).mean()))
            left = np.abs(goal[0] - now[0]).sum() / np.abs(goal[0] - start[0]).sum()
            way.append(100 * float(1 - left))
    return area, way


Planes = list[NDArray[np.float64]]


def _planes(small: bytes) -> Planes:
    pixels, luma, chroma = np.frombuffer(small, np.uint8), LUMA_SIDE**2, CHROMA_SIDE**2
    parts = (pixels[:luma], pixels[luma : luma + chroma], pixels[SMALL_BYTES - chroma :])
    return [part.reshape(int(part.size**0.5), -1).astype(np.float64) for part in parts]


def _packed(planes: Planes) -> bytes:
    return b"".join(plane.round().astype(np.uint8).tobytes() for plane in planes)


def _stepped(now: Planes, goal: Planes, rng: np.random.Generator) -> Planes:
    """Return the planes with some rectangle moved some way towards the goal."""
    cell = LUMA_SIDE // CHROMA_SIDE
    size = int(2 ** rng.uniform(0, 5))
    row, column = rng.integers(0, CHROMA_SIDE - size + 1, 2)
    share, tried = rng.choice((0.1, 0.25, 0.5, 1.0)), []
    for plane, wanted in zip(now, goal, strict=True):
        unit = cell if plane.shape[0] == LUMA_SIDE else 1
        rows, columns = (slice(unit * at, unit * (at + size)) for at in (row, column))
        moved = plane.copy()
        moved[rows, columns] += share * (wanted[rows, columns] - moved[rows, columns])
        tried.append(moved)
    return tried
