"""Reads a picture's bytes into a `Picture`, or says why it could not be judged.

Bytes of strangers: only the formats below are opened, sizes are checked before pixels are
decoded, and whatever a decoder raises becomes `Undecodable`. TIFF, BMP and the many other
formats of Pillow stay shut: no fediverse server passes them on, and each is one more decoder
to attack. A JPEG is decoded once, reduced (`draft`), for hashes and classifier alike.
"""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile

from scanner.blocks import count_blocks, count_exif
from scanner.content import PixelContent, content_of_jpeg
from scanner.errors import OverLimit, ScannerError, Undecodable
from scanner.fingerprint import Fingerprint, sha256_of
from scanner.gif import gif_facts
from scanner.limits import Limits
from scanner.pdq import pdq
from scanner.picture import Picture
from scanner.png import SIGNATURE
from scanner.png_strict import check_png, grey_step
from scanner.thumbnail import SIDE, flatten, shrink, thumbnail, turn
from scanner.views import views

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
ORIENTATION = 0x0112
SOS = b"\xff\xda"

# Pillow warns of broken metadata and large images; here they are judged, or refused by limits.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class _Frames:
    """The views of all frames, how many frames there were, and the content digest."""

    views: tuple[Image.Image, ...]
    total: int
    content: bytes | None


def read(data: bytes, limits: Limits) -> Picture:
    """Return the picture of a file's bytes, with its fingerprints; all its frames are seen.

    Raises Undecodable or OverLimit, and nothing else.
    """
    if not data:
        raise Undecodable("the file is empty")
    _within(len(data), limits.image_bytes, "bytes")
    try:
        return _read(data, limits)
    except ScannerError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise OverLimit(f"more pixels than the limit of {limits.pixels}") from error
    except UnidentifiedImageError as error:
        raise Undecodable(f"none of {', '.join(FORMATS)}, or damaged") from error
    except MemoryError as error:
        raise OverLimit("decoding it takes more memory than there is") from error
    except Exception as error:
        raise Undecodable(f"cut short or damaged ({type(error).__name__})") from error


def content_of(data: bytes, limits: Limits) -> bytes | None:
    """Return the `content` digest of a file, None where it has none; raises as `read` does.

    A JPEG is not decoded.
    """
    if data.startswith(b"\xff\xd8"):
        _within(len(data), limits.image_bytes, "bytes")
        return content_of_jpeg(data)
    return read(data, limits).fingerprint.content


