"""A peer that is trusted here, and what it says of pictures, for tests of the judge."""

import time

from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.provisional import record_provisional
from cache.memory.record import pipeline_row
from cache.settings import PeerDefaults
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Verdict
from scanner.decoding.fingerprint import sha256_of
from tests.fakes.scanner import RedClassifier

PEER = "https://peer.example"
GOOD = {"test-pattern": 50, "shape": 10}
BAD = {"test-pattern": 9_900, "shape": 10}


def trust_peer(store, **weights):
    """Trust the peer with weight 1 for clean, or as told."""

    def write(connection):
        issuer_id = add_peer(connection, PEER, PeerDefaults(), now=1)
        terms = {"clean": 100, "flag": 100} | weights
        set_trust(connection, PEER, Trust(**terms, state=PeerState.TRUSTED))
        return issuer_id

    return store.write_now(write)


def verdict(data, scores=GOOD, feed=Feed.CLEAN, seq=None):
    """What the peer says of a picture."""
    now = int(time.time())
    return Verdict(
        *(PEER, sha256_of(data), feed, Basis.MODEL, now, now + 9_999),
        pipeline=RedClassifier().pipeline_id,
        scores=scores,
        epoch=seq and "e",
        seq=seq,
    )


def answered(store, issuer_id, row):
    """Let the peer have answered so when it was asked."""
    _store(store, record_provisional, issuer_id, row.feed, row=row)


def paged(store, issuer_id, *rows):
    """Let a page of the peer bring rows."""
    _store(store, record_attestations, issuer_id, rows[0].feed, rows=rows)


def _store(store, record, issuer_id, feed, **what):
    def write(connection):
        pipeline_row(connection, RedClassifier().pipeline)
        record(
            connection, issuer_id=issuer_id, feed=feed, follow_id=1, now=int(time.time()), **what
        )

    store.write_now(write)


class FakeAsker:
    """Knows one peer; answers what a test says, and counts."""

    def __init__(self):
        self.asked = []  # (origin, sha256)
        self.answer = None  # called when the peer is asked; gives whether a verdict came
        self.peers = {PEER}

    async def follows(self, origin):
        return origin in self.peers

    async def ask(self, origin, sha256):
        self.asked.append((origin, sha256))
        return bool(self.answer and await self.answer())
