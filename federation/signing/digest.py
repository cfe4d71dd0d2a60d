"""Digests of bodies in headers: `Digest` (RFC 3230) and `Content-Digest` (RFC 9530).

Decides whether a body is the one that was signed. `Digest` with SHA-256 must be there; a
`Content-Digest` must agree where there is one.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping

from federation.errors import BadSignature


def check_digests(headers: Mapping[str, str], body: bytes) -> None:
    """Check the digests in `headers` (names in lower case); raises `BadSignature`."""
    expected = b64encode(hashlib.sha256(body).digest()).decode()
    if not _agree(headers.get("digest", ""), expected):
        raise BadSignature("the Digest header has no SHA-256, or that of another body")
    if "content-digest" in headers and not _agree(headers["content-digest"], f":{expected}:"):
        raise BadSignature("the Content-Digest header is that of another body")


def _agree(header: str, expected: str) -> bool:
    """Some send `sha-256=`: names of algorithms are case-insensitive."""
    entries = [entry.strip().partition("=") for entry in header.split(",")]
    values = [value for name, _, value in entries if name.lower() == "sha-256"]
    return values == [expected]
