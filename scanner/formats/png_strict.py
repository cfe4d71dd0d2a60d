"""Refuses a PNG that viewers read otherwise than Pillow does, so that nothing hides between them.

Pillow takes the last of two tRNS or PLTE chunks, takes them behind the pixels and in any order,
and falls back to one frame when an animation is not well formed; browsers do none of this. No
encoder writes such files. Source: W3C PNG, third edition, sections 5.6, 11.2 and 11.3.
"""

from collections.abc import Iterator

from scanner.errors import Undecodable
from scanner.formats.png import SIGNATURE

ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"acTL", b"IEND"})
CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
IN_FRONT = frozenset({b"PLTE", b"tRNS", b"acTL"})
LINEAR = b"\x08"
GREY, RGB, PALETTE = 0, 2, 3
"""Colour types that may have a tRNS chunk."""


def check_png(data: bytes) -> None:
    """Raise Undecodable for chunks out of order, doubled, or of another sense than Pillow's."""
    once: dict[bytes, bytes] = {}
    before, pixels, controls = b"", False, 0
    for name, body in _chunks(data):
        if name in once or (not once and name != b"IHDR"):
            raise Undecodable(f"the PNG chunk {name!a} is doubled or out of place")
        if not name[0] & 0x20 and name not in CRITICAL:
            raise Undecodable(f"the PNG chunk {name!a} is unknown and critical")
        if pixels and (name in IN_FRONT or (name == b"IDAT" != before)):
            raise Undecodable(f"the PNG chunk {name!a} stands behind the pixels")
        if name == b"PLTE" and b"tRNS" in once:
            raise Undecodable("the PNG chunk PLTE stands behind tRNS")
        pixels |= name in {b"IDAT", b"fdAT"}
        controls += name == b"fcTL"
        before = name
        if name in ONCE:
            once[name] = body
    if int.from_bytes(once.get(b"acTL", b"")[:4]) != controls:
        raise Undecodable("the PNG does not have as many frames as it announces")
    _check_transparency(once)


def grey_step(data: bytes) -> int:
    """Return what a sample of a PNG of 2 or 4 bits of grey is multiplied by for 8; else 1."""
    depth, kind = data[24], data[25]
    return 255 // ((1 << depth) - 1) if kind == GREY and depth in {2, 4} else 1


def has_deep_samples(data: bytes) -> bool:
    """Tell whether a PNG has 16 bits a sample."""
    return data[24] == 16


def is_linear(data: bytes) -> bool:
    """Tell whether a PNG declares that its samples are linear light (cICP, ITU-T H.273)."""
    return any(name == b"cICP" and body[1:2] == LINEAR for name, body in _chunks(data))


def _check_transparency(once: dict[bytes, bytes]) -> None:
    """Raise Undecodable for a transparent colour that Pillow would look for in vain."""
    header, body = once.get(b"IHDR", b""), once.get(b"tRNS")
    if body is None or len(header) < 10:
        return
    depth, kind = header[8], header[9]
    if kind == PALETTE and len(body) > len(once.get(b"PLTE", b"")) // 3:
        raise Undecodable("the PNG has more transparency than palette")
    if kind not in {GREY, RGB}:
        return
    samples = [int.from_bytes(body[at : at + 2]) for at in range(0, len(body), 2)]
    if len(body) != (2 if kind == GREY else 6) or max(samples) >> depth:
        raise Undecodable("the transparent colour of the PNG is none")
    if depth == 16 or (kind == GREY and depth in {2, 4} and b"acTL" in once):
        raise Undecodable("the transparent colour of this PNG cannot be shown as viewers do")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and body of each chunk through IEND, or through the end of a cut file."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        name = data[at + 4 : at + 8]
        yield name, data[at + 8 : at + 8 + (0 if name == b"IDAT" else length)]
        if name == b"IEND":
            return
        at += 12 + length
