"""Digests of bodies in headers: `Digest` (RFC 3230) and `Content-Digest` (RFC 9530).

Decides whether a body is the one that a header tells of. A `Digest` must hold SHA-256, and a
`Content-Digest` SHA-256 or SHA-512; all that a `Content-Digest` holds must be of this body.
"""

import hashlib
from base64 import b64encode

from http_message_signatures import ContentDigest, HTTPMessageSignaturesException

from federation.errors import BadSignature


def check_digest(value: str, body: bytes) -> None:
    """Check a `Digest` header; raises `BadSignature`.

    Some send `sha-256=`: names of algorithms are case-insensitive.
    """
    expected = b64encode(hashlib.sha256(body).digest()).decode()
    entries = [entry.strip().partition("=") for entry in value.split(",")]
    if [digest for name, _, digest in entries if name.lower() == "sha-256"] != [expected]:
        raise BadSignature("the Digest header has no SHA-256, or that of another body")


def check_content_digest(value: str, body: bytes) -> None:
    """Check a `Content-Digest` header; raises `BadSignature`."""
    try:
        ContentDigest.verify(value, body)
    except HTTPMessageSignaturesException as error:
        raise BadSignature("the Content-Digest header is none, or that of another body") from error
