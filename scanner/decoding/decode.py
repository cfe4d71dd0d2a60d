"""Reads a picture's bytes into a `Picture`, or says why it could not be judged.

Bytes of strangers: only the formats below are opened, sizes are checked before pixels are
decoded, and whatever a decoder raises becomes `Undecodable`. TIFF, BMP and the many other
formats of Pillow stay shut: no fediverse server passes them on, and each is one more decoder
to attack. A JPEG is decoded reduced (`draft`), which is what hashes need; what a classifier is
to see besides is left to `shown.py`, videos to `video.py`, animations to `films.py`, what else the
file holds to `inside.py`.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from scanner.decoding.films import MAIN, Decoded, check_size, decode_film, frame_count
from scanner.decoding.fingerprint import Fingerprint, sha256_of
from scanner.decoding.kept import Kept
from scanner.decoding.perceptual import perceptual
from scanner.decoding.picture import Picture
from scanner.decoding.thumbnail import FRAME_PIXELS_MAX, SIDE, flatten, shrink, turn
from scanner.errors import OverLimit, ScannerError, Undecodable
from scanner.formats.blocks import count_blocks, count_exif
from scanner.formats.content import content_of_jpeg
from scanner.formats.inside import inside
from scanner.formats.media_types import VIDEOS, media_type_of
from scanner.formats.png import SIGNATURE
from scanner.formats.png_strict import check_png
from scanner.limits import Limits, within

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
ORIENTATION = 0x0112
SOS = b"\xff\xda"
NO_SEED = bytes(32)

# Pillow warns of broken metadata and large images; here they are judged, or refused by limits.
warnings.filterwarnings("ignore", module=r"PIL\.")
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the pool's processes are the threads


def read(data: bytes, limits: Limits, *, seed: bytes = NO_SEED, name: str | None = None) -> Picture:
    """Return the picture of a file's bytes, with its fingerprints.

    `seed` decides which frames of a long animation or video are seen: 32 bytes that whoever made
    the file cannot know. `name` is the file name or media type that the bytes came with. Raises
    Undecodable or OverLimit, and nothing else.
    """
    if not data:
        raise Undecodable("the file is empty")
    within(len(data), limits.image_bytes, "bytes")
    with refusals(limits):
        return _read(data, limits, seed, name)


@contextmanager
def refusals(limits: Limits) -> Iterator[None]:
    """Turn whatever decoding raises into Undecodable or OverLimit."""
    try:
        yield
    except ScannerError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise OverLimit(f"more pixels than the limit of {limits.pixels}") from error
    except UnidentifiedImageError as error:
        raise Undecodable(f"none of {', '.join(FORMATS)} or a video, or damaged") from error
    except MemoryError as error:
        raise OverLimit("decoding it takes more memory than there is") from error
    except Exception as error:
        raise Undecodable(f"cut short or damaged ({type(error).__name__})") from error


def content_of(data: bytes, limits: Limits) -> bytes | None:
    """Return the `content` digest of a file, None where it has none; raises as `read` does.

    A JPEG is not decoded.
    """
    if data.startswith(b"\xff\xd8"):
        within(len(data), limits.image_bytes, "bytes")
        return content_of_jpeg(data)
    return read(data, limits).fingerprint.content


def _read(data: bytes, limits: Limits, seed: bytes, name: str | None) -> Picture:
    media_type = media_type_of(data)
    if media_type in VIDEOS:
        from scanner.decoding.video import decode_video  # noqa: PLC0415  most processes never see one

        decoded, size = decode_video(data, media_type, limits, seed)
    else:
        decoded, size = _decode_picture(data, limits, seed)
    entries = decoded.kept.entries()
    frames = tuple(view for entry in entries for view in entry.views)
    hashes = perceptual(frames[0])
    return Picture(
        Fingerprint(
            sha256=sha256_of(data),
            content=decoded.content,
            pdq=hashes.variants[0],
            pdq_quality=hashes.quality,
            phash=hashes.phash,
        ),
        hashes.variants,
        frames,
        decoded.seen,
        decoded.total,
        *size,
        tuple(entry.number for entry in entries for _ in entry.views),
        tuple(_plain(len(entry.views) for entry in entries)),
        media_type,
        inside(data, media_type, name),
    )


def _plain(counts: Iterator[int]) -> Iterator[int]:
    """Yield for each view the index of the first one of the same frame."""
    start = 0
    for count in counts:
        yield from [start] * count
        start += count


def _decode_picture(data: bytes, limits: Limits, seed: bytes) -> tuple[Decoded, tuple[int, int]]:
    within(count_blocks(data, limits.blocks), limits.blocks, "blocks or more")
    within(count_exif(data, limits.exif_blocks), limits.exif_blocks, "EXIF blocks or more")
    if data.startswith(SIGNATURE):
        check_png(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        check_size(data, image, limits)
        orientation = orientation_of(image)
        jpeg = image.format in {"JPEG", "MPO"}
        decode = _decode_jpeg if jpeg else decode_film
        decoded = decode(data, image, limits, seed)
    upright = decoded.kept.changed(lambda view: turn(view, orientation))
    size = (height, width) if orientation >= 5 else (width, height)
    return decoded._replace(kept=upright), size


def _decode_jpeg(data: bytes, image: Image.Image, limits: Limits, _: bytes) -> Decoded:
    within(frame_count(image), limits.frames, "pictures in one file")
    kept, total = Kept(limits.view_pixels), 0
    for number, view in enumerate(_jpeg_frames(data, image, limits)):
        total += 1
        if kept.wants(number):
            kept.add(number, MAIN, number, (view,))
    return Decoded(kept, kept.seen(MAIN), total, content_of_jpeg(data))


def _jpeg_frames(data: bytes, image: Image.Image, limits: Limits) -> Iterator[Image.Image]:
    """Yield the picture, and the further ones of a multi-picture file that can be decoded.

    Servers that strip metadata often cut these off and leave their table: no viewer shows them.
    """
    scans, pixels = data.count(SOS), 0
    for number in range(frame_count(image)):
        try:
            image.seek(number)
        except Exception:  # noqa: BLE001  whatever it is, nobody can see this picture
            return
        within(image.width * image.height, limits.pixels, "pixels")
        pixels += image.width * image.height
        if number:
            within(pixels, limits.composited_pixels, "composited pixels")
        within(pixels * scans, limits.scan_pixels, "pixels in all scans")
        image.draft("RGB", (SIDE, SIDE))
        try:
            image.load()
        except Exception:
            if not number:
                raise
            return
        view = flatten(image)
        if view.width * view.height > FRAME_PIXELS_MAX:
            view = shrink(view)  # else as drafted: reducing it further takes longer than decoding
        yield view.copy() if view is image else view


def orientation_of(image: Image.Image) -> int:
    """Return the orientation 1..8; broken EXIF data count as none."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001  metadata must not decide whether a picture is judged
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1
