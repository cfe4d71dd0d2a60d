import copy
import dataclasses
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadProof
from federation.wire import multibase, proof
from federation.wire.proof import ProofKey, hash_data, sign, verify
from federation.wire.strictjson import canonical
from tests.federation.samples import NOW, proof_key, secret_multikey

OWNER = "https://alpha.example/feeds/clean"
KEY_ID = f"{OWNER}#ed25519-test"
DOCUMENT = {
    "@context": ["https://www.w3.org/ns/activitystreams", {"fv": "urn:fediverdict:ns#"}],
    "id": "https://alpha.example/1",
    "attributedTo": OWNER,
    "rows": [[1, None, "x"]],
}


def known(**changes):
    key = ProofKey(KEY_ID, OWNER, proof_key().public_key())
    return {KEY_ID: dataclasses.replace(key, **changes)}


def signed(document=None, created=NOW):
    return sign(document or DOCUMENT, proof_key(), KEY_ID, created)


def changed(path, value):
    """A signed document with one member changed; None removes it."""
    document = copy.deepcopy(signed())
    *parents, last = path
    target = document
    for name in parents:
        target = target[name]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return document


W3C_KEY = "z3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq"
W3C_METHOD = (
    "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
    "#z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
)
W3C_CREATED = 1_677_281_798  # 2023-02-24T23:36:38Z
W3C_DOCUMENT = {
    "@context": [
        "https://www.w3.org/ns/credentials/v2",
        "https://www.w3.org/ns/credentials/examples/v2",
    ],
    "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
    "type": ["VerifiableCredential", "AlumniCredential"],
    "name": "Alumni Credential",
    "description": "A minimum viable example of an Alumni Credential.",
    "issuer": "https://vc.example/issuers/5678",
    "validFrom": "2023-01-01T00:00:00Z",
    "credentialSubject": {"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
}


def test_the_w3c_vector_of_eddsa_jcs_2022():
    """vc-di-eddsa, TestVectors/eddsa-jcs-2022: proofHashJCS, docHashJCS, sigBTC58JCS."""
    private = secret_multikey(W3C_KEY)
    document = sign(W3C_DOCUMENT, private, W3C_METHOD, W3C_CREATED)
    options = {name: value for name, value in document["proof"].items() if name != "proofValue"}
    assert hash_data(canonical(options), canonical(W3C_DOCUMENT)).hex() == (
        "66ab154f5c2890a140cb8388a22a160454f80575f6eae09e5a097cabe539a1db"
        "59b7cb6251b8991add1ce0bc83107e3db9dbbab5bd2c28f687db1a03abc92f19"
    )
    assert document["proof"]["proofValue"] == (
        "z2HnFSSPPBzR36zdDgK8PbEHeXbR56YF24jwMpt3R1eHXQzJDMWS93FCzpvJpwTWd3GAVFuUfjoJdcnTMuVor51aX"
    )


def test_the_vector_of_fep_8b32():
    """fep-8b32.feature; it holds floats, which only rfc8785 writes."""
    private = secret_multikey(W3C_KEY)
    context = [
        "https://www.w3.org/ns/activitystreams",
        "https://w3id.org/security/data-integrity/v2",
    ]
    document: dict[str, Any] = {
        "@context": context,
        "id": "https://server.example/activities/1",
        "type": "Create",
        "actor": "https://server.example/users/alice",
        "object": {
            "id": "https://server.example/objects/1",
            "type": "Note",
            "attributedTo": "https://server.example/users/alice",
            "content": "Hello world",
            "location": {"type": "Place", "longitude": -71.184902, "latitude": 25.273962},
        },
    }
    options = {
        "@context": context,
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "verificationMethod": "https://server.example/users/alice#ed25519-key",
        "proofPurpose": "assertionMethod",
        "created": "2023-02-24T23:36:38Z",
    }
    message = hash_data(rfc8785.dumps(options), rfc8785.dumps(document))
    assert multibase.encode(private.sign(message)) == (
        "z42ffGu6AUKPCFcFPiabmUvnGLPJzC7e4DGWC52NUasSSH37UMa9c58tdgVszUcZfytxa4fQ5TYHaJENCxUDe9SdL"
    )


def test_a_signed_document_verifies():
    proven = verify(signed(), known(), NOW)
    assert (proven.key.id, proven.created) == (KEY_ID, NOW)
    assert proven.document["rows"] == DOCUMENT["rows"]


def test_a_proof_has_exactly_the_fields_that_peers_expect():
    assert sorted(signed()["proof"]) == sorted(
        [
            "@context",
            "type",
            "cryptosuite",
            "verificationMethod",
            "proofPurpose",
            "created",
            "proofValue",
        ]
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rows",), [[1, None, "y"]]),
        (("id",), "https://alpha.example/2"),
        (("added",), 1),
        (("rows",), None),
        (("attributedTo",), "https://alpha.example/feeds/flagged"),
        (("attributedTo",), None),
        (("@context",), None),
        (("@context",), "https://www.w3.org/ns/activitystreams"),
        (("@context",), ["https://evil.example"]),
        (("proof",), None),
        (("proof",), []),
        (("proof",), "proof"),
        (("proof", "@context"), None),
        (("proof", "@context"), []),
        (("proof", "@context"), "https://www.w3.org/ns/activitystreams"),
        (("proof", "type"), "Ed25519Signature2020"),
        (("proof", "cryptosuite"), "eddsa-rdfc-2022"),
        (("proof", "proofPurpose"), "authentication"),
        (("proof", "verificationMethod"), f"{OWNER}#other"),
        (("proof", "verificationMethod"), 1),
        (("proof", "verificationMethod"), []),
        (("proof", "created"), "2023-02-24T23:36:38Z"),
        (("proof", "created"), "yesterday"),
        (("proof", "created"), 1),
        (("proof", "proofValue"), multibase.encode(bytes(64))),
        (("proof", "proofValue"), "z"),
        (("proof", "proofValue"), 1),
        (("proof", "expires"), "2030-01-01T00:00:00Z"),
        (("proof", "domain"), "alpha.example"),
    ],
)
def test_any_change_makes_the_proof_bad(path, value):
    with pytest.raises(BadProof):
        verify(changed(path, value), known(), NOW)


