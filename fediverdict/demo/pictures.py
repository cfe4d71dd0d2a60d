"""The demo's pictures, and the truth about each.

Photos in the public domain stand in `fediverdict/demo_photos` (its SOURCES.md names the package
each came with); the rest is drawn. Test patterns play the abusive pictures, so the truth is known:
a test pattern in any of its copies must never be answered `clean`.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from scanner.testpatterns import draw_pattern, draw_shape

DRAWN = 22
Change = Callable[[Image.Image], Image.Image]
NEVER_SEEN = 1_000  # seeds of what alpha is never shown
SIZE = 480  # pixels a side of a drawn picture


class Group(StrEnum):
    """How a picture that beta is asked about relates to alpha's."""

    BEFORE = "near copy before its original"
    SAME = "same bytes"
    AGAIN = "same bytes once more"
    REWRAP = "lossless re-wrap"
    COPY = "re-encoded, half size, rotated, mirrored"
    NEW = "never seen by alpha"
    BROKEN = "broken files"


@dataclass(frozen=True)
class DemoPicture:
    """One file with its name and whether it shows a test pattern."""

    name: str
    data: bytes
    is_pattern: bool


@dataclass(frozen=True)
class Question:
    """One picture that beta is asked about."""

    group: Group
    picture: DemoPicture
    original: str | None = None


def shown_to_alpha() -> list[DemoPicture]:
    """Return the pictures that alpha scans: photos, shapes and test patterns."""
    return [*_photos(), *_shapes(0, DRAWN), *_patterns(0, DRAWN)]


def questions(shown: list[DemoPicture]) -> Iterator[Question]:
    """Give what beta is asked, in order."""
    patterns = [picture for picture in shown if picture.is_pattern]
    photos = [picture for picture in shown if picture.name.startswith("photo-")]
    yield Question(Group.BEFORE, _copy(patterns[0], "half", _half), patterns[0].name)
    for picture in shown:
        yield Question(Group.SAME, picture, picture.name)
    for picture in shown:
        yield Question(Group.AGAIN, picture, picture.name)
    for picture in shown:
        yield Question(Group.REWRAP, rewrap(picture), picture.name)
    for picture in [*patterns[1:9], *photos[:6]]:
        for copy in copies(picture):
            yield Question(Group.COPY, copy, picture.name)
    for picture in [*_shapes(NEVER_SEEN, 10), *_patterns(NEVER_SEEN, 6)]:
        yield Question(Group.NEW, picture)
    for picture in _broken(photos[0]):
        yield Question(Group.BROKEN, picture)


def _photos() -> Iterator[DemoPicture]:
    folder = resources.files("fediverdict") / "demo_photos"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".jpg"):
            yield DemoPicture(f"photo-{file.name}", file.read_bytes(), is_pattern=False)


def _shapes(first_seed: int, count: int) -> Iterator[DemoPicture]:
    for seed in range(first_seed, first_seed + count):
        image = draw_shape(seed, (SIZE, SIZE))
        name, kind = ("png", "PNG") if seed % 2 else ("webp", "WEBP")
        yield DemoPicture(f"shape-{seed}.{name}", _encoded(image, kind), is_pattern=False)


def _patterns(first_seed: int, count: int) -> Iterator[DemoPicture]:
    for seed in range(first_seed, first_seed + count):
        image = draw_pattern(seed, (SIZE, SIZE))
        name, kind = ("png", "PNG") if seed % 2 else ("jpg", "JPEG")
        yield DemoPicture(f"pattern-{seed}.{name}", _encoded(image, kind), is_pattern=True)


def _broken(photo: DemoPicture) -> Iterator[DemoPicture]:
    half = photo.data[: len(photo.data) // 2]
    yield DemoPicture("truncated.jpg", half, is_pattern=False)
    yield DemoPicture("text.png", b"this is not a picture", is_pattern=False)


def rewrap(picture: DemoPicture) -> DemoPicture:
    """Return the same picture in other bytes, without loss, as servers do that change tags."""
    name = f"rewrap-{picture.name}"
    if picture.name.endswith(".jpg"):
        return DemoPicture(name, _with_comment(picture.data), picture.is_pattern)
    image = Image.open(io.BytesIO(picture.data))
    tags = PngInfo()
    tags.add_text("Comment", "re-wrapped by the demo")
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=1, pnginfo=tags)
    return DemoPicture(f"{name}.png", target.getvalue(), picture.is_pattern)


def _with_comment(jpeg: bytes) -> bytes:
    comment = b"re-wrapped by the demo"
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def copies(picture: DemoPicture) -> Iterator[DemoPicture]:
    """Give copies that lose something: re-encoded, half size, rotated, mirrored."""
    yield _copy(picture, "q60", lambda image: image)
    yield _copy(picture, "half", _half)
    yield _copy(picture, "rotated", lambda image: image.transpose(Image.Transpose.ROTATE_90))
    yield _copy(picture, "mirrored", ImageOps.mirror)


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def _copy(picture: DemoPicture, how: str, change: Change) -> DemoPicture:
    image = change(Image.open(io.BytesIO(picture.data)).convert("RGB"))
    return DemoPicture(f"{how}-{picture.name}.jpg", _encoded(image, "JPEG", 60), picture.is_pattern)


def _encoded(image: Image.Image, kind: str, quality: int = 90) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, quality=quality, lossless=True)
    return target.getvalue()
