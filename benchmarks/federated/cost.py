"""Measures what federating costs a node: bytes on the wire, rows on disk, time an answer.

Bytes are those of real pages, sealed, signed and encoded by `federation.page`; disk is a real
SQLite file; times are of this machine and run (CPU time of one thread).
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

import migrations
from cache.decide import decide
from cache.index.near import NearIndex
from cache.judgement import Judgement, PeerState, PipelineState, PipelineTerms, Trust
from cache.memory.lookup import evidence
from cache.memory.peer_rows import record_attestations
from cache.memory.record import pipeline_row
from cache.rules import parse as parse_rule
from cache.secret import audit_throw
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Decision, Feed, Verdict
from federation.actors import actor
from federation.actors.remote_actor import parse_actor
from federation.addresses import feed_url
from federation.origin import Origin
from federation.signing import keys
from federation.wire import multibase
from federation.wire.composing import build_create
from federation.wire.page import PageHead, seal_page, verify_page
from federation.wire.pipeline import pipeline_id
from federation.wire.row import Attestation
from federation.wire.strictjson import JsonObject, parse, to_bytes
from scanner.policy import load_policy

PAGE_SIZES = (1, 10, 100, 1_000)
STORED = 20_000
ASKED = 5_000
VERIFIED = 10
ORIGIN = Origin("https://peer.example")
NOW = 1_795_000_000
EPOCH = "0123456789abcdef0123456789abcdef"
DESCRIPTION = {
    "architecture": "ViT-B-32-quickgelu",
    "policy": "aa" * 32,
    "precision": "fp32",
    "preprocessing": "bb" * 32,
    "weights": "cc" * 32,
}
PIPELINE = pipeline_id(DESCRIPTION)


@dataclass(frozen=True)
class PageBytes:
    """What one page of so many rows takes on the wire, HTTP and TLS not counted."""

    feed: str
    rows: int
    page: int  # bytes of the page itself
    sent: int  # to one follower: the Create with the page inline, or its stub and the page

    @property
    def by_row(self) -> float:
        """Bytes an attestation, of what is sent."""
        return self.sent / self.rows


@dataclass(frozen=True)
class NodeCost:
    """What a node pays for each row and each answer, in microseconds of CPU and bytes of disk."""

    disk_bytes_a_row: float
    verify_us_a_row: float
    store_us_a_row: float
    answer_us: float  # look-up of a picture that a peer judged, throw and decision
    miss_us: float  # look-up of a picture that nobody judged


def page_bytes() -> list[PageBytes]:
    """Return the bytes of pages of each feed and size; the same in every run."""
    return [
        PageBytes(feed.name.lower(), rows, len(to_bytes(page)), _sent(page))
        for feed in (Feed.CLEAN, Feed.FLAGGED)
        for rows in PAGE_SIZES
        for page in [_page(feed, rows)]
    ]


def fitted(measured: Sequence[PageBytes], feed: str) -> tuple[float, float]:
    """Return (bytes a page, bytes a row), through the sizes of 1 and 100 rows."""
    sent = {one.rows: one.sent for one in measured if one.feed == feed}
    by_row = (sent[100] - sent[1]) / 99
    return sent[1] - by_row, by_row


def node_cost() -> NodeCost:
    """Measure on a fresh SQLite database that holds `STORED` clean verdicts of a trusted peer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "node.sqlite3")
        migrations.upgrade(f"sqlite:///{path}")
        before = path.stat().st_size
        store = Store.open(f"sqlite:///{path}")
        stored = _seconds(lambda: store.write_now(_fill))
        answer, miss = (store.read_now(_answer_us, known) for known in (True, False))
        store.close()  # the WAL is in the file by now
        size = path.stat().st_size - before
    return NodeCost(size / STORED, _verify_us(), stored / STORED * 1e6, answer, miss)


def _page(feed: Feed, count: int) -> JsonObject:
    private = _proof_key()
    feed_id = feed_url(ORIGIN, feed)
    head = PageHead(feed_id, feed, EPOCH, 7, 6_001, NOW, multibase.digest(b"page 6"))
    policy = load_policy("default")
    rows = [_row(feed, number, policy.labels) for number in range(count)]
    key_id = keys.proof_key_id(feed_id, private.public_key())
    return seal_page(head, rows, {PIPELINE: DESCRIPTION}, dict(policy.rules), private, key_id)


