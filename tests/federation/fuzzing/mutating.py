"""Documents that are almost right: one valid document, spoilt in a few places.

Random bytes never get past the first check of a parser. What is tried here is the same tree with a
value of another type, a member too many or too few, a number one off, a string with a foreign
character: every check is met by something that passed those before it.
"""

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**53 - 1, 2**53, -(2**63), 10**30),
    *("", "a", "0", "é", "\x00", "a" * 300, "@graph", "@json", "id", "https://", "urn:x"),
    *("https://alpha.example/actor", "https://[::1", "https://a.example:99999/", "z6Mk", "did:key"),
    *("2026-11-22T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "-", "%", "%zz"),
    *([], {}, [[]], [None], {"": {}}, {"id": None}, [[], [[]]], {"@context": "x"}, [1] * 40),
)
NAMES = ("id", "type", "@context", "@graph", "proof", "object", "actor", "url", "epoch", "", "é")


def mutate(document: Any, dice: Random) -> Any:
    """Return a copy of a JSON tree, changed in one to four places by the dice."""
    document = copy.deepcopy(document)
    for _ in range(dice.randint(1, 4)):
        place = _place(document, dice)
        if place is not None:
            dice.choice(_CHANGES)(*place, dice)
    return document


def to_bytes(document: Any) -> bytes:
    """Return a tree as it might be sent; lone surrogates and all."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def splice(data, dice):
    """Return the bytes with a stretch of them overwritten, doubled, or cut out."""
    start = dice.randrange(len(data) + 1)
    end = min(len(data), start + dice.randint(0, 16))
    noise = bytes(dice.choices(b'{}[]",:\\u0\x00\xff\xed\xa0 tn1e9.-=();?', k=dice.randint(0, 8)))
    inner = dice.choice((noise, data[start:end] * 2, b"", noise + data[start:end]))
    return data[:start] + inner + data[end:]


def _place(document, dice):
    """Return (container, key) of a random value, at any depth alike; None in an empty tree."""
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else range(len(here))
        if not keys:
            return None
        key = dice.choice(keys)
        inner = here[key]
        if not isinstance(inner, dict | list) or not inner or dice.random() < 0.3:
            return here, key
        here = inner


def _replace(container, key, dice):
    container[key] = copy.deepcopy(dice.choice(ODD))


def _tweak(container, key, dice):
    value = container[key]
    if isinstance(value, str) and value:
        at = dice.randrange(len(value))
        part = dice.choice(("", value[at] * 2, "\ud800", "/", "A", "1", ".", "@", "\n"))
        container[key] = value[:at] + part + value[at + 1 :]
    elif type(value) is int:
        container[key] = value + dice.choice((-1, 1, 10**6, -(10**12)))
    else:
        container[key] = [value]


def _drop(container, key, _dice):
    del container[key]


def _double(container, key, dice):
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[dice.choice(list(container))] = copy.deepcopy(container[key])


def _add(container, _key, dice):
    odd = copy.deepcopy(dice.choice(ODD))
    if isinstance(container, list):
        container.append(odd)
    else:
        container[dice.choice(NAMES)] = odd


_CHANGES: tuple[Callable[..., None], ...] = (
    *(_replace, _replace, _tweak, _tweak, _drop, _double, _add),
)
