"""Reading the `Signature` header of draft-cavage-12, section 2.1.

Decides what a signature says, not whether it holds. Its size is checked before anything else,
and it is read in one pass without patterns, so that no header can make it slow.
"""

from base64 import b64decode
from dataclasses import dataclass
from typing import Final

from federation.errors import BadSignature

MAX_HEADER_CHARACTERS: Final = 4_096  # an RSA-8192 signature takes 1,368
MAX_COVERED: Final = 32  # headers


@dataclass(frozen=True, slots=True)
class Signature:
    """What a `Signature` header says; `headers` in lower case and in their order."""

    key_id: str
    algorithm: str | None
    headers: tuple[str, ...]
    value: bytes
    created: int | None = None
    expires: int | None = None


def parse_signature(header: str) -> Signature:
    """Return what the header says, or raise `BadSignature`."""
    if len(header) > MAX_HEADER_CHARACTERS:
        raise BadSignature(f"the Signature header has more than {MAX_HEADER_CHARACTERS} characters")
    parameters = _parameters(header)
    key_id = parameters.get("keyId")
    if not key_id:
        raise BadSignature("the Signature header names no keyId")
    return Signature(
        key_id,
        parameters.get("algorithm"),
        _covered(parameters.get("headers", "(created)")),
        _value(parameters.get("signature", "")),
        _integer(parameters.get("created")),
        _integer(parameters.get("expires")),
    )


def _parameters(header: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    rest = header.strip()
    while rest:
        name, equals, rest = rest.partition("=")
        name = name.strip()
        if not equals or not name.isalpha() or name in parameters:
            raise BadSignature("the Signature header has a wrong or repeated parameter")
        parameters[name], rest = _parameter_value(rest)
    return parameters


def _parameter_value(rest: str) -> tuple[str, str]:
    """Return one value and what follows its comma; no value of ours needs an escaped quote."""
    if rest.startswith('"'):
        value, quote, rest = rest[1:].partition('"')
        before, comma, rest = rest.partition(",")
        if not quote or before.strip():
            raise BadSignature("the Signature header has a quote that does not end")
    else:
        value, comma, rest = rest.partition(",")
    if comma and not rest.strip():
        raise BadSignature("the Signature header ends in a comma")
    return value.strip(), rest.strip()


def _covered(value: str) -> tuple[str, ...]:
    names = tuple(value.lower().split())
    if not names or len(names) > MAX_COVERED or len(set(names)) != len(names):
        raise BadSignature("the signature covers no headers, too many, or one twice")
    return names


def _value(text: str) -> bytes:
    try:
        value = b64decode(text, validate=True)
    except ValueError as error:
        raise BadSignature("the signature is not base64") from error
    if not value:
        raise BadSignature("the Signature header holds no signature")
    return value


def _integer(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadSignature("created and expires are whole seconds")
    return int(text)
