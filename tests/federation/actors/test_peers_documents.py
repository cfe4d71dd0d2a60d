"""Actors of other software are read, and what is strict about it holds for each of them."""

import json

import pytest

from federation.actors.remote_actor import parse_actor
from federation.errors import BadActor, FederationError, WrongOrigin
from federation.wire.strictjson import parse
from tests.federation.actors.peers_documents import ALL, fedify, gotosocial, lemmy, mastodon
from tests.federation.samples import proof_key, rsa_key

each = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)


def read(document):
    """Read a document as it comes over the wire."""
    return parse_actor(parse(json.dumps(document).encode(), 10**6), document["id"])


@each
def test_the_actors_of_other_software_are_accepted(make):
    document = make()
    actor = read(document)
    assert actor.id == document["id"]
    assert actor.name == document.get("preferredUsername")
    assert actor.inbox == document["inbox"]
    assert actor.feed is None
    (key,) = actor.rsa_keys.values()
    assert key.public.public_numbers() == rsa_key().public_key().public_numbers()


def test_what_they_name_is_what_is_delivered_to_and_verified_with():
    assert read(mastodon()).shared_inbox == "https://mastodon.example/inbox"
    assert list(read(gotosocial()).rsa_keys) == ["https://gts.example/users/greta/main-key"]
    assert read(lemmy()).shared_inbox is None
    (multikey,) = read(fedify()).proof_keys.values()
    assert multikey.public == proof_key("fay").public_key()


@each
@pytest.mark.parametrize("member", ["inbox", "outbox", "id"])
def test_no_part_of_them_may_be_elsewhere(make, member):
    document = make()
    elsewhere = document | {member: "https://evil.example/x"}
    with pytest.raises(WrongOrigin):
        parse_actor(elsewhere, document["id"])


@each
def test_their_key_must_be_their_own(make):
    document = make()
    for owner in ("https://evil.example/users/x", document["id"] + "x", None):
        stolen = document["publicKey"] | {"owner": owner}
        with pytest.raises(BadActor):
            read(document | {"publicKey": stolen})
    elsewhere = document["publicKey"] | {"id": "https://evil.example/key"}
    with pytest.raises(WrongOrigin):
        read(document | {"publicKey": elsewhere})


@each
@pytest.mark.parametrize("term", ["inbox", "publicKey", "publicKeyPem", "owner", "endpoints"])
def test_a_context_that_renames_what_is_read_is_refused(make, term):
    """Mastodon CVE-2026-46349: the same JSON would mean another actor to a JSON-LD reader."""
    document = make()
    with pytest.raises(FederationError):
        read(document | {"@context": [*document["@context"], {term: "urn:x"}]})
