"""What identifies a picture: sha256, content, PDQ and pHash, as one value.

Fits `cache.verdict.FingerprintLike` by its shape. Absent values are None, and absent never
equals absent: whoever compares must say so.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprints of one picture; hashes are raw bytes of 32, quality is 0..100."""

    sha256: bytes
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    phash: bytes | None = None


def sha256_of(data: bytes) -> bytes:
    """Return the 32 byte SHA-256 of a file's bytes."""
    return hashlib.sha256(data).digest()
