"""Knows archives, programs, scripts, documents and pictures by their signatures inside a part.

Meant for what stands outside coded pixels: comments, metadata, unknown chunks, what follows the
end. A short signature counts only where its structure bears it out, so that compressed data,
which hold every short one sooner or later, are not taken for what they are not.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator

PART_BYTES = 4 << 20
"""Bytes searched at the start and at the end of one part; what lies between goes unseen."""
HITS_MAX = 1_000
"""Places of one signature looked at in one part."""
EOCD = b"PK\5\6"
EOCD_BYTES = 22
TAR_MAGIC_AT, TAR_SUM_AT, TAR_HEADER = 257, 148, 512
MARKUP = (b"<?php", b"<script", b"<html", b"<svg", b"<!doctype html")
ZIP_METHODS = frozenset({0, 8, 9, 12, 14, 93, 95, 98, 99})
SHEBANG = re.compile(rb"#! ?/[\x21-\x7e]{3}")
Check = Callable[[bytes, int], bool]


def holds_zip(data: bytes) -> bool:
    """Tell whether the end record of a zip archive stands anywhere, with its directory before it.

    Readers of zip look for it from the end, whatever the file begins with.
    """
    at = len(data)
    for _ in range(HITS_MAX):
        at = data.rfind(EOCD, 0, at)
        if at < 0:
            return False
        if _is_zip_end(data, at):
            return True
    return False


def is_more(part: bytes, *, usual_pictures: bool) -> bool:
    """Tell whether a part holds something else; pictures count unless they are usual there."""
    if len(part) > 2 * PART_BYTES:
        part = part[:PART_BYTES] + part[-PART_BYTES:]
    found = CHECKS if usual_pictures else CHECKS + PICTURES
    if any(check(part, at) for needle, check in found for at in _places(part, needle)):
        return True
    lower = part.lower()
    return any(_ends_word(lower, at + len(word)) for word in MARKUP for at in _places(lower, word))


def _places(data: bytes, needle: bytes) -> Iterator[int]:
    at = -1
    for _ in range(HITS_MAX):
        at = data.find(needle, at + 1)
        if at < 0:
            return
        yield at


def _always(_: bytes, __: int) -> bool:
    return True


def _is_zip_end(data: bytes, at: int) -> bool:
    """Tell whether an end record has its directory right before it (or the one of zip64)."""
    if at + EOCD_BYTES > len(data):
        return False
    disk, start_disk, here, total, size, _ = struct.unpack_from("<4H2I", data, at + 4)
    if data[max(at - 20, 0) : at].startswith(b"PK\6\7"):
        return True
    start = at - size
    plain = not disk and not start_disk and here == total > 0
    return plain and start >= 0 and data.startswith(b"PK\1\2", start)


def _is_zip_entry(data: bytes, at: int) -> bool:
    head = data[at + 4 : at + 30]
    if len(head) < 26:
        return False
    version, _, method = struct.unpack_from("<3H", head)
    (name,) = struct.unpack_from("<H", head, 22)
    return version & 0xFF <= 63 and version < 0x1400 and method in ZIP_METHODS and 0 < name <= 1024


def _is_gzip(data: bytes, at: int) -> bool:
    head = data[at : at + 10]
    if len(head) < 10 or head[3] & 0xE0 or head[8] not in {0, 2, 4}:
        return False
    try:
        return bool(zlib.decompressobj(31).decompress(data[at : at + 4096], 64))
    except zlib.error:
        return False


def _is_zstd(data: bytes, at: int) -> bool:
    return at + 6 < len(data) and not data[at + 4] & 0x08


def _is_tar(data: bytes, at: int) -> bool:
    """Tell whether a tar header with a right checksum stands around its magic."""
    header = data[at - TAR_MAGIC_AT : at - TAR_MAGIC_AT + TAR_HEADER] if at >= TAR_MAGIC_AT else b""
    if len(header) < TAR_HEADER:
        return False
    claimed = header[TAR_SUM_AT : TAR_SUM_AT + 8]
    own = sum(header) - sum(claimed) + 8 * ord(" ")
    try:
        return int(claimed.strip(b"\0 "), 8) == own
    except ValueError:
        return False


def _is_program(data: bytes, at: int) -> bool:
    place = at + int.from_bytes(data[at + 0x3C : at + 0x40], "little")
    return place >= at + 0x40 and data.startswith(b"PE\0\0", place)


def _is_elf(data: bytes, at: int) -> bool:
    return data[at + 4 : at + 5] in b"\1\2" and data[at + 5 : at + 7] in {b"\1\1", b"\2\1"}


def _is_script(data: bytes, at: int) -> bool:
    """Tell whether a path to an interpreter stands there, at the start of a line."""
    starts = at == 0 or data[at - 1] in b"\0\r\n"
    return starts and SHEBANG.match(data, at) is not None


def _ends_word(data: bytes, at: int) -> bool:
    return data[at : at + 1] in {b" ", b"\t", b"\r", b"\n", b">", b"/"}


def _is_pdf(data: bytes, at: int) -> bool:
    return data[at + 5 : at + 7] in {b"1.", b"2."}


def _is_jpeg(data: bytes, at: int) -> bool:
    """Tell whether a first segment follows, and a second where it ends."""
    following = at + 4 + int.from_bytes(data[at + 4 : at + 6])
    marker = data[at + 3] if at + 3 < len(data) else 0
    return marker >= 0xC0 and following >= at + 6 and data[following : following + 1] == b"\xff"


def _is_png(data: bytes, at: int) -> bool:
    return data.startswith(b"IHDR", at + 12)


def _is_gif(data: bytes, at: int) -> bool:
    return data[at + 4 : at + 6] in {b"7a", b"9a"} and any(data[at + 6 : at + 10])


def _is_riff(data: bytes, at: int) -> bool:
    return data[at + 8 : at + 12] in {b"WEBP", b"AVI ", b"WAVE"}


def _is_iso(data: bytes, at: int) -> bool:
    size = int.from_bytes(data[at - 4 : at]) if at >= 4 else 0
    brand = data[at + 4 : at + 8]
    return 16 <= size <= 1024 and len(brand) == 4 and brand.isascii() and brand[:3].isalnum()


def _is_matroska(data: bytes, at: int) -> bool:
    header = data[at : at + 64]
    return b"webm" in header or b"matroska" in header


CHECKS: tuple[tuple[bytes, Check], ...] = (
    (b"PK\3\4", _is_zip_entry),
    (EOCD, _is_zip_end),
    (b"Rar!\x1a\7", _always),
    (b"7z\xbc\xaf\x27\x1c", _always),
    (b"\xfd7zXZ\0", _always),
    (b"\x1f\x8b\x08", _is_gzip),
    (b"\x28\xb5\x2f\xfd", _is_zstd),
    (b"1AY&SY", lambda data, at: at >= 4 and data.startswith(b"BZh", at - 4)),
    (b"ustar", _is_tar),
    (b"\x7fELF", _is_elf),
    (b"MZ", _is_program),
    (b"%PDF-", _is_pdf),
    (b"#!", _is_script),
)
PICTURES: tuple[tuple[bytes, Check], ...] = (
    (b"\xff\xd8\xff", _is_jpeg),
    (b"\x89PNG\r\n\x1a\n", _is_png),
    (b"GIF8", _is_gif),
    (b"RIFF", _is_riff),
    (b"ftyp", _is_iso),
    (b"\x1a\x45\xdf\xa3", _is_matroska),
)
