"""Takes everything out of a file that is not its picture, or its film, and keeps that.

What is kept is copied, not coded anew: the pixels stay as they are. Out go comments, texts,
EXIF but for the orientation, XMP, unknown parts, further pictures of a multi-picture file and
whatever follows the end; the colour profile stays. Only where that leaves something that
`inside` finds, or a file is too odd to be copied, is the picture coded anew in its format. The
result is read again and compared before it is given out.
"""

import io
from collections.abc import Callable, Iterable, Iterator

from PIL import Image, ImageSequence

from scanner.decoding.decode import read
from scanner.decoding.picture import Picture
from scanner.errors import ScannerError, StripError
from scanner.formats.media_types import VIDEOS
from scanner.formats.rewrap import REWRAPS
from scanner.limits import Limits

PDQ_BITS = 2
"""How far the PDQ of the result may be from that of the file; copies are at 0."""
ORIENTATION = 0x0112
FORMAT_OF: dict[str, tuple[str, dict[str, object]]] = {
    "image/jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "image/png": ("PNG", {}),
    "image/gif": ("GIF", {}),
    "image/webp": ("WEBP", {"lossless": True}),
    "image/avif": ("AVIF", {"quality": 90}),
}


def strip(data: bytes, limits: Limits) -> bytes:
    """Return the file without what is not its picture.

    Raises StripError where that cannot be done, Undecodable and OverLimit as `read` does.
    """
    picture = read(data, limits)
    orientation = _orientation(data, picture)
    for way in _ways(picture.media_type):
        try:
            result = way(data, orientation)
            if _is_same(picture, read(result, limits)):
                return result
        except ScannerError:
            continue
        except Exception:  # noqa: BLE001, S112  an odd file: the next way may do
            continue
    raise StripError(
        "the picture cannot be taken out of this file unchanged: keep it, or refuse it"
    )


def _ways(media_type: str) -> Iterator[Callable[[bytes, int], bytes]]:
    yield REWRAPS[media_type]
    if media_type not in VIDEOS:
        name, options = FORMAT_OF[media_type]
        yield lambda data, orientation: _coded_anew(data, orientation, name, options)


def _is_same(before: Picture, after: Picture) -> bool:
    """Tell whether nothing but the picture is left: size, frames, hash and no findings."""
    one, other = before.fingerprint.pdq or b"", after.fingerprint.pdq or b""
    distance = (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()
    whole = before.frames_total == after.frames_total or before.media_type == "image/jpeg"
    size = (before.width, before.height) == (after.width, after.height)
    return size and whole and distance <= PDQ_BITS and not after.inside


def _orientation(data: bytes, picture: Picture) -> int:
    if picture.media_type in VIDEOS:
        return 1
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001  as `read` does
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _coded_anew(data: bytes, orientation: int, name: str, options: dict[str, object]) -> bytes:
    """Return the picture decoded and encoded in its own format, without its colour profile."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=(name,)) as image:
        frames = [_plain(frame) for frame in _frames(image)]
        timing = [frame.info.get("duration", 0) for frame in ImageSequence.Iterator(image)]
        more = {"save_all": True, "append_images": frames[1:], "duration": timing, "loop": 0}
        exif = Image.Exif()
        if orientation != 1:
            exif[ORIENTATION] = orientation
        keep = {"exif": exif.tobytes()} if orientation != 1 else {}
        frames[0].save(target, name, **options, **keep, **(more if len(frames) > 1 else {}))
    return target.getvalue()


def _frames(image: Image.Image) -> Iterable[Image.Image]:
    return [image] if image.format == "JPEG" else ImageSequence.Iterator(image)


def _plain(frame: Image.Image) -> Image.Image:
    """Return a frame with nothing but its pixels, and its palette where it has one."""
    plain = frame.copy()
    plain.info = {key: frame.info[key] for key in ("transparency",) if key in frame.info}
    return plain
