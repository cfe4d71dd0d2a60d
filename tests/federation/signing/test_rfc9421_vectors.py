"""RFC 9421, appendix B.2 and section 4.3, as printed there; RFC 9530's digests.

The library must make the printed signature bases and find the printed signatures good. None of
them covers what we ask for, so our own door refuses every one.
"""

from base64 import b64decode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    InvalidSignature,
    MappingKeyResolver,
)
from http_message_signatures.algorithms import (
    ECDSA_P256_SHA256,
    ED25519,
    HMAC_SHA256,
    RSA_PSS_SHA512,
    RSA_V1_5_SHA256,
)

from federation.errors import BadSignature
from federation.signing.digest import check_content_digest
from federation.signing.request import Request
from federation.signing.signature_input import read_signatures

CREATED = 1618884473
BODY = b'{"hello": "world"}'
KEYS: dict[str, Any] = {
    "test-key-rsa": b"""-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAhAKYdtoeoy8zcAcR874L8cnZxKzAGwd7v36APp7Pv6Q2jdsPBRrw
WEBnez6d0UDKDwGbc6nxfEXAy5mbhgajzrw3MOEt8uA5txSKobBpKDeBLOsdJKFq
MGmXCQvEG7YemcxDTRPxAleIAgYYRjTSd/QBwVW9OwNFhekro3RtlinV0a75jfZg
kne/YiktSvLG34lw2zqXBDTC5NHROUqGTlML4PlNZS5Ri2U4aCNx2rUPRcKIlE0P
uKxI4T+HIaFpv8+rdV6eUgOrB2xeI1dSFFn/nnv5OoZJEIB+VmuKn3DCUcCZSFlQ
PSXSfBDiUGhwOw76WuSSsf1D4b/vLoJ10wIDAQAB
-----END RSA PUBLIC KEY-----""",
    "test-key-rsa-pss": b"""-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----""",
    "test-key-ecc-p256": b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----""",
    "test-key-ed25519": b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----""",
    "test-shared-secret": b64decode(
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    ),
}
ALGORITHMS = {
    "test-key-rsa": RSA_V1_5_SHA256,
    "test-key-rsa-pss": RSA_PSS_SHA512,
    "test-key-ecc-p256": ECDSA_P256_SHA256,
    "test-key-ed25519": ED25519,
    "test-shared-secret": HMAC_SHA256,
}
REQUEST_DIGEST = (
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+T"
    "aPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
)
RESPONSE_DIGEST = (
    "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41Q"
    "JgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
)
REQUEST_HEADERS = {
    "Host": "example.com",
    "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
    "Content-Type": "application/json",
    "Content-Digest": REQUEST_DIGEST,
    "Content-Length": "18",
}


@dataclass
class Asking:
    """The request `test-request` of appendix B.2."""

    headers: dict[str, str] = field(default_factory=lambda: dict(REQUEST_HEADERS))
    method: str = "POST"
    url: str = "https://example.com/foo?param=Value&Pet=dog"


@dataclass
class Answering:
    """The response `test-response` of appendix B.2."""

    headers: dict[str, str] = field(
        default_factory=lambda: {
            "Date": "Tue, 20 Apr 2021 02:07:56 GMT",
            "Content-Type": "application/json",
            "Content-Digest": RESPONSE_DIGEST,
            "Content-Length": "23",
        }
    )
    status_code: int = 200
    request: Asking = field(default_factory=Asking)


@dataclass(frozen=True)
class Vector:
    """One case: its label, key, covered components, other parameters, base and signature."""

    label: str
    key_id: str
    covered: tuple[str, ...]
    base: str
    signature: str
    more: str = ""
    message: type[Asking | Answering] = Asking

    @property
    def params(self):
        names = " ".join(one if one.startswith('"') else f'"{one}"' for one in self.covered)
        return f'({names});created={CREATED};keyid="{self.key_id}"{self.more}'

    def signed(self):
        message = self.message()
        message.headers["Signature-Input"] = f"{self.label}={self.params}"
        message.headers["Signature"] = f"{self.label}=:{self.signature}:"
        return message


VECTORS = [
    Vector(
        "sig-b21",
        "test-key-rsa-pss",
        (),
        "",
        "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopem"
        "LJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG"
        "52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx"
        "2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6"
        "UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3"
        "+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==",
        more=';nonce="b3k2pp5k7z-50gnwp.yemd"',
    ),
    Vector(
        "sig-b22",
        "test-key-rsa-pss",
        ("@authority", "content-digest", '"@query-param";name="Pet"'),
        '"@authority": example.com\n'
        f'"content-digest": {REQUEST_DIGEST}\n'
        '"@query-param";name="Pet": dog\n',
        "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQ"
        "EdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT"
        "8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SA"
        "RYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd"
        "4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoK"
        "UqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==",
        more=';tag="header-example"',
    ),
    Vector(
        "sig-b23",
        "test-key-rsa-pss",
        (
            "date",
            "@method",
            "@path",
            "@query",
            "@authority",
            "content-type",
            "content-digest",
            "content-length",
        ),
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@method": POST\n'
        '"@path": /foo\n'
        '"@query": ?param=Value&Pet=dog\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        f'"content-digest": {REQUEST_DIGEST}\n'
        '"content-length": 18\n',
        "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yB"
        "iMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fU"
        "xN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1"
        "pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9"
        "bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5Z"
        "JzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==",
    ),
    Vector(
        "sig-b24",
        "test-key-ecc-p256",
        ("@status", "content-type", "content-digest", "content-length"),
        '"@status": 200\n'
        '"content-type": application/json\n'
        f'"content-digest": {RESPONSE_DIGEST}\n'
        '"content-length": 23\n',
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
        message=Answering,
    ),
    Vector(
        "sig-b25",
        "test-shared-secret",
        ("date", "@authority", "content-type"),
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n',
        "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
    ),
    Vector(
        "sig-b26",
        "test-key-ed25519",
        ("date", "@method", "@path", "@authority", "content-type", "content-length"),
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@method": POST\n'
        '"@path": /foo\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"content-length": 18\n',
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    ),
]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.label)


