"""The pictures of the suite: photos that packages ship, distinct from each other, and drawn ones.

Photos come from what is installed of scikit-image, scikit-learn and matplotlib (Python), from
Debian's wallpaper packages, and from the demo; where they are fewer than asked for, drawn
shapes fill up, and the count of each is told. Install for the full set:
`pip install fediverdict[bench]` and `apt-get install gnome-backgrounds
mate-backgrounds plasma-workspace-wallpapers desktop-base`.
"""

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import note
from fediverdict.demo.pictures import shown_to_alpha
from scanner.decoding.perceptual import Perceptual, perceptual
from scanner.testpatterns import draw_shape

SIDE_MAX = 800
"""Pixels of the long side: what servers keep of an upload, more or less."""
CORRELATION_MAX = 0.9
"""Of two pictures at 32x32 grey; past it they are taken for one picture that two packages ship, or
a wallpaper by day and by night. Not told by the hashes that are measured."""
QUALITY_MIN = 50
PACKAGES = {
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
}
WALLPAPERS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class Photo:
    """One distinct picture, RGB, and the package it came with."""

    package: str
    name: str
    image: Image.Image
    hashes: Perceptual
    grey: NDArray[np.float64]  # 32x32, of mean 0 and deviation 1


@cache
def distinct(count: int) -> tuple[Photo, ...]:
    """Return so many pictures, none a copy of another, of quality 50 or more."""
    found: list[Photo] = []
    for package, name, image in _candidates():
        if len(found) == count:
            break
        photo = Photo(package, name, image, perceptual(image), _grey(image))
        if photo.hashes.quality >= QUALITY_MIN and not any(_alike(photo, one) for one in found):
            found.append(photo)
    note(f"pictures: {told(found)}")
    if absent := missing():
        note(f"  without the photos of {', '.join(absent)}: install fediverdict[bench]")
    return tuple(found)


def missing() -> list[str]:
    """Return which of the packages whose photos are shown are not installed."""
    return [package for package, folder in PACKAGES.items() if not _of_package(*folder)]


def told(photos: "list[Photo] | tuple[Photo, ...]") -> str:
    """Return how many pictures came with which package."""
    counts = Counter(photo.package for photo in photos)
    return ", ".join(f"{number} of {package}" for package, number in counts.items())


def bits_apart(first: bytes, second: bytes) -> int:
    """Return the Hamming distance."""
    return (int.from_bytes(first) ^ int.from_bytes(second)).bit_count()


def _alike(one: Photo, other: Photo) -> bool:
    return float((one.grey * other.grey).mean()) > CORRELATION_MAX


def _grey(image: Image.Image) -> NDArray[np.float64]:
    pixels = np.asarray(image.convert("L").resize((32, 32)), np.float64)
    grey: NDArray[np.float64] = (pixels - pixels.mean()) / (pixels.std() or 1)
    return grey


def _candidates() -> Iterator[tuple[str, str, Image.Image]]:
    for package, folder in PACKAGES.items():
        for file in _of_package(*folder):
            yield from _opened(package, file)
    for picture in shown_to_alpha():
        if picture.name.startswith("photo-"):
            yield "the demo", picture.name, _reduced(Image.open(io.BytesIO(picture.data)))
    for file in _wallpapers():
        yield from _opened("wallpapers", file)
    for seed in range(10_000):
        yield "drawn shapes", f"shape-{seed}", draw_shape(seed, (480, 480))


def _of_package(module: str, folder: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return []
    return _files(Path(spec.origin).parent / folder)


def _wallpapers() -> list[Path]:
    """Return one file of each wallpaper: folders hold one in many sizes."""
    by_name: dict[Path, Path] = {}
    for root in WALLPAPERS:
        for file in _files(root):
            key = file.parent if file.stem[:1].isdigit() or "images" in file.parts else file
            by_name.setdefault(key, file)
    return sorted(by_name.values())


def _files(folder: Path) -> list[Path]:
    found = folder.rglob("*") if folder.is_dir() else []
    return sorted(f for f in found if f.suffix in SUFFIXES and "screenshot" not in f.name)


def _opened(package: str, file: Path) -> Iterator[tuple[str, str, Image.Image]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield package, "/".join(file.parts[-4:]), _reduced(Image.open(file))
    except OSError:
        return  # a file that Pillow cannot read is no picture of ours


def _reduced(image: Image.Image) -> Image.Image:
    image.draft("RGB", (SIDE_MAX, SIDE_MAX))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    image.thumbnail((SIDE_MAX, SIDE_MAX), Image.Resampling.LANCZOS)
    return image
