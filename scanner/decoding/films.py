"""Decodes the frames of a PNG, GIF, WebP or AVIF that Pillow opened, and keeps samples of them.

Frames are composited in order. Of a format that has a `content` digest every frame is, so that
the digest is exact; of an AVIF only the samples. An AVIF may hold a still beside its film:
which of them a viewer takes hangs on the brand, and on its taste, so both are seen.
"""

import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile

from scanner.decoding.gif_frames import TO_BACKGROUND, browser_frames
from scanner.decoding.kept import Kept
from scanner.decoding.sampling import positions, ranks
from scanner.decoding.views import check_steps, views
from scanner.errors import Undecodable
from scanner.formats.content import PixelContent
from scanner.formats.cropping import apertures
from scanner.formats.gif import gif_facts
from scanner.formats.png_strict import grey_step, has_deep_samples, is_linear
from scanner.formats.timing import frame_times
from scanner.limits import Limits, within

MAIN, OTHER = 0, 1
"""The film that Pillow shows, and the other one of an AVIF that has two."""


class Decoded(NamedTuple):
    """What came of a file: kept views, frames seen and in all, `content`."""

    kept: Kept
    seen: int
    total: int
    content: bytes | None


def decode_film(data: bytes, image: Image.Image, limits: Limits, seed: bytes) -> Decoded:
    """Return the samples of an opened picture that is no JPEG; raises ScannerError and others."""
    kept = Kept(limits.view_pixels)
    content = _walk(data, image, limits, seed, kept, MAIN)
    totals = {MAIN: frame_count(image)}
    other = _other(data, image)
    if other is not None:
        with other:
            check_size(data, other, limits)
            _walk(data, other, limits, seed, kept, OTHER)
            totals[OTHER] = frame_count(other)
    longest = max(totals, key=lambda film: (totals[film], -film))
    return Decoded(kept, kept.seen(longest), totals[longest], content)


def check_size(data: bytes, image: Image.Image, limits: Limits) -> None:
    """Raise OverLimit before anything is decoded that would take too long or too much."""
    pixels = image.width * image.height
    if not pixels:
        raise Undecodable("the picture has no pixels")
    within(pixels, limits.pixels, "pixels")
    if image.format == "GIF":  # Pillow counts frames slowly and grows: the walk goes first
        facts = gif_facts(data)
        within(facts.frames, limits.frames_total, "frames")
        pixels = max(pixels, facts.width * facts.height)
        within(pixels, limits.pixels, "pixels")
    frames = frame_count(image)
    within(frames, limits.frames_total, "frames")
    if frames > 1:
        within(pixels * frames, limits.composited_pixels, "composited pixels")


def frame_count(image: Image.Image) -> int:
    """Return how many frames Pillow finds in an opened picture."""
    return int(getattr(image, "n_frames", 1))


def _walk(
    data: bytes, image: Image.Image, limits: Limits, seed: bytes, kept: Kept, film: int
) -> bytes | None:
    """Keep the samples of a film; return its `content`."""
    total = frame_count(image)
    times = frame_times(data, image.format, total) if total > limits.frames else ()
    chosen = positions(seed, total, limits.frames, times)
    # of two films the ranks take turns, so that neither is dropped for the other
    wanted = {n: 2 * rank + film for n, rank in zip(chosen, ranks(len(chosen)), strict=True)}
    browsers = _as_browsers(data, image)
    parts = sorted(apertures(data, image.size)) if image.format == "AVIF" else []
    content = None if image.format == "AVIF" else PixelContent(data, image, total)
    for number, frame in _frames(data, image, limits, chosen if content is None else range(total)):
        if content is not None:
            content.add(frame)
        shown = next(browsers, frame)
        rank = wanted.get(number)
        if rank is not None and kept.wants(rank):
            seen = views(shown if number else frame)
            seen += [view for part in parts for view in views(frame.crop(part))]
            kept.add(rank, film, number, seen)
    return None if content is None else content.digest()


def _as_browsers(data: bytes, image: Image.Image) -> Iterator[Image.Image]:
    """Yield the frames of a GIF that disposes of some, as browsers show them; of others nothing."""
    facts = gif_facts(data) if image.format == "GIF" else None
    if facts is None or not 1 < len(facts.parts) == frame_count(image):
        return
    if any(part.disposal >= TO_BACKGROUND for part in facts.parts):
        yield from browser_frames(data, facts)


def _frames(
    data: bytes, image: Image.Image, limits: Limits, numbers: Iterable[int]
) -> Iterator[tuple[int, Image.Image]]:
    """Yield numbered frames, composited; the next one replaces it."""
    is_png = image.format == "PNG"
    deep = image.format == "AVIF" or (is_png and has_deep_samples(data))
    linear = is_png and is_linear(data)
    offsets = gif_facts(data).data_offsets if image.format == "GIF" else ()
    if len(offsets) > frame_count(image):
        raise Undecodable("a GIF with frames that not every decoder finds")
    for number in numbers:
        if isinstance(image, GifImageFile):
            image.disposal_method = 0  # Pillow keeps the last frame's for one that names none
        image.seek(number)
        if isinstance(image, GifImageFile) and number < len(offsets):
            _check_offset(image, offsets[number])
        if is_png and isinstance(image.info.get("transparency"), int):
            image.info["transparency"] *= grey_step(data)  # Pillow leaves it unscaled
        image.load()
        if linear:
            image.info["gamma"] = 1.0
        if deep:
            check_steps(image)
        within(image.width * image.height, limits.pixels, "pixels")
        yield number, image


def _check_offset(image: GifImageFile, offset: int) -> None:
    """Raise Undecodable when Pillow finds a frame's pixels elsewhere than the format says."""
    if image.tile[0].offset != offset:
        raise Undecodable("a GIF whose frames not every decoder finds in the same place")


def _other(data: bytes, image: Image.Image) -> Image.Image | None:
    """Open the still of an AVIF that was opened as a film, or the film of one opened as a still."""
    if image.format != "AVIF" or b"moov" not in data:
        return None
    brand = b"avis" if data[8:12] == b"avif" else b"avif"
    try:
        return Image.open(io.BytesIO(data[:8] + brand + data[12:]), formats=("AVIF",))
    except UnidentifiedImageError:
        return None  # it has one of them only
