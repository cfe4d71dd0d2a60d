"""Counting answers: what is a reuse and by whom, what is left out, what a crash may lose."""

import asyncio

import pytest
from sqlalchemy import text

from cache.errors import DatabaseUnavailable
from cache.memory.counts import counts_since, held_by_issuer
from cache.outcome import Outcome, Reason
from cache.settings import PeerDefaults
from cache.storage.trust_tables import agreements
from cache.testcard import CARD
from cache.trust.trust import add_peer
from cache.verdict import SELF, Basis, Decision, Feed, Match, MatchKind, Verdict
from fediverdict.api import LookupItem
from fediverdict.look import Answer
from fediverdict.tally import CountTally, How, count, how

PEER, OTHER = "https://peer.example", "https://other.example"
DAY = 20_000
NOON = DAY * 86_400 + 43_200


def match(issuer, kind=MatchKind.EXACT):
    verdict = Verdict(issuer, b"x" * 32, Feed.CLEAN, Basis.MODEL, 1, 2)
    return Match(kind, verdict)


def answer(decision, reason, *issuers, scanned=False, seconds=0.1, **fingerprint):
    kind = MatchKind.EXACT if issuers else MatchKind.NONE
    outcome = Outcome(decision, reason, (), kind, 0, tuple(match(one) for one in issuers))
    item = LookupItem(**{"sha256": b"x" * 32, **fingerprint})
    return Answer(decision, "", item, outcome, scanned=scanned, seconds=seconds)


REUSED = answer(Decision.CLEAN, Reason.PEERS_CLEAR, PEER, OTHER)
SCANNED = answer(Decision.CLEAN, Reason.OWN_CLEAR, SELF, scanned=True, seconds=0.5)


@pytest.fixture
def peers(store):
    for origin in (PEER, OTHER):
        store.write_now(add_peer, origin, PeerDefaults(), now=1)


@pytest.fixture
def tally(store):
    return CountTally(store, clock=lambda: NOON, flush_seconds=0.01)


def stored(store):
    return {(one.what, one.origin): one.number for one in store.read_now(counts_since, DAY)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (SCANNED, How.SCANNED),
        (REUSED, How.REUSED),
        (answer(Decision.REVIEW, Reason.SUSPECTED, PEER), How.REUSED),
        (answer(Decision.UNKNOWN, Reason.NO_EVIDENCE), How.OPEN),
        (Answer(Decision.UNDECODABLE, "broken"), How.FAILED),
        (Answer(Decision.OVER_LIMIT, "too large"), How.FAILED),
    ],
)
def test_only_what_was_settled_without_the_model_is_a_reuse(given, expected):
    assert how(given) is expected


def test_a_reuse_counts_for_every_peer_whose_verdict_made_it():
    found = count(REUSED)
    assert found.answers == {
        "reused clean exact peers-clear": 1,
        "reused-by-peers": 1,
        "milliseconds-reused": 100,
    }
    assert found.peers == {("clean", PEER): 1, ("clean", OTHER): 1}
    assert found.clean_hits == {PEER: 1, OTHER: 1}


def test_a_flag_of_a_peer_is_no_clean_hit():
    found = count(answer(Decision.FLAGGED, Reason.PEERS_FLAG, PEER))
    assert found.peers == {("flagged", PEER): 1}
    assert found.clean_hits == {}


def test_our_own_verdict_reused_counts_for_no_peer():
    found = count(answer(Decision.CLEAN, Reason.OWN_CLEAR, SELF))
    assert found.answers["reused clean exact own-clear"] == 1
    assert found.peers == {}


def test_a_scan_counts_for_no_peer_even_where_peers_disagree():
    contradicted = answer(Decision.REVIEW, Reason.PEERS_CONTRADICT_OWN, PEER, SELF, scanned=True)
    assert count(contradicted).peers == {}


