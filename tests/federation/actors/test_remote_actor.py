import contextlib
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.verdict import Feed
from federation.actors import actor
from federation.actors.remote_actor import MAX_PROOF_KEYS, MAX_RSA_KEYS, parse_actor
from federation.addresses import feed_url, instance_url
from federation.context import ACTIVITYSTREAMS, ACTOR_CONTEXT, DID_V1
from federation.errors import BadActor, BadRequest, FederationError, WrongOrigin
from federation.origin import Origin
from federation.signing import keys
from federation.wire.strictjson import canonical, parse
from tests.federation.samples import BASE, EPOCH, feed_actor, feed_document, proof_key, rsa_key

FEED = feed_url(BASE, Feed.FLAGGED)


def changed(path, value):
    document = copy.deepcopy(feed_document())
    *parents, last = path
    target = document
    for name in parents:
        target = target[name]
    target[last] = value
    return document


def test_a_feed_is_a_service_that_approves_its_followers():
    document = feed_document(Feed.CLEAN)
    assert document["@context"] == ACTOR_CONTEXT
    assert DID_V1 in document["@context"], "Fedify finds assertionMethod only with it"
    assert document["id"] == "https://alpha.example/feeds/clean"
    assert (document["type"], document["feed"]) == ("Service", "clean")
    assert document["manuallyApprovesFollowers"] is True
    assert document["publicKey"]["id"] == f"{document['id']}#main-key"
    assert document["assertionMethod"][0]["controller"] == document["id"]
    assert document["endpoints"] == {"sharedInbox": "https://alpha.example/inbox"}


def test_the_instance_is_an_application_without_proof_keys():
    document = actor.build_instance(BASE, rsa_key().public_key())
    parsed = parse_actor(document, instance_url(BASE))
    assert (parsed.kind, parsed.feed, parsed.proof_keys) == ("Application", None, {})
    assert list(parsed.rsa_keys) == [f"{instance_url(BASE)}#main-key"]


@pytest.mark.parametrize("feed", [Feed.CLEAN, Feed.FLAGGED])
def test_what_we_build_is_what_peers_read(feed):
    parsed = feed_actor(feed)
    assert (parsed.id, parsed.origin, parsed.feed) == (feed_url(BASE, feed), BASE, feed)
    assert parsed.shared_inbox == f"{BASE}/inbox"
    (key,) = parsed.proof_keys.values()
    assert key.public == proof_key().public_key()
    assert key.id == keys.proof_key_id(parsed.id, key.public)


def test_retired_and_stolen_keys_say_so():
    (key,) = feed_actor(expires=100, revoked=200, revoked_from=(EPOCH, 7)).proof_keys.values()
    assert (key.expires, key.revoked, key.revoked_from) == (100, 200, (EPOCH, 7))


def test_actors_serve_over_http_only_where_that_is_allowed():
    base = Origin("http://127.0.0.1:8001")
    document = actor.build_instance(base, rsa_key().public_key())
    assert parse_actor(document, instance_url(base), allow_http=True).origin == base
    with pytest.raises(BadRequest):
        parse_actor(document, instance_url(base))


@pytest.mark.parametrize(
    "path",
    [
        ("inbox",),
        ("outbox",),
        ("followers",),
        ("endpoints", "sharedInbox"),
        ("publicKey", "id"),
        ("assertionMethod", 0, "id"),
        ("id",),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://alpha.example:8443/x",
        "https://alpha.example.evil.example/x",
        "https://ALPHA.example/x",
        "https://alpha.example./x",
    ],
)
def test_every_part_of_an_actor_is_on_its_origin(path, url):
    with pytest.raises(WrongOrigin):
        parse_actor(changed(path, url), FEED)


@pytest.mark.parametrize("path", [("publicKey", "owner"), ("assertionMethod", 0, "controller")])
@pytest.mark.parametrize("owner", [None, "https://alpha.example/actor", "https://evil.example/a"])
def test_every_key_belongs_to_the_actor(path, owner):
    with pytest.raises(BadActor):
        parse_actor(changed(path, owner), FEED)


def test_the_document_must_be_that_of_the_actor_asked_for():
    with pytest.raises(WrongOrigin):
        parse_actor(feed_document(Feed.CLEAN), FEED)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("type",), "Note"),
        (("type",), ["Service"]),
        (("inbox",), None),
        (("preferredUsername",), 5),
        (("preferredUsername",), "x" * 129),
        (("publicKey", "publicKeyPem"), "-----BEGIN PUBLIC KEY-----"),
        (("assertionMethod", 0, "expires"), "soon"),
        (("assertionMethod", 0, "revokedFrom"), 7),
        (("assertionMethod", 0, "revokedFrom"), {"epoch": EPOCH, "page": 0}),
        (("assertionMethod", 0, "revokedFrom"), {"epoch": "soon", "page": 1}),
        (("object",), {"@graph": []}),
        (("@context",), [*ACTOR_CONTEXT, {"inbox": "urn:x"}]),
    ],
)
def test_a_malformed_actor_is_refused(path, value):
    with pytest.raises(BadRequest):
        parse_actor(changed(path, value), FEED)


def test_two_keys_with_one_id_are_refused():
    document = feed_document()
    document["assertionMethod"] *= 2
    with pytest.raises(BadActor):
        parse_actor(document, FEED)


def test_keys_of_other_kinds_are_passed_over():
    document = feed_document()
    (multikey,) = document["assertionMethod"]
    other = multikey | {"id": f"{FEED}#p256", "publicKeyMultibase": "zDn1"}
    document["assertionMethod"] += [other, "https://alpha.example/key", {"type": "JsonWebKey"}]
    assert list(parse_actor(document, FEED).proof_keys) == [multikey["id"]]


def test_an_actor_has_32_proof_keys_and_8_rsa_keys_at_most():
    document = feed_document()
    for name, limit in (("publicKey", MAX_RSA_KEYS), ("assertionMethod", MAX_PROOF_KEYS)):
        parse_actor(document | {name: ["https://alpha.example/elsewhere"] * limit}, FEED)
        with pytest.raises(BadActor):
            parse_actor(document | {name: ["https://alpha.example/elsewhere"] * (limit + 1)}, FEED)


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": ACTIVITYSTREAMS},
        {"@context": [ACTIVITYSTREAMS]},
        {"type": "Person"},
        {"feed": "other"},
        {"feed": ["flagged"]},
        {"feed": None},
    ],
)
def test_only_our_own_term_on_a_service_makes_a_feed(changes):
    assert parse_actor(feed_document() | changes, FEED).feed is None


def test_a_key_id_without_fragment_is_taken():
    """GoToSocial names its keys so."""
    document = changed(("publicKey", "id"), f"{FEED}/main-key")
    assert list(parse_actor(document, FEED).rsa_keys) == [f"{FEED}/main-key"]


def test_an_actor_survives_serialising():
    document = feed_document()
    assert parse_actor(parse(canonical(document), 10**5), FEED) == parse_actor(document, FEED)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(FEED),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "owner", "type", "controller", "epoch"]), inner)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(feed_document())), values)
def test_no_document_raises_anything_else(name, value):
    with contextlib.suppress(FederationError):
        parse_actor(feed_document() | {name: value}, FEED)
