"""No input makes a parser raise anything but a refusal of the 4xx class."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.federation.fuzzing.mutating import mutate, splice, to_bytes
from tests.federation.fuzzing.parsers import LIMIT, PARSERS, is_refusal, seeds

EXAMPLES = 120
EXAMPLES_SLOW = 5_000


def tried(name, data):
    """Return what a parser makes of the bytes: a value, or its refusal."""
    try:
        return PARSERS[name](data)
    except Exception as error:
        if not is_refusal(error):
            raise
        return error


def as_bytes(seed):
    return seed if isinstance(seed, bytes) else to_bytes(seed)


def almost_right(name, number):
    """An input that is right but for a few places; the same number gives the same input."""
    dice = random.Random(number)
    seed = dice.choice(seeds()[name])
    if isinstance(seed, bytes) or dice.random() < 0.2:
        data = as_bytes(seed)
        for _ in range(dice.randint(1, 4)):
            data = splice(data, dice)
        return data
    return to_bytes(mutate(seed, dice))


def test_every_parser_has_seeds_and_takes_them():
    assert seeds().keys() == PARSERS.keys()
    for name, known in seeds().items():
        for seed in known:
            PARSERS[name](as_bytes(seed))


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_almost_right_is_taken_or_refused(name):
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(st.integers(0, 2**32))
    def check(number):
        tried(name, almost_right(name, number))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_what_is_almost_right_is_taken_or_refused_many_times(name):
    refused = 0
    for number in range(EXAMPLES_SLOW):
        refused += isinstance(tried(name, almost_right(name, number)), Exception)
    assert refused or name in ("content-type", "multibase", "block-list")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@settings(deadline=None, database=None)
@given(name=st.sampled_from(sorted(PARSERS)), data=st.binary(max_size=200) | values.map(to_bytes))
def test_what_is_anything_is_taken_or_refused(name, data):
    tried(name, data)


FOUND = [
    ("content-type", b"applicatio\x9c\xd0\x93\x9bn; profile=x"),  # raised UnicodeEncodeError
]
"""What `make fuzz` found: (parser, input)."""


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_is_taken_or_refused(name, data):
    tried(name, data)


HUGE = {
    "brackets": b"[" * LIMIT,
    "objects": b'{"a":' * (LIMIT // 5),
    "quotes": b'"' * LIMIT,
    "escapes": b'{"a":"' + b"\\u0041" * (LIMIT // 6) + b'"}',
    "digits": b'{"a":' + b"9" * (LIMIT - 6) + b"}",
    "commas": b"," * LIMIT,
    "spaces": b" " * LIMIT,
    "members": b"{" + b",".join(b'"%d":0' % number for number in range(20_000)) + b"}",
    "array": b'{"a":[' + b"0," * 100_000 + b"0]}",
    "nested arrays": b'{"a":' + b"[" * 30 + b"[]," * 60_000 + b"[]" + b"]" * 30 + b"}",
    "contexts": b'{"@context":[' + b'{"a":"b"},' * 20_000 + b'""]}',
    "one line": b"Signature: " + b'a="b",' * 40_000,
    "one label": b"Signature-Input: " + b"a=()," * 40_000 + b"\nSignature: " + b"a=:AAAA:," * 9,
    "one quote": b'Signature: keyId="' + b"x" * LIMIT,
    "escaped quotes": b"Signature-Input: a=" + b'"\\' * 100_000,
    "lines": b"a:b\n" * 60_000,
    "domains": b"a.example,suspend\n" * 14_000,
    "cells": b"domain,severity\n" + b'"a""' * 60_000,
    "dots": b"https://" + b"a." * 100_000,
    "percents": b"https://a.example/" + b"%41" * 80_000,
    "multibase": b"z" + b"2" * LIMIT,
    "date": b"2026-11-22T00:00:00." + b"0" * LIMIT,
}


@pytest.mark.parametrize("kind", HUGE)
def test_what_is_huge_is_taken_or_refused(kind):
    """Inputs of the largest size that is read, in the shapes that cost parsers most."""
    for name in PARSERS:
        tried(name, HUGE[kind])
