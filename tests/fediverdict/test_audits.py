"""A peer's clean hit that is audited is scanned, compared and counted, through the judge."""

import time

import pytest

from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.record import pipeline_row
from cache.settings import PeerDefaults
from cache.trust.comparing import load_record
from cache.trust.notices import unread
from cache.trust.trust import add_peer, load_trust, set_trust
from cache.verdict import Basis, Decision, Feed, Verdict
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner
from tests.fediverdict.test_judge import GREEN, RED, png

PEER = "https://peer.example"
ALWAYS, NEVER = 1.0, 0.0
GOOD = {"test-pattern": 50, "shape": 10}


@pytest.fixture
def scanner():
    return FakeScanner()


@pytest.fixture
async def judge(store, scanner):
    config = Config()
    judgements = Judgements(config, load_policy("test"))
    one = Judge(store, judgements, DecodePool(config.scanner, Limits()), scanner)
    await one.judge(png(GREEN, seed=99))  # so that the pipeline is ours
    yield one
    one.close()


def trust_peer(store, rate):
    """Follow a peer whose clean verdicts are trusted, and audited at this rate at least."""

    def write(connection):
        issuer_id = add_peer(connection, PEER, PeerDefaults(), now=1)
        trust = Trust(clean=100, flag=100, audit_floor=rate, state=PeerState.TRUSTED)
        set_trust(connection, PEER, trust)
        return issuer_id

    return store.write_now(write)


def call_clean(store, issuer_id, scanner, *pictures):
    """Let the peer call these pictures clean."""
    classifier, now = scanner.classifier, int(time.time())
    rows = [
        Verdict(
            *(PEER, sha256_of(data), Feed.CLEAN, Basis.MODEL, now, now + 9_999),
            pipeline=classifier.pipeline_id,
            scores=GOOD,
            epoch="e",
            seq=seq,
        )
        for seq, data in enumerate(pictures, 1)
    ]

    def write(connection):
        pipeline_row(connection, classifier.pipeline)
        record_attestations(
            connection, issuer_id=issuer_id, feed=Feed.CLEAN, follow_id=1, rows=rows, now=now
        )

    store.write_now(write)


def record(store, issuer_id):
    return store.read_now(load_record, issuer_id).any


async def test_an_audited_hit_is_scanned_and_counted_as_agreed(judge, store, scanner):
    issuer_id = trust_peer(store, ALWAYS)
    call_clean(store, issuer_id, scanner, png(GREEN))
    answer = await judge.judge(png(GREEN))
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, True)
    counts = record(store, issuer_id)
    assert (counts.clean_compared, counts.clean_false) == (1, 0)
    await judge.judge(png(GREEN))
    assert record(store, issuer_id).clean_compared == 1


async def test_a_false_clean_is_found_by_the_audit_told_and_ends_the_weight_at_the_second(
    judge, store, scanner
):
    issuer_id = trust_peer(store, ALWAYS)
    bad, worse = png(RED, 1), png(RED, 2)
    call_clean(store, issuer_id, scanner, bad, worse)
    assert (await judge.judge(bad)).decision is Decision.FLAGGED
    assert load(store).clean == 100
    assert [notice.kind for notice in store.read_now(unread)] == ["false-clean"]
    assert (await judge.judge(worse)).decision is Decision.FLAGGED
    assert load(store).clean == 0
    assert "demoted" in [notice.kind for notice in store.read_now(unread)]


def load(store):
    return store.read_now(load_trust)[PEER]


async def test_what_is_not_audited_is_reused_without_a_scan_once_the_peer_has_a_record(
    judge, store, scanner
):
    issuer_id = trust_peer(store, NEVER)
    pictures = [png(GREEN, seed) for seed in range(1, 31)]
    call_clean(store, issuer_id, scanner, *pictures)
    answers = [await judge.judge(data) for data in pictures]
    scanned = sum(answer.scanned for answer in answers)
    assert all(answer.decision is Decision.CLEAN for answer in answers)
    assert record(store, issuer_id).clean_compared == scanned
    assert 0 < scanned <= 30  # a new peer is audited at 20 / (20 + n)
