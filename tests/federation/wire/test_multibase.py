import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadRequest
from federation.wire import multibase


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"Hello World!", "z2NEpo7TZRRrLZSi2U"),
        (b"The quick brown fox jumps over the lazy dog.",
         "zUSm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z"),
        (bytes.fromhex("0000287fb4cd"), "z11233QC4"),
    ],
)  # fmt: skip
def test_the_vectors_of_draft_msporny_base58(data, text):
    assert multibase.encode(data) == text
    assert multibase.decode(text) == data


@given(st.binary(max_size=80))
def test_bytes_survive_multibase(data):
    assert multibase.decode(multibase.encode(data)) == data


@pytest.mark.parametrize("text", [None, 7, "", "Qm123", "m123", "z0", "zO", "zl", "z é"])
def test_another_base_or_character_is_refused(text):
    with pytest.raises(BadRequest):
        multibase.decode(text)


def test_a_multibase_has_128_characters_at_most():
    assert len(multibase.decode("z" + "1" * 127)) == 127
    with pytest.raises(BadRequest):
        multibase.decode("z" + "1" * 128)


def test_a_digest_is_a_sha2_256_multihash():
    digest = multibase.digest(b"page")
    assert multibase.decode(digest) == b"\x12\x20" + hashlib.sha256(b"page").digest()
    assert multibase.is_digest(digest)


@pytest.mark.parametrize("text", [None, "z", "zQm", multibase.encode(b"\x12\x20" + bytes(31))])
def test_other_texts_are_no_digests(text):
    assert not multibase.is_digest(text)
