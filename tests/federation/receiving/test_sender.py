"""Activities with an integrity proof of their own: alone, beside a signature, tampered, too old."""

import json

import pytest

from cache.storage.feed_tables import follows, inbox
from cache.verdict import Feed
from federation.context import ACTIVITYSTREAMS, DATA_INTEGRITY_V2
from federation.signing import keys
from federation.signing.request import WINDOW_SECONDS
from federation.wire import composing, multibase, proof, strictjson
from federation.wire.strictjson import canonical

ACTIVITY = "application/activity+json"


def proven(peer, activity, key=None, created=None, key_id=None):
    """Sign an activity of the peer's clean feed with the key for proofs."""
    private = key or peer.proof[Feed.CLEAN]
    key_id = key_id or keys.proof_key_id(peer.feed_id(), peer.proof[Feed.CLEAN].public_key())
    named = activity | {"@context": [ACTIVITYSTREAMS, DATA_INTEGRITY_V2]}
    return proof.sign(named, private, key_id, peer.clock() if created is None else created)


def create(peer):
    return composing.build_create(peer.publish([peer.row("a picture")]))


def resigned(peer, activity, **changes):
    """Sign once more after changing the options of the proof, as another implementation would."""
    options = {**activity["proof"], **changes}
    options = {name: value for name, value in options.items() if value is not None}
    options.pop("proofValue")
    signed = {"@context": activity["@context"], **options}
    bare = {name: value for name, value in activity.items() if name not in ("proof", "signature")}
    data = proof.hash_data(canonical(signed), canonical(bare))
    value = multibase.encode(peer.proof[Feed.CLEAN].sign(data))
    return {**activity, "proof": {**options, "proofValue": value}}


async def post(peer, ours, activity, **headers):
    """Deliver an activity with no HTTP signature but what `headers` say."""
    sent = {"Content-Type": ACTIVITY} | headers
    data = strictjson.to_bytes(activity)
    async with peer.session.post(f"{ours.base}/inbox", data=data, headers=sent) as answer:
        return answer.status


@pytest.fixture
async def followed(ours, peer):
    await ours.follow(peer)
    ours.first = len(ours.rows(inbox))
    return peer


def taken(ours):
    return len(ours.rows(inbox)) - ours.first


async def test_a_proof_alone_is_enough(ours, followed):
    assert await post(followed, ours, proven(followed, create(followed))) == 202
    await ours.settle()
    assert ours.follow_row().page == 1


async def test_the_same_proven_activity_twice_is_one_row(ours, followed):
    sent = proven(followed, create(followed))
    assert [await post(followed, ours, sent) for _ in range(2)] == [202, 202]
    assert taken(ours) == 1


@pytest.mark.parametrize("name", ["id", "published", "to", "more"])
async def test_tampering_a_proven_activity_anywhere_is_refused(ours, followed, name):
    sent = proven(followed, create(followed))
    sent[name] = f"{followed.feed_id()}/something-else"
    assert await post(followed, ours, sent) == 401
    assert taken(ours) == 0


async def test_an_activity_with_neither_signature_nor_proof_is_refused(ours, followed):
    assert await post(followed, ours, create(followed)) == 401
    assert taken(ours) == 0


async def test_a_bad_proof_is_a_rejection_even_under_a_good_signature(ours, followed):
    sent = proven(followed, create(followed))
    assert await followed.send(ours, sent | {"published": "2020-01-01T00:00:00Z"}) == 401
    assert taken(ours) == 0
    assert await followed.send(ours, sent) == 202


async def test_a_good_proof_does_not_help_a_bad_signature(ours, followed, third):
    sent = proven(followed, create(followed))
    assert await followed.send(ours, sent, key=third.rsa) == 401
    assert await followed.send(ours, sent, signer=third.id, key=third.rsa) == 401
    assert await post(followed, ours, sent, Signature="x") == 401
    assert taken(ours) == 0


