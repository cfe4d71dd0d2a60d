"""Fingerprints made up from a seed, and what stores of them need."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from cache.memory.record import pipeline_id

DESCRIPTION = {
    "architecture": "tiny",
    "policy": "00" * 32,
    "precision": "fp32",
    "preprocessing": "center",
    "weights": "11" * 32,
}
OURS = pipeline_id(DESCRIPTION)
OTHERS = DESCRIPTION | {"weights": "22" * 32}
THEIRS = pipeline_id(OTHERS)


@dataclass(frozen=True)
class Print:
    sha256: bytes
    content: Any = None  # bytes or None, here and below
    pdq: Any = None
    pdq_quality: int | None = None
    phash: Any = None


def fingerprint(name: str, **changes) -> Print:
    """A picture of its own: no two names are near each other."""
    return replace(
        Print(
            sha256=_hash("sha256", name),
            content=_hash("content", name),
            pdq=_hash("pdq", name),
            pdq_quality=90,
            phash=_hash("phash", name),
        ),
        **changes,
    )


def flipped(code: bytes, bits: int) -> bytes:
    """The code with that many bits changed."""
    return (int.from_bytes(code, "big") ^ ((1 << bits) - 1)).to_bytes(len(code), "big")


def _hash(kind: str, name: str) -> bytes:
    return sha256(f"{kind} {name}".encode()).digest()
