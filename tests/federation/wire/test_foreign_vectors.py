"""Vectors that others published, beside those in `test_proof.py` and `test_strictjson.py`."""

import json

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature

from federation.errors import BadRequest
from federation.signing import keys
from federation.wire import multibase
from federation.wire.proof import hash_data, sign
from federation.wire.strictjson import canonical, parse
from federation.wire.times import from_rfc3339
from tests.federation.samples import secret_multikey

W3C_SECRET = "z3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq"
W3C_PUBLIC = "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
W3C_CONTEXT = [
    "https://www.w3.org/ns/credentials/v2",
    "https://www.w3.org/ns/credentials/examples/v2",
]
W3C_SIGNED = {
    "@context": W3C_CONTEXT,
    "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
    "type": ["VerifiableCredential", "AlumniCredential"],
    "name": "Alumni Credential",
    "description": "A minimum viable example of an Alumni Credential.",
    "issuer": "https://vc.example/issuers/5678",
    "validFrom": "2023-01-01T00:00:00Z",
    "credentialSubject": {"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
    "proof": {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "created": "2023-02-24T23:36:38Z",
        "verificationMethod": f"https://vc.example/issuers/5678#{W3C_PUBLIC}",
        "proofPurpose": "assertionMethod",
        "@context": W3C_CONTEXT,
        "proofValue": (
            "z63t83Y53KfzJ5ZosfKTnqfMcKB2dmTrfjSaQjeNNjAD5srBowQfmWqeRb8rRjmeEuCBEsddF9LsVogtuTsijJKh4"
        ),
    },
}


def apart(text):
    """Return the proof's options, its value, and the document without it."""
    document = parse(text.encode(), 10_000)
    options = document.pop("proof")
    return options, multibase.decode(options.pop("proofValue")), document


def test_a_proof_that_another_made_verifies():
    """vc-di-eddsa, TestVectors/eddsa-jcs-2022/signedJCS.json: the method is an https URL."""
    options, value, document = apart(json.dumps(W3C_SIGNED))
    public = keys.ed25519_from_multikey(W3C_PUBLIC)
    public.verify(value, hash_data(canonical(options), canonical(document)))
    with pytest.raises(InvalidSignature):
        document["name"] = "Alumni"
        public.verify(value, hash_data(canonical(options), canonical(document)))


def test_we_make_the_same_proof():
    unsigned = {name: value for name, value in W3C_SIGNED.items() if name != "proof"}
    private = secret_multikey(W3C_SECRET)
    method = f"https://vc.example/issuers/5678#{W3C_PUBLIC}"
    assert sign(unsigned, private, method, from_rfc3339("2023-02-24T23:36:38Z")) == W3C_SIGNED


def test_the_values_of_the_json_canonicalization_suite():
    """testdata/values.json of RFC 8785's author: floats are the oracle's business, not ours."""
    text = r"""{
      "numbers": [1E30, 4.50, 333333333.33333329, 2e-3, 0.000000000000000000000000001],
      "escaping": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        r"""{"escaping":"€$\u000f\nA'B\"\\\\\"/","literals":[null,true,false],"""
        r""""numbers":[1e+30,4.5,333333333.3333333,0.002,1e-27]}"""
    )
    assert rfc8785.dumps(json.loads(text)) == expected.encode()
    with pytest.raises(BadRequest):
        parse(text.encode(), 10_000)
    without = json.loads(text)
    del without["numbers"]
    assert canonical(without) == expected.partition(',"numbers"')[0].encode() + b"}"
