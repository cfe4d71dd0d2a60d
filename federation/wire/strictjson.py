"""JSON as peers may send it, and the canonical bytes that are signed.

Decides what counts as a document: UTF-8 without BOM, one object, no duplicate keys, no floats,
NaN or lone surrogates, integers within 2^53-1, at most 32 levels. What the members mean is left
to the parsers of each document.
"""

import json
from typing import Any, NoReturn, TypeAlias

from federation.errors import BadRequest, TooLarge

JsonObject: TypeAlias = dict[str, Any]

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32
_CONTAINERS = frozenset({dict, list})
_TYPES = _CONTAINERS | {str, int, bool, type(None)}


def parse(data: bytes, max_bytes: int) -> JsonObject:
    """Return the document in `data`; anything else than strict JSON raises `BadRequest`."""
    if len(data) > max_bytes:
        raise TooLarge(f"the document has {len(data)} bytes, at most {max_bytes} are taken")
    value = _load(data)
    if not isinstance(value, dict):
        raise BadRequest("the document is not a JSON object")
    _check(value)
    if b"\\u" in data:  # only an escape can smuggle in a lone surrogate
        _refuse_lone_surrogates(value)
    return value


def canonical(value: object) -> bytes:
    """Return the RFC 8785 form of a document of integers and ASCII keys.

    For such documents `json.dumps` gives the very bytes of RFC 8785 (section 3.2), several
    times faster than a general implementation; everything else raises `BadRequest`.
    """
    _check(value)
    _refuse_other_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
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


def _check(value: object) -> None:
    """Check types, integer range and depth, one level of the document at a time."""
    level: list[Any] = [value]
    for depth in range(1, MAX_DEPTH + 2):
        types = set(map(type, level))
        if not types <= _TYPES:
            raise BadRequest("the document holds something that is not strict JSON")
        if depth > MAX_DEPTH and types & _CONTAINERS:
            raise BadRequest(f"the document is more than {MAX_DEPTH} levels deep")
        if any(type(item) is int and abs(item) > MAX_INTEGER for item in level):
            raise BadRequest("an integer is outside of plus or minus 2^53-1")
        level = _children(level)


def _children(level: list[Any]) -> list[Any]:
    children: list[Any] = []
    for item in level:
        if type(item) is list:
            children += item
        elif type(item) is dict:
            children += item.values()
    return children


def _refuse_other_keys(value: object) -> None:
    level: list[Any] = [value]
    while level:
        for item in level:
            if type(item) is dict and not all(type(key) is str and key.isascii() for key in item):
                raise BadRequest("a signed document has ASCII keys only")
        level = _children(level)


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRequest("a string holds a lone surrogate") from error
