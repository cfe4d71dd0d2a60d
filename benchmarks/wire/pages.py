"""A made-up peer's feed as bytes on the wire: signed pages, each row on a picture of its own.

Hashes are as random as in life, scores as scattered; everything follows from a seed.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.storing.filling import NOW
from cache.memory.record import pipeline_id
from cache.verdict import Basis, Feed
from federation.actors import actor
from federation.actors.remote_actor import RemoteActor, parse_actor
from federation.addresses import feed_url
from federation.origin import Origin
from federation.signing import keys
from federation.wire.merged import MAX_RUN_ROWS, seal_merged
from federation.wire.page import PageHead, digest, seal_page
from federation.wire.row import Attestation
from federation.wire.strictjson import JsonObject, parse

T = TypeVar("T")
DAY_SECONDS = 86_400
ORIGIN = Origin("https://a.example")
EPOCH = "ab1e" * 8
LABELS = ("sexual", "minor", "gore", "violence", "test-pattern")
RULES = {"csam-suspect": "sexual and minor", "gore": "gore", "patterns": "test-pattern"}
DESCRIPTION = {
    "architecture": "ViT-B-32-quickgelu",
    "policy": hashlib.sha256(b"policy").hexdigest(),
    "precision": "fp32",
    "preprocessing": hashlib.sha256(b"preprocessing").hexdigest(),
    "weights": hashlib.sha256(b"weights").hexdigest(),
}
PIPELINE = pipeline_id(DESCRIPTION)
PRIVATE = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a feed's key").digest())


def feed_actor(feed: Feed) -> RemoteActor:
    """Return the peer's actor as a follower knows it."""
    own = actor.OwnProofKey(PRIVATE.public_key())
    document = actor.build_feed(ORIGIN, feed, keys.generate_rsa().public_key(), [own])
    return parse_actor(parse(json.dumps(document).encode(), 10**6), feed_url(ORIGIN, feed))


def proof_key_id(feed: Feed) -> str:
    """Return the id of the key that signs the feed."""
    return keys.proof_key_id(feed_url(ORIGIN, feed), PRIVATE.public_key())


def rows(feed: Feed, seed: str, count: int) -> list[Attestation]:
    """Return so many rows, each on a picture of its own."""
    rng = random.Random(f"{feed} {seed}")
    return [_row(rng, feed) for _ in range(count)]


def pages(feed: Feed, page_rows: int, count: int, epoch: str = EPOCH) -> Iterator[JsonObject]:
    """Return the first `count` signed pages of an epoch of the feed, chained."""
    key_id, previous = proof_key_id(feed), None
    for number in range(1, count + 1):
        first = (number - 1) * page_rows + 1
        head = PageHead(feed_url(ORIGIN, feed), feed, epoch, number, first, NOW, previous)
        some = rows(feed, f"{epoch} {number}", page_rows)
        page = seal_page(head, some, {PIPELINE: DESCRIPTION}, RULES, PRIVATE, key_id)
        previous = digest(page)
        yield page


def merged(feed: Feed, page_rows: int, count: int, epoch: str = EPOCH) -> Iterator[JsonObject]:
    """Return the same pages merged into signed documents of up to `MAX_RUN_ROWS` rows."""
    together = MAX_RUN_ROWS // page_rows
    for run in batched(pages(feed, page_rows, count, epoch), together):
        yield seal_merged(run, PRIVATE, proof_key_id(feed))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Return the items in lists of so many; the last may be shorter."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def _row(rng: random.Random, feed: Feed) -> Attestation:
    flags = feed is Feed.FLAGGED
    issued = NOW - rng.randrange(30) * DAY_SECONDS
    issued -= issued % DAY_SECONDS
    return Attestation(
        sha256=rng.randbytes(32),
        basis=Basis.MODEL,
        issued=issued,
        expires=issued + 180 * DAY_SECONDS,
        content=rng.randbytes(32),
        pipeline=PIPELINE,
        scores={label: _score(rng) for label in LABELS},
        pdq=rng.randbytes(32) if flags else None,
        pdq_quality=rng.randrange(50, 101) if flags else None,
    )


def _score(rng: random.Random) -> int:
    """Return a score of 10,000; most pictures score low, as clean ones do."""
    return min(10_000, int(rng.expovariate(1 / 400)))
