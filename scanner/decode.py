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

from scanner.blocks import count_blocks
from scanner.content import PixelContent, content_of_jpeg
from scanner.errors import OverLimit, ScannerError, Undecodable
from scanner.fingerprint import Fingerprint, sha256_of
from scanner.gif import gif_facts
from scanner.limits import Limits
from scanner.pdq import pdq
from scanner.picture import Picture
from scanner.thumbnail import SIDE, flatten, shrink, thumbnail, turn

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
ORIENTATION = 0x0112
SOS = b"\xff\xda"

# Pillow warns of broken metadata and large images; here they are judged, or refused by limits.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class _Frames:
    """The reduced frames, how many there were, and the content digest."""

    reduced: tuple[Image.Image, ...]
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
        raise Undecodable(f"the decoder gave up: {type(error).__name__}") from error


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
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        _check_size(data, image, limits)
        orientation = _orientation(image)
        frames = _decode(data, image, limits)
    upright = tuple(turn(frame, orientation) for frame in frames.reduced)
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
    return Picture(fingerprint, hashes.variants, upright, len(upright), frames.total, width, height)


def _check_size(data: bytes, image: Image.Image, limits: Limits) -> None:
    """Raise OverLimit before anything is decoded that would take too long or too much."""
    pixels = image.width * image.height
    if not pixels:
        raise Undecodable("the picture has no pixels")
    _within(pixels, limits.pixels, "pixels")
    if image.format == "GIF":  # Pillow counts frames slowly, so the walk goes first
        _within(gif_facts(data).frames, limits.frames, "frames")
    frames = getattr(image, "n_frames", 1)
    _within(frames, limits.frames, "frames")
    if frames > 1:
        _within(pixels * frames, limits.composited_pixels, "composited pixels")
    if _is_jpeg(image):
        _within(pixels * data.count(SOS), limits.scan_pixels, "pixels in all scans")


def _decode(data: bytes, image: Image.Image, limits: Limits) -> _Frames:
    total = getattr(image, "n_frames", 1)
    if _is_jpeg(image):
        image.draft("RGB", (SIDE, SIDE))
        frames = tuple(_jpeg_frames(image, total))
        return _Frames(frames, len(frames), content_of_jpeg(data))
    content = PixelContent(data, image, total)
    reduced = []
    for frame in _frames(image, total, limits):
        content.add(frame)
        reduced.append(shrink(flatten(frame)))
    return _Frames(tuple(reduced), total, content.digest())


def _frames(image: Image.Image, total: int, limits: Limits) -> Iterator[Image.Image]:
    """Yield each composited frame; the next one replaces it."""
    for number in range(total):
        image.seek(number)
        image.load()
        _within(image.width * image.height, limits.pixels, "pixels")
        yield image


def _jpeg_frames(image: Image.Image, total: int) -> Iterator[Image.Image]:
    """Yield the picture, and the further ones of a multi-picture file that can be decoded.

    Servers that strip metadata often cut these off and leave their table: no viewer shows them.
    """
    image.load()
    yield shrink(flatten(image))
    for number in range(1, total):
        try:
            image.seek(number)
            image.load()
        except Exception:  # noqa: BLE001  whatever it is, nobody can see this picture
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
