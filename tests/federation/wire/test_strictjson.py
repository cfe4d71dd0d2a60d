import contextlib
import json
import struct

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadRequest, TooLarge
from federation.wire import strictjson
from federation.wire.strictjson import MAX_INTEGER, canonical, parse

KIB = 1_024


def nested(levels: int) -> bytes:
    """`levels` containers inside each other, the object at the top included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_an_object_is_taken():
    assert parse(b'{"a": [1, "x", null, true]}', KIB) == {"a": [1, "x", None, True]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"text"',
        b"null",
        b"{",
        b'{"a":1}x',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"a":2}}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0.5}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\x01"}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_not_strict_json_is_refused(data):
    with pytest.raises(BadRequest):
        parse(data, 10**6)


def test_integers_end_at_two_to_the_53_less_one():
    for number in (MAX_INTEGER, -MAX_INTEGER):
        assert parse(b'{"a":%d}' % number, KIB) == {"a": number}
        beyond = number + (1 if number > 0 else -1)
        with pytest.raises(BadRequest):
            parse(b'{"a":%d}' % beyond, KIB)


def test_documents_are_32_levels_deep_at_most():
    parse(nested(32), KIB)
    with pytest.raises(BadRequest):
        parse(nested(33), KIB)


def test_size_is_checked_before_parsing():
    data = b'{"a":"' + b"x" * 100 + b'"}'
    parse(data, len(data))
    with pytest.raises(TooLarge) as error:
        parse(data, len(data) - 1)
    assert error.value.status == 413


def test_an_escaped_pair_of_surrogates_is_one_character():
    assert parse(b'{"a":"\\ud83d\\ude00"}', KIB) == {"a": "\U0001f600"}


documents = st.dictionaries(
    st.text(st.characters(max_codepoint=127), max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text(st.characters(max_codepoint=127), max_size=5), inner, max_size=4
            )
        ),
        max_leaves=12,
    ),
    max_size=5,
)


@given(documents)
def test_the_canonical_form_is_that_of_rfc8785(document):
    assert canonical(document) == rfc8785.dumps(document)


@given(documents)
def test_a_document_survives_its_canonical_form(document):
    assert parse(canonical(document), 10**6) == document


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_input_raises_anything_else(data):
    with contextlib.suppress(BadRequest):
        parse(data, 150)


def test_the_string_of_rfc_8785_section_3_2_2():
    source = rb"""{"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]}"""
    expected = r"""{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"""
    assert canonical(parse(source, KIB)) == expected.encode()


RFC_8785_APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), RFC_8785_APPENDIX_B.items())
def test_the_numbers_of_rfc_8785_appendix_b(bits, text):
    """The oracle writes them as the RFC does; we never sign a float at all."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert rfc8785.dumps(number).decode() == text
    with pytest.raises(BadRequest):
        canonical({"number": number})


@pytest.mark.parametrize(
    "document",
    [{"ä": 1}, {1: 1}, {"a": (1, 2)}, {"a": b"x"}, {"a": MAX_INTEGER + 1}, {"a": "\ud800"}],
)
def test_what_cannot_be_canonical_is_refused(document):
    with pytest.raises(BadRequest):
        canonical(document)


def test_the_depth_limit_has_a_name():
    assert json.loads(nested(strictjson.MAX_DEPTH))
    assert strictjson.MAX_DEPTH == 32