@pytest.mark.parametrize("away", [-WINDOW_SECONDS, WINDOW_SECONDS])
async def test_a_proof_alone_counts_for_an_hour_either_way(ours, followed, clock, away):
    sent = create(followed)
    assert await post(followed, ours, proven(followed, sent, created=clock() + away)) == 202
    step = 1 if away > 0 else -1
    late = proven(followed, sent | {"id": f"{sent['id']}2"}, created=clock() + away + step)
    assert await post(followed, ours, late) == 401


async def test_an_old_proof_counts_beside_a_new_signature(ours, followed, clock):
    sent = proven(followed, create(followed), created=clock() - 10 * WINDOW_SECONDS)
    assert await followed.send(ours, sent) == 202


async def test_an_old_proof_of_a_stranger_costs_no_fetch(ours, third, clock):
    follow = composing.build_follow(f"{third.feed_id()}/1", third.feed_id(), ours.feed_id())
    old = clock() - WINDOW_SECONDS - 1
    assert await post(third, ours, proven(third, follow, created=old)) == 401
    assert third.requests == []


async def test_a_proof_by_another_feed_of_the_peer_is_refused(ours, followed):
    flagged = followed.proof[Feed.FLAGGED]
    key_id = keys.proof_key_id(followed.feed_id(Feed.FLAGGED), flagged.public_key())
    sent = proven(followed, create(followed), key=flagged, key_id=key_id)
    assert await post(followed, ours, sent) == 401
    sent = proven(followed, create(followed), key=flagged)
    assert await post(followed, ours, sent) == 401


async def test_a_made_up_key_is_asked_for_once_in_ten_minutes(ours, followed):
    """The key's id is never fetched itself, only the actor."""
    before = len(followed.requests)
    for number in range(20):
        key_id = f"{followed.feed_id()}#ed25519-{number}"
        sent = proven(followed, create(followed), key_id=key_id)
        assert await post(followed, ours, sent) == 401
    assert len(followed.requests) - before <= 1


async def test_a_stranger_gains_nothing_by_a_proof(ours, third):
    sent = proven(third, create(third))
    assert await post(third, ours, sent) in (401, 403)
    assert third.requests == []
    assert ours.rows(inbox) == [] == ours.rows(follows)


async def test_proofs_are_read_as_others_write_them(ours, followed):
    """A time with fractions; no `@context` in the proof; a Linked Data signature beside it."""
    made = proven(followed, create(followed))
    fine = made["proof"]["created"].replace("Z", ".123456789Z")
    assert await post(followed, ours, resigned(followed, made, created=fine)) == 202
    bare = resigned(followed, made | {"id": f"{made['id']}2"})
    del bare["proof"]["@context"]
    assert await post(followed, ours, bare) == 202
    signature = {"type": "RsaSignature2017", "signatureValue": "never looked at"}
    third = resigned(followed, made | {"id": f"{made['id']}3", "signature": signature})
    assert await post(followed, ours, third) == 202
    assert taken(ours) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "Other"),
        ("proofPurpose", "authentication"),
        ("created", "yesterday"),
        ("created", "2026-11-22T19:45:00"),
        ("created", 7),
        ("verificationMethod", ["x"]),
        ("proofValue", "z0"),
        ("proofValue", None),
        ("@context", ["https://example.org/other"]),
        ("@context", "https://www.w3.org/ns/activitystreams"),
    ],
)
async def test_a_malformed_proof_is_refused_whatever_signed_the_request(
    ours, followed, name, value
):
    sent = json.loads(json.dumps(proven(followed, create(followed))))
    sent["proof"][name] = value
    assert await post(followed, ours, sent) == 401
    assert await followed.send(ours, sent) == 401
    assert taken(ours) == 0


async def test_a_proof_of_another_suite_says_nothing(ours, followed):
    sent = create(followed) | {"proof": {"type": "DataIntegrityProof", "cryptosuite": "other"}}
    assert await post(followed, ours, sent) == 401
    assert await followed.send(ours, sent) == 202
