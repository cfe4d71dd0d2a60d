import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadActor, FederationError
from federation.signing import keys
from tests.federation.samples import proof_key, rsa_key, secret_multikey


def test_keys_survive_storing():
    assert keys.rsa_from_der(keys.to_der(rsa_key())).private_numbers() == (
        rsa_key().private_numbers()
    )
    stored = keys.ed25519_from_der(keys.to_der(proof_key()))
    assert stored.private_bytes_raw() == proof_key().private_bytes_raw()


def test_a_key_of_the_other_kind_is_not_read():
    with pytest.raises(ValueError, match="RSA"):
        keys.rsa_from_der(keys.to_der(proof_key()))
    with pytest.raises(ValueError, match="Ed25519"):
        keys.ed25519_from_der(keys.to_der(rsa_key()))


def test_generated_keys_are_of_the_designed_kinds():
    assert rsa_key().key_size == 2_048
    assert (
        keys.generate_ed25519().private_bytes_raw() != keys.generate_ed25519().private_bytes_raw()
    )


def test_public_keys_survive_the_wire():
    public = rsa_key().public_key()
    assert keys.rsa_from_pem(keys.to_pem(public)).public_numbers() == public.public_numbers()
    multikey = keys.to_multikey(proof_key().public_key())
    assert multikey.startswith("z6Mk")
    assert keys.ed25519_from_multikey(multikey) == proof_key().public_key()


def test_the_w3c_key_pair():
    """vc-di-eddsa, TestVectors/keyPair.json."""
    private = secret_multikey("z3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq")
    public = "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
    assert keys.to_multikey(private.public_key()) == public


def test_a_pem_has_4096_characters_at_most():
    pem = keys.to_pem(rsa_key().public_key()).ljust(keys.MAX_PEM_CHARACTERS, "\n")
    assert keys.rsa_from_pem(pem).key_size == keys.RSA_BITS
    with pytest.raises(BadActor, match="too long"):
        keys.rsa_from_pem(pem + "\n")


def test_key_ids_are_fragments_of_the_actor():
    feed = "https://alpha.example/feeds/clean"
    assert keys.main_key_id(feed) == f"{feed}#main-key"
    multikey = keys.to_multikey(proof_key().public_key())
    assert keys.proof_key_id(feed, proof_key().public_key()) == f"{feed}#ed25519-{multikey[:12]}"


def of_bits(bits):
    """A key of just that size; whether its modulus has two factors, no verifier looks."""
    return rsa.RSAPublicNumbers(65_537, (1 << bits) - 159).public_key()


def test_rsa_keys_have_2048_to_8192_bits():
    for bits in (keys.RSA_BITS, keys.MAX_RSA_BITS):
        assert keys.rsa_from_pem(keys.to_pem(of_bits(bits))).key_size == bits
    for bits in (keys.RSA_BITS - 1, keys.MAX_RSA_BITS + 1):
        with pytest.raises(BadActor, match="2048 to 8192 bits"):
            keys.rsa_from_pem(keys.to_pem(of_bits(bits)))


@pytest.mark.parametrize("bits", [keys.MAX_EXPONENT_BITS, keys.MAX_EXPONENT_BITS + 1])
def test_a_long_exponent_makes_no_key_that_is_slow_to_verify_with(bits):
    """With one of 3,000 bits each forged signature cost 14 ms instead of 0.1."""
    pem = keys.to_pem(rsa.RSAPublicNumbers((1 << bits) - 1, (1 << 2_048) - 159).public_key())
    if bits == keys.MAX_EXPONENT_BITS:
        assert keys.rsa_from_pem(pem).key_size == 2_048
        return
    with pytest.raises(BadActor, match="exponent"):
        keys.rsa_from_pem(pem)


@given(st.none() | st.integers() | st.text() | st.binary(max_size=100).map(lambda b: b.hex()))
def test_no_text_is_a_key_by_accident(value):
    for read in (keys.rsa_from_pem, keys.ed25519_from_multikey):
        with pytest.raises(FederationError):
            read(value)
