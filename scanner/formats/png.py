"""Walks the chunks of a PNG: what `content` hashes beside the pixels, or Doubt.

Doubt for 16 bits, for chunks that are unknown, doubled or damaged, and for an orientation in
another place than eXIf. Source: W3C PNG, third edition.
"""

import zlib
from collections.abc import Iterator

from scanner.formats.exif import XMP_ORIENTATION, Doubt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNKS_MAX = 200_000
HASHED = ("gAMA", "cHRM", "sRGB", "cICP")
ONCE = frozenset({"IHDR", "PLTE", "tRNS", "acTL", "iCCP", "eXIf", *HASHED})
TEXTS = frozenset({"tEXt", "zTXt", "iTXt"})
BEHIND_PIXELS = TEXTS | {"fcTL", "fdAT", "tIME", "eXIf", "IEND"}
XMP = b"XML:com.adobe.xmp"
KNOWN = ONCE | TEXTS | {
    *("IDAT", "IEND", "fcTL", "fdAT", "tIME", "pHYs", "sBIT", "bKGD", "hIST", "sPLT"),
    *("oFFs", "pCAL", "sCAL", "dSIG", "caBX"),
}  # fmt: skip


def png_chunks(data: bytes) -> dict[str, bytes]:
    """Return the chunks that stand once, by name, and how often fcTL does as `frames`.

    The number of fcTL chunks is 4 bytes big-endian. Raises Doubt.
    """
    once: dict[str, bytes] = {}
    controls, pixels = 0, False
    for name, body in png_parts(data):
        if name not in KNOWN or name in once:
            raise Doubt(f"chunk {name} unknown or doubled")
        if name == "IDAT":
            pixels = True
        elif pixels and name not in BEHIND_PIXELS:
            raise Doubt(f"chunk {name} behind the pixels")
        if name in TEXTS:
            _check_text(body)
        if name == "fcTL" and any(body[24:26]):
            raise Doubt("an animation whose frames are put together by other than replacing")
        controls += name == "fcTL"
        if name in ONCE:
            once[name] = body
    if once.get("IHDR", b"\0" * 9)[8] not in {1, 2, 4, 8}:
        raise Doubt("not 8 bits or fewer")
    return {**once, "frames": controls.to_bytes(4)}


def png_parts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and body of each chunk through IEND, checksums verified; raises Doubt."""
    if not data.startswith(SIGNATURE):
        raise Doubt("no PNG")
    at = len(SIGNATURE)
    for _ in range(CHUNKS_MAX):
        length = int.from_bytes(data[at : at + 4])
        end = at + 12 + length
        if end > len(data):
            raise Doubt("a chunk that is cut off")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise Doubt("a chunk with a wrong checksum")
        name = data[at + 4 : at + 8].decode("latin-1")
        yield name, data[at + 8 : end - 4]
        if name == "IEND":
            return
        at = end
    raise Doubt("too many chunks")


def _check_text(body: bytes) -> None:
    """Raise Doubt for a text where some viewers find an orientation, plain or compressed."""
    packed = body.startswith(XMP) and not body.startswith(XMP + b"\0\0\0")
    if packed or body.startswith(b"Raw profile type") or XMP_ORIENTATION.search(body):
        raise Doubt("an orientation in a text")
