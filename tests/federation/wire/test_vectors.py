import base64
import hashlib
import json

import pytest
import rfc8785

from cache.verdict import Feed
from federation.addresses import FEED_NAMES
from federation.signing import keys
from federation.wire import multibase
from federation.wire.page import digest, parse_page
from federation.wire.proof import ProofKey, verify
from tests.federation.vectors import make

pytestmark = pytest.mark.parametrize("feed", sorted(FEED_NAMES))


def committed(feed):
    return json.loads(make.path(feed).read_text(encoding="utf-8"))


def test_the_script_still_makes_the_committed_vector(feed):
    assert json.loads(json.dumps(make.make(feed))) == committed(feed)


def test_the_committed_page_verifies_by_its_public_key_alone(feed):
    vector = committed(feed)
    public = keys.ed25519_from_multikey(vector["publicKeyMultibase"])
    key = ProofKey(vector["verificationMethod"], vector["page"]["attributedTo"], public)
    assert verify(vector["page"], {key.id: key}, make.PUBLISHED).key is key
    assert parse_page(vector["page"], feed, make.PUBLISHED).digest == vector["digestMultibase"]


def test_canonical_bytes_digest_and_proof_follow_from_public_parts(feed):
    """Computed here without the code under test, but for base58."""
    vector = committed(feed)
    page = dict(vector["page"])
    proof = dict(page.pop("proof"))
    signature = multibase.decode(proof.pop("proofValue"))
    body = rfc8785.dumps(page)
    assert body.decode() == vector["canonicalWithoutProof"]
    multihash = b"\x12\x20" + hashlib.sha256(body).digest()
    assert multibase.decode(vector["digestMultibase"]) == multihash
    message = hashlib.sha256(rfc8785.dumps(proof)).digest() + hashlib.sha256(body).digest()
    keys.ed25519_from_multikey(vector["publicKeyMultibase"]).verify(signature, message)
    assert digest(vector["page"]) == vector["digestMultibase"]


def test_the_pipeline_id_is_the_digest_of_its_description(feed):
    vector = committed(feed)
    (description,) = vector["page"]["pipelines"]
    assert hashlib.sha256(rfc8785.dumps(description)).hexdigest() == vector["pipelineId"]


def test_hashes_are_base64url_without_padding(feed):
    vector = committed(feed)
    first = "c" if feed is Feed.FLAGGED else "a"
    text = vector["page"]["rows"][0][1]
    assert base64.urlsafe_b64decode(text + "=") == hashlib.sha256(first.encode()).digest()