def _row(feed: Feed, number: int, labels: Iterable[str]) -> Attestation:
    flags = feed is Feed.FLAGGED
    return Attestation(
        sha256=_hash("sha256", number),
        basis=Basis.MODEL,
        issued=NOW - NOW % 86_400,
        expires=NOW + 180 * 86_400,
        content=_hash("content", number),
        pipeline=PIPELINE,
        scores=dict.fromkeys(labels, 1_000 + number * 37 % 1_000),
        pdq=_hash("pdq", number) if flags else None,
        pdq_quality=88 if flags else None,
    )


def _sent(page: JsonObject) -> int:
    create = build_create(page)
    inline = isinstance(create["object"], dict) and "rows" in create["object"]
    return len(to_bytes(create)) + (0 if inline else len(to_bytes(page)))


def _verify_us() -> float:
    """Return the time that parsing and verifying take, a row of a full page."""
    data = json.dumps(_page(Feed.CLEAN, PAGE_SIZES[-1])).encode()
    own = actor.OwnProofKey(_proof_key().public_key())
    document = actor.build_feed(ORIGIN, Feed.CLEAN, keys.generate_rsa().public_key(), [own])
    feed_id = feed_url(ORIGIN, Feed.CLEAN)
    remote = parse_actor(parse(json.dumps(document).encode(), 10**6), feed_id)

    def verify() -> None:
        for _ in range(VERIFIED):
            verify_page(parse(data, 2**21), remote, NOW)

    verify()
    return _seconds(verify) / VERIFIED / PAGE_SIZES[-1] * 1e6


def _fill(connection: Connection) -> None:
    issuer = add_peer(connection, str(ORIGIN), PeerDefaults(), now=NOW)
    set_trust(connection, str(ORIGIN), Trust(clean=100, flag=100, state=PeerState.TRUSTED))
    pipeline_row(connection, DESCRIPTION)
    labels = load_policy("default").labels
    for start in range(0, STORED, PAGE_SIZES[-1]):
        rows = [
            _verdict(_row(Feed.CLEAN, number, labels), number)
            for number in range(start, start + PAGE_SIZES[-1])
        ]
        record_attestations(
            connection, issuer_id=issuer, feed=Feed.CLEAN, follow_id=0, rows=rows, now=NOW
        )


def _verdict(row: Attestation, number: int) -> Verdict:
    return Verdict(
        issuer=str(ORIGIN),
        sha256=row.sha256,
        feed=Feed.CLEAN,
        basis=row.basis,
        issued=row.issued,
        expires=row.expires,
        content=row.content,
        pipeline=row.pipeline,
        scores=row.scores,
        epoch=EPOCH,
        seq=number + 1,
    )


@dataclass(frozen=True)
class _Asked:
    """The fingerprints of a picture that is asked about; fits FingerprintLike."""

    sha256: bytes
    content: bytes | None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    phash: bytes | None = None


def _answer_us(connection: Connection, known: bool) -> float:
    near, judgement = NearIndex(), _judgement()
    sha256, content = ("sha256", "content") if known else ("other", "another")
    asked = [
        _Asked(_hash(sha256, number), _hash(content, number), _hash("pdq", number), 88)
        for number in range(ASKED)
    ]
    expected = Decision.CLEAN if known else Decision.UNKNOWN

    def answer() -> None:
        for one in asked:
            found = evidence(connection, near, fingerprint=one, variants=[one.pdq or b""])
            throw = audit_throw(bytes(32), found, one.sha256, judgement)
            if decide(found, judgement, now=NOW, can_scan=True, throw=throw).decision != expected:
                raise AssertionError("the measured answer is not the one expected")

    answer()
    return _seconds(answer) / ASKED * 1e6


def _judgement() -> Judgement:
    policy = load_policy("default")
    thresholds = {name: label.threshold or 5_000 for name, label in policy.labels.items()}
    trust = Trust(clean=100, flag=100, state=PeerState.TRUSTED, audit_rate=0.0)
    return replace(
        Judgement({}, {}),
        rules={name: parse_rule(text) for name, text in policy.rules.items()},
        pipelines={PIPELINE: PipelineTerms(thresholds, PipelineState.DEFAULT)},
        trust={str(ORIGIN): trust},
        audits=True,
    )


def _proof_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"peer").digest())


def _hash(what: str, number: int) -> bytes:
    return hashlib.sha256(f"{what} {number}".encode()).digest()


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