def verifier_of(key_id):
    keys = MappingKeyResolver(public_keys=KEYS, private_keys={})
    return HTTPMessageVerifier(signature_algorithm=ALGORITHMS[key_id], key_resolver=keys)


@each_vector
def test_the_signature_of_the_text_is_good(vector):
    (result,) = verifier_of(vector.key_id).verify(vector.signed(), max_age=None)
    lines = "".join(f"{name}: {value}\n" for name, value in result.covered_components.items())
    assert lines == f'{vector.base}"@signature-params": {vector.params}\n'
    assert result.parameters["keyid"] == vector.key_id


@each_vector
def test_it_is_bad_for_any_other_message(vector):
    other = vector.signed()
    other.headers["Signature-Input"] = other.headers["Signature-Input"].replace("73;", "74;")
    with pytest.raises(InvalidSignature):
        verifier_of(vector.key_id).verify(other, max_age=None)


@pytest.mark.parametrize(
    "vector", [one for one in VECTORS if one.message is Asking], ids=lambda vector: vector.label
)
def test_no_request_of_them_gets_in_here(vector):
    """They cover too little."""
    headers = list(vector.signed().headers.items())
    request = Request("POST", "/foo?param=Value&Pet=dog", headers, BODY)
    with pytest.raises(BadSignature, match="cover"):
        read_signatures(request, CREATED)


def test_the_proxy_signature_of_section_4_3():
    """The one example with RSASSA-PKCS1-v1_5, as we use it."""
    message = Asking(
        {
            "Host": "origin.host.internal.example",
            "Content-Type": "application/json",
            "Content-Length": "18",
            "Forwarded": "for=192.0.2.123;host=example.com;proto=https",
            "Content-Digest": REQUEST_DIGEST,
        },
        url="https://origin.host.internal.example/foo?param=Value&Pet=dog",
    )
    prepared = HTTPMessageSigner(signature_algorithm=RSA_V1_5_SHA256).prepare(
        message,
        key_id="test-key-rsa",
        created=datetime.fromtimestamp(1618884480, UTC),
        expires=datetime.fromtimestamp(1618884540, UTC),
        label="proxy_sig",
        covered_component_ids=(
            "@method",
            "@authority",
            "@path",
            "content-digest",
            "content-type",
            "content-length",
            "forwarded",
        ),
        body=BODY,
        use_existing_digest=True,
    )
    assert prepared.signature_base.decode() == (
        '"@method": POST\n'
        '"@authority": origin.host.internal.example\n'
        '"@path": /foo\n'
        f'"content-digest": {REQUEST_DIGEST}\n'
        '"content-type": application/json\n'
        '"content-length": 18\n'
        '"forwarded": for=192.0.2.123;host=example.com;proto=https\n'
        '"@signature-params": ("@method" "@authority" "@path" '
        '"content-digest" "content-type" "content-length" "forwarded")'
        ';created=1618884480;keyid="test-key-rsa";alg="rsa-v1_5-sha256"'
        ";expires=1618884540"
    )
    signature = b64decode(
        "S6ZzPXSdAMOPjN/6KXfXWNO/f7V6cHm7BXYUh3YD/fRad4BCaRZxP+JH+8XY1I6+8Cy"
        "+CM5g92iHgxtRPz+MjniOaYmdkDcnL9cCpXJleXsOckpURl49GwiyUpZ10KHgOEe11s"
        "x3G2gxI8S0jnxQB+Pu68U9vVcasqOWAEObtNKKZd8tSFu7LB5YAv0RAGhB8tmpv7sFn"
        "Im9y+7X5kXQfi8NMaZaA8i2ZHwpBdg7a6CMfwnnrtflzvZdXAsD3LH2TwevU+/PBPv0"
        "B6NMNk93wUs/vfJvye+YuI87HU38lZHowtznbLVdp770I6VHR6WfgS9ddzirrswsE1w"
        "5o0LV/g=="
    )
    key = load_pem_public_key(KEYS["test-key-rsa"])
    assert isinstance(key, RSAPublicKey)
    key.verify(signature, prepared.signature_base, PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        (b'{"hello": "world"}\n', "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
        (b"", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
        (b'"world"}\n', "sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:"),
        (b'{"hello": "world"}', REQUEST_DIGEST),
    ],
)
def test_the_content_digests_of_rfc_9530(body, digest):
    """Appendices B.1, B.2 and B.3 (SHA-256); the last is that of RFC 9421 (SHA-512)."""
    check_content_digest(digest, body)
    with pytest.raises(BadSignature):
        check_content_digest(digest, body + b" ")
