"""JSON as peers may send it, and the canonical bytes that are signed.

Decides what counts as a document: UTF-8 without BOM, one object, no duplicate keys, no floats,
NaN or lone surrogates, integers within 2^53-1, at most 32 levels. What the members mean is left
to the parsers of each document.
"""

import json
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, NoReturn, TypeAlias

import orjson

from cache.uncollected import uncollected
from federation.errors import BadRequest, TooLarge

JsonObject: TypeAlias = dict[str, Any]

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32
MAX_PIECES: Final = 49_152
"""Commas and brackets of a document that anybody may send; a full page with 5 labels has 20,000."""

MAX_OBJECTS: Final = 4_096
"""Objects of such a document; they take the longest to read."""

_CONTAINERS = frozenset({dict, list})
_TYPES = _CONTAINERS | {str, int, bool, type(None)}
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * 16
"""Any digit as 0; a number of fewer digits than these is within 2^53-1."""


@uncollected()
def parse(data: bytes, max_bytes: int) -> JsonObject:
    """Return the document in `data`; anything else than strict JSON raises `BadRequest`."""
    if len(data) > max_bytes:
        raise TooLarge(f"the document has {len(data)} bytes, at most {max_bytes} are taken")
    value = _load(data)
    if not isinstance(value, dict):
        raise BadRequest("the document is not a JSON object")
    _check_depth(value)
    if _LONG_NUMBER in data.translate(_DIGITS):
        _check_values(value)
    if b"\\u" in data:  # only an escape can smuggle in a lone surrogate
        _sorted(value)
    return value


def refuse_crumbs(data: bytes) -> None:
    """Raise `BadRequest` for JSON of so many pieces that reading it takes long for its size.

    256 KiB of empty objects, 400 bytes when packed, cost 0.1 s; what stands in strings counts too.
    """
    objects = data.count(b"{")
    if objects > MAX_OBJECTS or objects + data.count(b"[") + data.count(b",") > MAX_PIECES:
        raise BadRequest(f"the document has over {MAX_OBJECTS} objects, or {MAX_PIECES} pieces")


def canonical(value: object, *, is_strict: bool = False) -> bytes:
    """Return the RFC 8785 form of a document of integers and ASCII keys.

    For such documents orjson gives the very bytes of RFC 8785 (section 3.2), many times faster
    than a general implementation; everything else raises `BadRequest`. `is_strict` says that
    `parse` gave the document, so that only its keys are to be looked at.
    """
    if not is_strict:
        _check_depth(value)
        _check_values(value)
        _refuse_other_keys(value)
    data = _sorted(value)
    if is_strict and not data.isascii():
        _refuse_other_keys(value)
    return data


def to_bytes(document: object) -> bytes:
    """Return a document as it is sent, its members in their order."""
    return orjson.dumps(document)


def to_text(document: object) -> str:
    """Return the same as it is stored."""
    return orjson.dumps(document).decode()


def _sorted(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:  # what else there is was refused before
        raise BadRequest("a string holds a lone surrogate") from error


def _load(data: bytes) -> object:
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the document is not strict JSON: {type(error).__name__}") from error


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadRequest("an object has the same key twice")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise BadRequest(f"only integers are numbers here, not {text[:32]}")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = _containers(_children(level))
        if not level:
            return
    raise BadRequest(f"the document is more than {MAX_DEPTH} levels deep")


def _check_values(value: object) -> None:
    """Check types and the range of integers."""
    level = [value]
    while level:
        types = set(map(type, level))
        if not types <= _TYPES:
            raise BadRequest("the document holds something that is not strict JSON")
        integers = [item for item in level if type(item) is int]
        if integers and not -MAX_INTEGER <= min(integers) <= max(integers) <= MAX_INTEGER:
            raise BadRequest("an integer is outside of plus or minus 2^53-1")
        level = list(_children(_containers(level)))


def _containers(items: Iterable[Any]) -> list[Any]:
    return [item for item in items if type(item) in _CONTAINERS]


def _children(containers: Iterable[Any]) -> Iterable[Any]:
    lists = [item if type(item) is list else item.values() for item in containers]
    return chain.from_iterable(lists)


def _refuse_other_keys(value: object) -> None:
    level = _containers([value])
    while level:
        for item in level:
            if type(item) is dict and not all(type(key) is str and key.isascii() for key in item):
                raise BadRequest("a signed document has ASCII keys only")
        level = _containers(_children(level))