def _read(data: bytes, limits: Limits) -> Picture:
    _within(count_blocks(data, limits.blocks), limits.blocks, "blocks or more")
    _within(count_exif(data, limits.exif_blocks), limits.exif_blocks, "EXIF blocks or more")
    if data.startswith(SIGNATURE):
        check_png(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        _check_size(data, image, limits)
        orientation = _orientation(image)
        frames = _decode(data, image, limits)
    upright = tuple(turn(view, orientation) for view in frames.views)
    if orientation >= 5:
        width, height = height, width
    small = thumbnail(upright[0])
    hashes = pdq(small)
    fingerprint = Fingerprint(
        sha256=sha256_of(data),
        content=frames.content,
        pdq=hashes.variants[0],
        pdq_quality=hashes.quality,
        phash=_phash(small),
    )
    total = frames.total
    return Picture(fingerprint, hashes.variants, upright, total, total, width, height)


def _check_size(data: bytes, image: Image.Image, limits: Limits) -> None:
    """Raise OverLimit before anything is decoded that would take too long or too much."""
    pixels = image.width * image.height
    if not pixels:
        raise Undecodable("the picture has no pixels")
    _within(pixels, limits.pixels, "pixels")
    if image.format == "GIF":  # Pillow counts frames slowly and grows: the walk goes first
        facts = gif_facts(data)
        _within(facts.frames, limits.frames, "frames")
        pixels = max(pixels, facts.width * facts.height)
        _within(pixels, limits.pixels, "pixels")
    frames = getattr(image, "n_frames", 1)
    _within(frames, limits.frames, "frames")
    if frames > 1:
        _within(pixels * frames, limits.composited_pixels, "composited pixels")


def _decode(data: bytes, image: Image.Image, limits: Limits) -> _Frames:
    total = getattr(image, "n_frames", 1)
    if _is_jpeg(image):
        frames = tuple(_jpeg_frames(data, image, total, limits))
        return _Frames(frames, len(frames), content_of_jpeg(data))
    content = PixelContent(data, image, total)
    seen: list[Image.Image] = []
    for frame in _frames(data, image, total, limits):
        content.add(frame)
        seen.extend(views(frame))
    seen.extend(_other_views(data, image, limits))
    return _Frames(tuple(seen), total, content.digest())


def _frames(data: bytes, image: Image.Image, total: int, limits: Limits) -> Iterator[Image.Image]:
    """Yield each composited frame; the next one replaces it."""
    offsets = gif_facts(data).data_offsets if image.format == "GIF" else ()
    if len(offsets) > total:
        raise Undecodable("a GIF with frames that not every decoder finds")
    for number in range(total):
        if isinstance(image, GifImageFile):
            image.disposal_method = 0  # Pillow keeps the last frame's for one that names none
        image.seek(number)
        if isinstance(image, GifImageFile) and number < len(offsets):
            _check_offset(image, offsets[number])
        if image.format == "PNG" and isinstance(image.info.get("transparency"), int):
            image.info["transparency"] *= grey_step(data)  # Pillow leaves it unscaled
        image.load()
        _within(image.width * image.height, limits.pixels, "pixels")
        yield image


def _check_offset(image: GifImageFile, offset: int) -> None:
    """Raise Undecodable when Pillow finds a frame's pixels elsewhere than the format says."""
    if image.tile[0].offset != offset:
        raise Undecodable("a GIF whose frames not every decoder finds in the same place")


def _other_views(data: bytes, image: Image.Image, limits: Limits) -> list[Image.Image]:
    """Return what else some viewers show of an AVIF: its still picture for its film, or back.

    Which of them a viewer takes hangs on the brand, and on its taste.
    """
    if image.format != "AVIF" or b"moov" not in data:
        return []
    brand = b"avis" if data[8:12] == b"avif" else b"avif"
    try:
        opened = Image.open(io.BytesIO(data[:8] + brand + data[12:]), formats=("AVIF",))
    except UnidentifiedImageError:
        return []  # it has one of them only
    with opened as other:
        _check_size(data, other, limits)
        total = getattr(other, "n_frames", 1)
        return [view for frame in _frames(data, other, total, limits) for view in views(frame)]


def _jpeg_frames(
    data: bytes, image: Image.Image, total: int, limits: Limits
) -> Iterator[Image.Image]:
    """Yield the picture, and the further ones of a multi-picture file that can be decoded.

    Servers that strip metadata often cut these off and leave their table: no viewer shows them.
    """
    scans, pixels = data.count(SOS), 0
    for number in range(total):
        try:
            image.seek(number)
        except Exception:  # noqa: BLE001  whatever it is, nobody can see this picture
            return
        _within(image.width * image.height, limits.pixels, "pixels")
        pixels += image.width * image.height
        if number:
            _within(pixels, limits.composited_pixels, "composited pixels")
        _within(pixels * scans, limits.scan_pixels, "pixels in all scans")
        image.draft("RGB", (SIDE, SIDE))
        try:
            image.load()
        except Exception:
            if not number:
                raise
            return
        yield shrink(flatten(image))


def _is_jpeg(image: Image.Image) -> bool:
    return image.format in {"JPEG", "MPO"}


def _orientation(image: Image.Image) -> int:
    """Return the orientation 1..8; broken EXIF data count as none."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001  metadata must not decide whether a picture is judged
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _phash(small: Image.Image) -> bytes:
    """Return imagehash's pHash of 256 bits (`hash_size=16`)."""
    return np.packbits(imagehash.phash(small, hash_size=16).hash).tobytes()


def _within(value: int, limit: int, unit: str) -> None:
    if value > limit:
        raise OverLimit(f"{value} {unit}, the limit is {limit}")
