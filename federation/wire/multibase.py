"""Multibase base58btc, multikeys and multihashes, as far as Fediverdict uses them."""

import hashlib

from federation.errors import BadRequest

MAX_CHARACTERS = 128  # decoding takes time that grows with the square of the length
SHA2_256 = b"\x12\x20"  # multihash header: sha2-256, 32 bytes
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}


def encode(data: bytes) -> str:
    """Return the base58btc multibase of `data` (draft-msporny-base58; prefix `z`)."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, value = divmod(number, 58)
        digits = _ALPHABET[value] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "z" + "1" * zeros + digits


def decode(text: object) -> bytes:
    """Return the bytes of a base58btc multibase; anything else raises `BadRequest`."""
    if not isinstance(text, str) or not text.startswith("z") or len(text) > MAX_CHARACTERS:
        raise BadRequest("a base58btc multibase is missing, of another base, or too long")
    digits = text[1:]
    number = 0
    for character in digits:
        if character not in _VALUES:
            raise BadRequest("a base58btc multibase has a wrong character")
        number = number * 58 + _VALUES[character]
    zeros = len(digits) - len(digits.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def digest(data: bytes) -> str:
    """Return the base58btc multibase of the sha2-256 multihash of `data`."""
    return encode(SHA2_256 + hashlib.sha256(data).digest())


def is_digest(text: object) -> bool:
    """Return whether `text` has the form that `digest` gives."""
    try:
        data = decode(text)
    except BadRequest:
        return False
    return len(data) == 34 and data.startswith(SHA2_256)