def test_the_test_card_is_not_counted_however_it_is_wrapped():
    card = answer(Decision.FLAGGED, Reason.PERSON_UPHELD, sha256=CARD.sha256)
    wrapped = answer(Decision.FLAGGED, Reason.PERSON_UPHELD, content=CARD.content)
    assert not count(card)
    assert not count(wrapped)


async def test_counts_are_written_within_seconds(store, peers, tally):
    tally.answered(REUSED)
    tally.answered(SCANNED)
    while len(stored(store)) < 7:
        await asyncio.sleep(0.01)
    assert stored(store)["scanned clean exact own-clear", None] == 1
    assert stored(store)["milliseconds-scanned", None] == 500
    assert stored(store)["clean", PEER] == 1
    tally.answered(SCANNED)
    while stored(store)["scanned clean exact own-clear", None] < 2:
        await asyncio.sleep(0.01)
    await tally.close()
    wanted = agreements.select().where(agreements.c.label == "")
    rows = store.read_now(lambda c: c.execute(wanted).all())
    assert [row.hits_since_false for row in rows] == [1, 1]


async def test_closing_writes_what_waits_at_once(store):
    tally = CountTally(store, clock=lambda: NOON, flush_seconds=3_600)
    for _ in range(1_000):
        tally.answered(SCANNED)
    assert stored(store) == {}
    await tally.close()
    assert stored(store)["scanned clean exact own-clear", None] == 1_000


async def test_what_comes_after_closing_is_not_counted_and_harms_nobody(store, tally):
    await tally.close()
    tally.answered(SCANNED)
    await tally.close()
    assert stored(store) == {}


async def test_each_answer_counts_on_its_own_day(store):
    now = [DAY * 86_400 - 1.0]
    tally = CountTally(store, clock=lambda: now[0], flush_seconds=3_600)
    tally.answered(SCANNED)
    now[0] += 1
    tally.answered(SCANNED)
    await tally.close()
    of_both = store.read_now(counts_since, DAY - 1)
    assert [one.number for one in of_both if one.what.startswith("scanned")] == [2]
    assert stored(store)["scanned clean exact own-clear", None] == 1


async def test_while_the_database_is_away_counts_wait(store, tally, monkeypatch):
    write, fails = store.write, [True]

    async def sometimes(*args, **kwargs):
        if fails[0]:
            raise DatabaseUnavailable("away")
        return await write(*args, **kwargs)

    monkeypatch.setattr(store, "write", sometimes)
    tally.answered(SCANNED)
    await asyncio.sleep(0.05)
    tally.answered(SCANNED)
    fails[0] = False
    while not stored(store):
        await asyncio.sleep(0.01)
    await tally.close()
    assert stored(store)["scanned clean exact own-clear", None] == 2


async def test_an_unforeseen_failure_does_not_end_counting(sqlite_store, tally_of):
    tally = tally_of(sqlite_store)
    sqlite_store.write_now(lambda c: c.execute(text("ALTER TABLE counts RENAME TO away")))
    tally.answered(SCANNED)
    failing = tally._flushing
    await asyncio.wait([failing])
    assert failing.exception() is not None
    sqlite_store.write_now(lambda c: c.execute(text("ALTER TABLE away RENAME TO counts")))
    tally.answered(SCANNED)
    await tally.close()
    assert stored(sqlite_store)["scanned clean exact own-clear", None] == 1


@pytest.fixture
def tally_of():
    return lambda store: CountTally(store, clock=lambda: NOON, flush_seconds=0.01)


async def test_two_processes_add_to_the_same_counts(store):
    tallies = [CountTally(store, clock=lambda: NOON, flush_seconds=3_600) for _ in range(2)]
    for tally in tallies:
        tally.answered(SCANNED)
    await asyncio.gather(*(tally.close() for tally in tallies))
    assert stored(store)["scanned clean exact own-clear", None] == 2


def test_what_is_held_of_an_issuer_is_none_at_first(store, peers):
    held = {one.origin: one for one in store.read_now(held_by_issuer)}
    assert held[PEER].verdicts == held[PEER].codes == 0