def test_a_list_of_proofs_is_refused():
    document = signed()
    with pytest.raises(BadProof):
        verify(document | {"proof": [document["proof"]]}, known(), NOW)


def test_a_key_of_someone_else_is_refused():
    """The key is known, the signature fits, but the controller is not who the page names."""
    with pytest.raises(BadProof):
        verify(signed(), known(controller="https://evil.example/feeds/clean"), NOW)
    with pytest.raises(BadProof):
        verify(signed(), known(public=proof_key("other").public_key()), NOW)
    with pytest.raises(BadProof):
        verify(signed(), {KEY_ID: known(id=f"{OWNER}#else")[KEY_ID]}, NOW)
    with pytest.raises(BadProof):
        verify(signed(), {}, NOW)


def test_a_proof_is_created_within_the_life_of_its_key():
    verify(signed(), known(expires=NOW), NOW + 10**6)
    with pytest.raises(BadProof):
        verify(signed(), known(expires=NOW - 1), NOW)


def test_a_proof_is_at_most_an_hour_in_the_future():
    verify(signed(created=NOW + proof.CLOCK_SKEW_SECONDS), known(), NOW)
    with pytest.raises(BadProof):
        verify(signed(created=NOW + proof.CLOCK_SKEW_SECONDS + 1), known(), NOW)


def test_the_proofs_context_may_be_a_prefix_of_the_documents():
    shorter = DOCUMENT | {"@context": DOCUMENT["@context"][:1]}
    longer = signed(shorter) | {"@context": DOCUMENT["@context"]}
    assert verify(longer, known(), NOW).key.id == KEY_ID


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(signed()["proof"])), json_values)
def test_no_proof_raises_anything_else(name, value):
    document = signed()
    with pytest.raises(BadProof):
        verify(document | {"proof": document["proof"] | {name: [value]}}, known(), NOW)
    with pytest.raises(BadProof):
        verify(document | {"more": value}, known(), NOW)
