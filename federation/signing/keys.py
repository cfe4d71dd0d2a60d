"""The two kinds of keys: RSA-2048 for HTTP signatures, Ed25519 for integrity proofs.

Decides how they are made, stored (PKCS #8 DER), shown (PEM, multikey) and named. The Ed25519
key never signs HTTP requests: peers would remember it as a bad key.
"""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)

from federation.errors import BadActor, BadRequest
from federation.wire import multibase

RSA_BITS: Final = 2_048
MAX_RSA_BITS: Final = 8_192  # verifying with larger ones costs too much
MAX_EXPONENT_BITS: Final = 32  # a long public exponent makes verifying a hundred times slower
MAX_PEM_CHARACTERS: Final = 4_096
_ED25519_PUBLIC: Final = b"\xed\x01"  # multicodec ed25519-pub


def generate_rsa() -> RSAPrivateKey:
    """Return a new RSA-2048 key for HTTP signatures."""
    return generate_private_key(public_exponent=65_537, key_size=RSA_BITS)


def generate_ed25519() -> Ed25519PrivateKey:
    """Return a new Ed25519 key for integrity proofs."""
    return Ed25519PrivateKey.generate()


def to_der(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    """Return the PKCS #8 DER form, as `signing_keys.private` holds it."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@lru_cache(maxsize=4)
def rsa_from_der(der: bytes) -> RSAPrivateKey:
    """Return the RSA key that `to_der` wrote; raises `ValueError` for anything else.

    Remembers the last few, for all of a key is checked, which takes tens of milliseconds.
    """
    key = load_der_private_key(der, password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the stored key is not an RSA key")
    return key


def ed25519_from_der(der: bytes) -> Ed25519PrivateKey:
    """Return the Ed25519 key that `to_der` wrote; raises `ValueError` for anything else."""
    key = load_der_private_key(der, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the stored key is not an Ed25519 key")
    return key


def to_pem(key: RSAPublicKey) -> str:
    """Return the SubjectPublicKeyInfo PEM, as `publicKeyPem` holds it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def rsa_from_pem(pem: object) -> RSAPublicKey:
    """Return a peer's RSA key of 2,048 to 8,192 bits, with a short exponent; else `BadActor`."""
    if not isinstance(pem, str) or not pem.isascii() or len(pem) > MAX_PEM_CHARACTERS:
        raise BadActor("publicKeyPem is missing, too long, or not a PEM")
    try:
        key = load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadActor("publicKeyPem cannot be read") from error
    if not isinstance(key, RSAPublicKey) or not RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise BadActor(f"publicKeyPem is not an RSA key of {RSA_BITS} to {MAX_RSA_BITS} bits")
    if key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
        raise BadActor(f"the exponent of publicKeyPem has more than {MAX_EXPONENT_BITS} bits")
    return key


def to_multikey(key: Ed25519PublicKey) -> str:
    """Return the multikey, as `publicKeyMultibase` holds it (W3C CID 1.0, section 2.2.2)."""
    return multibase.encode(_ED25519_PUBLIC + key.public_bytes_raw())


def ed25519_from_multikey(text: object) -> Ed25519PublicKey:
    """Return the Ed25519 key of a multikey; another kind of key raises `BadRequest`."""
    data = multibase.decode(text)
    if len(data) != 34 or not data.startswith(_ED25519_PUBLIC):
        raise BadRequest("the multikey is not an Ed25519 key")
    return Ed25519PublicKey.from_public_bytes(data[2:])


def main_key_id(actor_id: str) -> str:
    """Return the id of an actor's RSA key; Lemmy and Pleroma want the fragment."""
    return f"{actor_id}#main-key"


def proof_key_id(actor_id: str, key: Ed25519PublicKey) -> str:
    """Return `<actor>#ed25519-<first 12 characters of the multibase>`."""
    return f"{actor_id}#ed25519-{to_multikey(key)[:12]}"
