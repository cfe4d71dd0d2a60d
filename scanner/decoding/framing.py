"""How a decoder process and its owner speak: a JSON header, then bytes, both with their length.

Lengths are checked before anything is read, against what the reader is ready to take.
"""

import json
import struct
from typing import Any

HEADER_BYTES_MAX = 65_536
PREFIX = struct.Struct(">II")
"""Bytes of the header, bytes behind it."""


class BrokenFrame(Exception):
    """The other side does not keep to the form."""


def pack(header: dict[str, Any], body_bytes: int = 0) -> bytes:
    """Return prefix and header; the body of that many bytes follows."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return PREFIX.pack(len(text), body_bytes) + text


def lengths(prefix: bytes, body_bytes_max: int) -> tuple[int, int]:
    """Return the bytes of header and body; raises BrokenFrame past the limits."""
    if len(prefix) < PREFIX.size:
        raise BrokenFrame("ended early")
    header, body = PREFIX.unpack(prefix)
    if header > HEADER_BYTES_MAX or body > body_bytes_max:
        raise BrokenFrame(f"{header} and {body} bytes are too many")
    return header, body


def parse(text: bytes) -> dict[str, Any]:
    """Return the header; raises BrokenFrame."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenFrame("the header is no JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrame("the header is no object")
    return header
