"""Keys, actors, rows and pages of a made-up instance, shared by the tests of federation."""

import functools
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from cache.verdict import Basis, Feed, Finding
from federation.actors import actor
from federation.actors.remote_actor import RemoteActor, parse_actor
from federation.addresses import feed_url
from federation.origin import Origin
from federation.signing import keys
from federation.wire import multibase
from federation.wire.page import PageHead, seal_page
from federation.wire.pipeline import pipeline_id
from federation.wire.row import Attestation, Retraction
from federation.wire.strictjson import JsonObject, parse

BASE = Origin("https://alpha.example")
NOW = 1_795_000_000
EPOCH = "0123456789abcdef0123456789abcdef"
OTHER_EPOCH = "f" * 32
DESCRIPTION = {
    "architecture": "tiny",
    "policy": "aa" * 32,
    "precision": "fp32",
    "preprocessing": "bb" * 32,
    "weights": "cc" * 32,
}
PIPELINE = pipeline_id(DESCRIPTION)
RULES = {"csam-suspect": "sexual and minor", "patterns": "test-pattern"}


@functools.cache
def rsa_key() -> RSAPrivateKey:
    return keys.generate_rsa()


@functools.cache
def other_rsa_key() -> RSAPrivateKey:
    return keys.generate_rsa()


def proof_key(name: str = "alpha") -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def secret_multikey(text: str) -> Ed25519PrivateKey:
    """The private key in the form that published vectors use."""
    data = multibase.decode(text)
    assert data.startswith(b"\x80\x26"), "multicodec ed25519-priv"
    return Ed25519PrivateKey.from_private_bytes(data[2:])


def picture(name: str) -> bytes:
    return hashlib.sha256(f"picture {name}".encode()).digest()


def feed_document(feed: Feed = Feed.FLAGGED, **changes) -> JsonObject:
    own = actor.OwnProofKey(proof_key().public_key(), **changes)
    document = actor.build_feed(BASE, feed, rsa_key().public_key(), [own])
    return parse(json.dumps(document).encode(), 10**6)


def feed_actor(feed: Feed = Feed.FLAGGED, **changes) -> RemoteActor:
    return parse_actor(feed_document(feed, **changes), feed_url(BASE, feed))


def model_row(name: str = "a", **changes) -> Attestation:
    known: dict[str, Any] = {
        "sha256": picture(name),
        "basis": Basis.MODEL,
        "issued": NOW - NOW % 86_400,
        "expires": NOW + 86_400,
        "pipeline": PIPELINE,
        "scores": {"minor": None, "sexual": 12, "test-pattern": 9_876},
    }
    return Attestation(**(known | changes))


def human_row(name: str = "h") -> Attestation:
    return Attestation(
        picture(name), Basis.HUMAN, NOW - 50, NOW + 9_000, rule="patterns", finding=Finding.UPHELD
    )


def flagged_rows():
    return [
        model_row("a", content=picture("a, unwrapped"), pdq=picture("pdq"), pdq_quality=88),
        human_row(),
        Retraction(EPOCH, 1),
        Retraction(OTHER_EPOCH, 77),
    ]


def head(feed: Feed = Feed.FLAGGED, **changes) -> PageHead:
    known: dict[str, Any] = {
        "feed_id": feed_url(BASE, feed),
        "feed": feed,
        "epoch": EPOCH,
        "page": 1,
        "first_seq": 1,
        "published": NOW,
    }
    return PageHead(**(known | changes))


def signed_page(rows=None, feed: Feed = Feed.FLAGGED, key=None, **changes) -> JsonObject:
    """A page as it comes over the wire: signed, serialised and parsed again."""
    where = head(feed, **changes)
    rows = rows if rows is not None else flagged_rows()
    key_id = keys.proof_key_id(where.feed_id, proof_key().public_key())
    page = seal_page(where, rows, {PIPELINE: DESCRIPTION}, RULES, key or proof_key(), key_id)
    return parse(json.dumps(page).encode(), 10**7)
