"""The `content` digest, version 1: equal for copies that were re-wrapped without loss.

JPEG: SHA-256 over `fv-jpeg-1`, then each kept segment between SOI and EOI (its bytes from
the marker to its end; a scan's entropy-coded data are an item of their own behind their SOS),
then the EXIF orientation. PNG, GIF, lossless WebP: over `fv-px-1`, canvas width, canvas
height, frame count, loop count (of an animation that has one), for each composited frame its
RGBA bytes and its duration in ms, then ICC profile, gAMA, cHRM, sRGB, cICP (the chunks'
bodies) and the EXIF orientation. Each item is its length in 4 bytes big-endian,
then its bytes; integers are 4 bytes big-endian; a missing item has length 0.

Anything else, and any doubt about what a viewer shows, has no digest: absent never equals absent.
"""

import hashlib

from PIL import Image

from scanner.formats.exif import Doubt, orientation
from scanner.formats.gif import gif_facts
from scanner.formats.jpeg import jpeg_content
from scanner.formats.png import HASHED, png_chunks
from scanner.formats.webp import check_lossless_webp

Item = bytes | int | None
STRIP_ROWS = 64


class ItemHash:
    """SHA-256 over items, each preceded by its length."""

    def __init__(self, name: str) -> None:
        self._hash = hashlib.sha256()
        self.add(name.encode())

    def add(self, *items: Item) -> None:
        """Hash bytes as they are, integers as 4 bytes big-endian, None as nothing."""
        for item in items:
            data = b"" if item is None else item.to_bytes(4) if isinstance(item, int) else item
            self._hash.update(len(data).to_bytes(4))
            self._hash.update(data)

    def add_pixels(self, frame: Image.Image) -> None:
        """Hash a frame as RGBA, some rows at a time, so that no second copy of it is made."""
        self._hash.update((frame.width * frame.height * 4).to_bytes(4))
        for top in range(0, frame.height, STRIP_ROWS):
            box = (0, top, frame.width, min(top + STRIP_ROWS, frame.height))
            self._hash.update(frame.crop(box).convert("RGBA").tobytes())

    def digest(self) -> bytes:
        """Return the 32 bytes."""
        return self._hash.digest()


def content_of_jpeg(data: bytes) -> bytes | None:
    """Return the digest of a JPEG file, None where there is doubt; nothing is decoded."""
    try:
        found = jpeg_content(data)
    except Doubt:
        return None
    items = ItemHash("fv-jpeg-1")
    items.add(*found.items, found.orientation)
    return items.digest()


class PixelContent:
    """Collects the digest of a PNG, GIF or WebP while its frames are decoded."""

    def __init__(self, data: bytes, image: Image.Image, frames: int) -> None:
        self._items = ItemHash("fv-px-1")
        self._size = image.size
        try:
            self._tail: tuple[Item, ...] | None = _tail(data, image, frames)
        except Doubt:
            self._tail = None
        loop = image.info.get("loop") if frames > 1 else None
        self._items.add(*image.size, frames, loop if _is_int32(loop) else None)

    def add(self, frame: Image.Image) -> None:
        """Take the next composited frame, at full size; its duration is in its `info`."""
        if self._tail is None or frame.size != self._size:
            self._tail = None
            return
        duration = round(frame.info.get("duration", 0) or 0)
        self._items.add_pixels(frame)
        self._items.add(duration if _is_int32(duration) else None)

    def digest(self) -> bytes | None:
        """Return the digest once every frame was added, None where there was doubt."""
        if self._tail is None:
            return None
        self._items.add(*self._tail)
        return self._items.digest()


def _tail(data: bytes, image: Image.Image, frames: int) -> tuple[Item, ...]:
    """Return profile, gAMA, cHRM, sRGB, cICP and orientation; raises Doubt."""
    chunks: dict[str, bytes] = {}
    if image.format == "PNG":
        chunks = png_chunks(data)
        counted = int.from_bytes(chunks["frames"])
        if getattr(image, "default_image", False) or ("acTL" in chunks and counted != frames):
            raise Doubt("an animation beside its default picture")
    elif image.format == "GIF":
        facts = gif_facts(data)
        if not facts.certain or facts.frames != frames:
            raise Doubt("an animation that viewers differ on")
    elif image.format == "WEBP":
        check_lossless_webp(data)
    else:
        raise Doubt("a lossy format")
    exif = chunks.get("eXIf") or image.info.get("exif")
    turn = orientation(exif.removeprefix(b"Exif\0\0")) if exif else None
    profile = image.info.get("icc_profile")
    if "iCCP" in chunks and not profile:
        raise Doubt("a profile that cannot be read")
    return (profile, *(chunks.get(name) for name in HASHED), turn)


def _is_int32(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 32
