"""What is known of a picture once it was decoded, without a pixel of it; travels between processes.

A decoder process has run on a stranger's bytes: what it says is checked field by field, and no
object of it is ever unpickled.
"""

from dataclasses import dataclass
from typing import Any, TypeGuard

from scanner.decoding.fingerprint import Fingerprint
from scanner.decoding.picture import Picture
from scanner.errors import DecoderFailed

HASH_BYTES = 32
VARIANTS = 8
TEXT_MAX = 500
"""Characters of a media type, or of why a picture cannot be judged."""
NUMBER_MAX = 2**31 - 1
"""What a database keeps as an integer."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Fingerprint, the 8 dihedral PDQ codes, frames seen and held, canvas, and oddities inside."""

    fingerprint: Fingerprint
    pdq_variants: tuple[bytes, ...]
    frames_seen: int
    frames_total: int
    width: int
    height: int
    media_type: str
    inside: tuple[str, ...] = ()
    keyed: bytes | None = None
    """The owner's secret sketch, where it makes one and the picture can be shown in one way alone;
    no decoder process knows it."""


def facts_of(picture: Picture) -> Facts:
    """Return the facts of a decoded picture."""
    return Facts(
        picture.fingerprint,
        picture.pdq_variants,
        picture.frames_seen,
        picture.frames_total,
        picture.width,
        picture.height,
        picture.media_type,
        tuple(map(str, picture.inside)),
    )


def to_plain(facts: Facts) -> dict[str, Any]:
    """Return the facts as JSON values; hashes are hex."""
    found = facts.fingerprint
    return {
        "sha256": found.sha256.hex(),
        "content": found.content.hex() if found.content else None,
        "pdq_quality": found.pdq_quality,
        "phash": found.phash.hex() if found.phash else None,
        "variants": [code.hex() for code in facts.pdq_variants],
        "numbers": [facts.frames_seen, facts.frames_total, facts.width, facts.height],
        "media_type": facts.media_type,
        "inside": list(facts.inside),
    }


def from_plain(plain: Any, sha256: bytes) -> Facts:
    """Return the facts that a decoder process told of the bytes with this sha256.

    Raises DecoderFailed for anything that it would not say if it were sound.
    """
    try:
        numbers = [_number(value) for value in plain["numbers"]]
        variants = tuple(_hash(code) for code in plain["variants"])
        seen, total, width, height = numbers
        quality, said = _number(plain["pdq_quality"]), _hash(plain["sha256"])
        if said != sha256 or len(variants) != VARIANTS or quality > 100 or not 0 < seen <= total:
            raise ValueError("facts that cannot be")
        content, phash = (plain[k] and _hash(plain[k]) for k in ("content", "phash"))
        return Facts(
            Fingerprint(sha256, content, variants[0], quality, phash),
            variants,
            *(seen, total, width, height),
            _text(plain["media_type"]),
            tuple(_text(one) for one in plain["inside"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DecoderFailed("it told of a picture what cannot be") from error


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise ValueError("no number")
    return value


def _hash(value: str) -> bytes:
    found = bytes.fromhex(value)
    if len(found) != HASH_BYTES:
        raise ValueError("no hash")
    return found


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a process said a short text that may be shown to people."""
    return isinstance(value, str) and len(value) <= TEXT_MAX and value.isprintable()


def _text(value: Any) -> str:
    if not is_text(value):
        raise ValueError("no text")
    return value
