"""Proofs of activities against the life of the key; what they cover is in receiving/test_sender."""

from dataclasses import replace

import pytest

from federation.actors.remote_actor import RemoteActor
from federation.context import ACTIVITYSTREAMS, DATA_INTEGRITY_V2
from federation.errors import BadProof
from federation.origin import Origin, Url
from federation.signing import keys
from federation.wire import proof
from federation.wire.activity_proof import created_at, has_proof, verify_activity
from federation.wire.times import to_rfc3339

NOW = 1_795_000_000
ACTOR = Url("https://a.example/users/alice")
PRIVATE = keys.generate_ed25519()
KEY = proof.ProofKey(f"{ACTOR}#ed25519", ACTOR, PRIVATE.public_key())


def actor(key=KEY):
    """An actor that lists `key`."""
    return RemoteActor(
        ACTOR, Origin("https://a.example"), "Person", "alice", None, Url(f"{ACTOR}/inbox"),
        None, None, None, {}, {key.id: key},
    )  # fmt: skip


def signed(created=NOW):
    activity = {
        "@context": [ACTIVITYSTREAMS, DATA_INTEGRITY_V2],
        "id": f"{ACTOR}/1",
        "type": "Follow",
        "actor": ACTOR,
        "object": "https://b.example/feeds/clean",
    }
    return proof.sign(activity, PRIVATE, KEY.id, created)


def test_a_proof_names_its_key_and_its_time():
    assert has_proof(signed())
    assert created_at(signed()) == NOW
    assert verify_activity(signed(), actor(), NOW) == (KEY, NOW)


@pytest.mark.parametrize(("created", "holds"), [(NOW, True), (NOW + 1, False)])
def test_a_proof_holds_up_to_the_second_its_key_expires(created, holds):
    listed = actor(replace(KEY, expires=NOW))
    if holds:
        assert verify_activity(signed(created), listed, NOW)[1] == created
    else:
        with pytest.raises(BadProof, match="after its key expired"):
            verify_activity(signed(created), listed, NOW)


def test_a_revoked_key_signs_no_activity_whenever_it_was():
    with pytest.raises(BadProof, match="no key of the actor"):
        verify_activity(signed(), actor(replace(KEY, revoked=NOW + 1)), NOW)


@pytest.mark.parametrize(("ahead", "holds"), [(3_600, True), (3_601, False)])
def test_a_proof_may_be_an_hour_in_the_future(ahead, holds):
    if holds:
        assert verify_activity(signed(NOW + ahead), actor(), NOW)[1] == NOW + ahead
    else:
        with pytest.raises(BadProof):
            verify_activity(signed(NOW + ahead), actor(), NOW)


def test_a_proof_of_one_actor_does_not_carry_the_activity_of_another():
    with pytest.raises(BadProof, match="another actor"):
        verify_activity(signed() | {"actor": "https://a.example/users/bob"}, actor(), NOW)


@pytest.mark.parametrize("spoilt", [None, [], "x", {}, {"cryptosuite": "eddsa-rdfc-2022"}])
def test_what_is_no_proof_of_this_kind_is_none(spoilt):
    assert not has_proof({"proof": spoilt})


def test_a_time_of_creation_has_40_characters_at_most():
    document = signed()
    for digits in (1, 19):  # of a fraction; with the rest 22 and 40 characters
        document["proof"]["created"] = to_rfc3339(NOW).replace("Z", f".{'0' * digits}Z")
        assert created_at(document) == NOW
    document["proof"]["created"] = to_rfc3339(NOW).replace("Z", f".{'0' * 20}Z")
    with pytest.raises(BadProof):
        created_at(document)
