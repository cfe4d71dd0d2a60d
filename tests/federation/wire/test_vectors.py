"""The committed vectors: made by their script still, and verified from their public key alone."""

import base64
import hashlib
import json

import pytest
import rfc8785

from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import feed_url, instance_url
from federation.origin import Url
from federation.signing import keys
from federation.wire import multibase
from federation.wire.activity import (
    AnnounceHeads,
    AnnouncePage,
    CreatePage,
    Flag,
    parse_activity,
)
from federation.wire.attestation import verify_attestation
from federation.wire.feed_head import verify_head
from federation.wire.merged import verify_merged
from federation.wire.page import verify_page
from federation.wire.proof import ProofKey
from federation.wire.snapshot import parse_part, verify_manifest
from federation.wire.strictjson import JsonObject
from tests.federation.vectors import make

NAMES = sorted(make.vectors())
SIGNED = [name for name in NAMES if "publicKeyMultibase" in make.vectors()[name]]
NOW = make.PUBLISHED + 90


def committed(name):
    return json.loads(make.path(name).read_text(encoding="utf-8"))


def actor_of(name: str) -> tuple[JsonObject, RemoteActor]:
    """Return the feed that signed a vector, with the key that the vector gives."""
    vector = committed(name)
    feed = Feed.FLAGGED if name == "flagged-page" else Feed.CLEAN
    feed_id = feed_url(make.BASE, feed)
    public = keys.ed25519_from_multikey(vector["publicKeyMultibase"])
    key = ProofKey(vector["verificationMethod"], feed_id, public)
    inbox = Url(f"{feed_id}/inbox")
    found = RemoteActor(
        id=feed_id,
        origin=make.BASE,
        kind="Service",
        name=None,
        feed=feed,
        inbox=inbox,
        shared_inbox=None,
        outbox=None,
        followers=None,
        rsa_keys={},
        proof_keys={key.id: key},
    )
    return vector["document"], found


def test_every_committed_file_is_a_vector():
    assert sorted(file.stem for file in make.FOLDER.glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_script_still_makes_the_committed_vector(name):
    assert json.loads(json.dumps(make.vectors()[name])) == committed(name)


@pytest.mark.parametrize("name", NAMES)
def test_canonical_bytes_and_digest_follow_from_the_document(name):
    """Computed here without the code under test, but for base58."""
    vector = committed(name)
    unsecured = {key: value for key, value in vector["document"].items() if key != "proof"}
    body = rfc8785.dumps(unsecured)
    assert body.decode() == vector["canonicalWithoutProof"]
    multihash = b"\x12\x20" + hashlib.sha256(body).digest()
    assert multibase.decode(vector["digestMultibase"]) == multihash


@pytest.mark.parametrize("name", SIGNED)
def test_the_proof_follows_from_public_parts(name):
    """Computed here without the code under test, but for base58."""
    vector = committed(name)
    proof = dict(vector["document"]["proof"])
    signature = multibase.decode(proof.pop("proofValue"))
    body = vector["canonicalWithoutProof"].encode()
    message = hashlib.sha256(rfc8785.dumps(proof)).digest() + hashlib.sha256(body).digest()
    keys.ed25519_from_multikey(vector["publicKeyMultibase"]).verify(signature, message)
    assert proof["verificationMethod"] == vector["verificationMethod"]


@pytest.mark.parametrize("name", ["clean-page", "flagged-page"])
def test_pages_verify(name):
    page = verify_page(*actor_of(name), NOW).page
    vector = committed(name)
    assert page.digest == vector["digestMultibase"]
    assert {pipeline.id for pipeline in page.pipelines} == {vector["pipelineId"]}


def test_merged_pages_verify_and_name_their_pages():
    run = verify_merged(*actor_of("merged-pages"), NOW)
    assert [page.head.page for page in run.pages] == [1, 2]
    assert run.pages[0].digest == committed("clean-page")["digestMultibase"]


def test_the_head_and_the_manifest_name_the_same_page():
    head = verify_head(*actor_of("feed-head"), NOW)
    manifest = verify_manifest(*actor_of("snapshot-manifest"), NOW)
    assert (head.name.page, head.name.digest) == (
        manifest.snapshot.through_page,
        manifest.snapshot.digest,
    )


def test_the_part_is_the_one_that_the_manifest_names():
    manifest = verify_manifest(*actor_of("snapshot-manifest"), NOW)
    part = parse_part(committed("snapshot-part")["document"], manifest, 1)
    assert part.places == ((make.PREVIOUS_EPOCH, 12), (make.EPOCH, 2), (make.EPOCH, 5))


def test_the_attestation_verifies():
    sha256 = hashlib.sha256(b"b").digest()
    found = verify_attestation(*actor_of("attestation"), sha256, NOW)
    assert found.place == (make.EPOCH, 2)


def test_the_activities_say_what_they_should():
    names = ("create", "create-stub", "announce-heads", "flag")
    read = {name: parse_activity(committed(name)["document"]) for name in names}
    page = committed("clean-page")
    stub = read["create-stub"]
    assert isinstance(read["create"], CreatePage)
    assert read["create"].page == page["document"]
    assert isinstance(stub, AnnouncePage)
    assert (stub.url, stub.digest) == (page["document"]["id"], page["digestMultibase"])
    assert isinstance(read["announce-heads"], AnnounceHeads)
    assert read["announce-heads"].heads == (committed("feed-head")["document"],)
    assert isinstance(read["flag"], Flag)
    assert read["flag"].actor == instance_url(make.READER)
    assert read["flag"].objects == (committed("attestation")["document"]["id"],)


@pytest.mark.parametrize("name", ["clean-page", "flagged-page"])
def test_the_pipeline_id_is_the_digest_of_its_description(name):
    vector = committed(name)
    (description,) = vector["document"]["pipelines"]
    assert hashlib.sha256(rfc8785.dumps(description)).hexdigest() == vector["pipelineId"]


@pytest.mark.parametrize(("name", "first"), [("clean-page", "a"), ("flagged-page", "c")])
def test_hashes_are_base64url_without_padding(name, first):
    text = committed(name)["document"]["rows"][0][1]
    assert base64.urlsafe_b64decode(text + "=") == hashlib.sha256(first.encode()).digest()
