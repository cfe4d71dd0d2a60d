"""The test card: flagged on every installation, seeded once, and named by no feed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from cache.decide import decide
from cache.feeds.publish import is_published, publish_finding, publish_verdict
from cache.index.near import NearIndex
from cache.judgement import Judgement
from cache.memory.lookup import evidence
from cache.memory.record import (
    NewFinding,
    pipeline_row,
    record_finding,
    record_image,
    record_verdict,
    settle_if_changed,
    settle_own_codes,
)
from cache.memory.seeding import is_seeded, seed_test_card
from cache.outcome import Reason, explain
from cache.rules import parse
from cache.storage.database import Store
from cache.storage.feed_tables import feed_rows
from cache.storage.tables import codes, findings
from cache.testcard import CARD, COPY_BITS, RULE, is_copy_of_test_card, is_test_card
from cache.verdict import Decision, Finding, MatchKind
from tests.cache.memory.test_record_and_lookup import BAD, GOOD, JUDGEMENT, NOW, own_verdict
from tests.cache.prints import DESCRIPTION, fingerprint, flipped
from tests.cache.reference import reference


@dataclass(frozen=True)
class Like:
    """A picture that looks like the card, at some distance."""

    sha256: bytes
    content: bytes | None
    pdq: bytes
    pdq_quality: int
    phash: bytes | None


def copy(bits=4, of=CARD.pdq):
    return Like(b"\x07" * 32, b"\x08" * 32, flipped(of, bits), 90, None)


def seeded(store, judgement=JUDGEMENT):
    return store.write_now(seed_test_card, judgement, now=NOW)


def decided(store, picture, judgement=JUDGEMENT, variants=(), *, can_scan=False):
    def look(connection):
        return evidence(connection, NearIndex(), fingerprint=picture, variants=variants)

    found = store.read_now(look)
    outcome = decide(found, judgement, now=NOW, can_scan=can_scan)
    assert outcome.decision is reference(found, judgement, now=NOW, can_scan=can_scan)
    return outcome


def rows_in_feeds(store):
    return store.read_now(lambda c: c.execute(select(func.count(feed_rows.c.id))).scalar_one())


def live_codes(store):
    count = select(func.count(codes.c.id)).where(~codes.c.withdrawn)
    return store.read_now(lambda c: c.execute(count).scalar_one())


def test_the_card_is_flagged_by_its_bytes_and_by_its_content(store):
    assert seeded(store)
    outcome = decided(store, CARD)
    assert (outcome.decision, outcome.reason) == (Decision.FLAGGED, Reason.PERSON_UPHELD)
    assert outcome.rules == (RULE,)
    rewrapped = decided(store, replace(CARD, sha256=b"\x01" * 32))
    assert (rewrapped.decision, rewrapped.kind) == (Decision.FLAGGED, MatchKind.CONTENT)


@pytest.mark.parametrize("turn", range(8))
def test_a_copy_of_the_card_is_up_for_review_however_it_is_turned(store, turn):
    seeded(store)
    near, far = copy(COPY_BITS), copy(COPY_BITS + 1)
    variants = [b"\xff" * 32] * 8
    variants[turn] = near.pdq
    outcome = decided(store, near, variants=variants)
    assert (outcome.decision, outcome.reason) == (Decision.REVIEW, Reason.NEAR_UPHELD)
    assert decided(store, far, can_scan=True).decision is Decision.UNKNOWN  # probable: scanned


@pytest.mark.parametrize(
    ("scores", "decision", "reason"),
    [
        (None, Decision.UNKNOWN, Reason.SUSPECTED),
        (GOOD, Decision.REVIEW, Reason.NEAR_UPHELD),
        (BAD, Decision.FLAGGED, Reason.OWN_FLAG),
    ],
)
def test_a_picture_made_to_look_like_the_card_is_not_spared_the_scan(
    store, scores, decision, reason
):
    """Everybody knows the card: its near code would else be a way around every scanner."""
    seeded(store)
    twin = copy()

    def scanned(connection):
        pipeline_row(connection, DESCRIPTION)
        record_image(connection, twin, now=NOW)
        record_verdict(connection, own_verdict(scores, twin), JUDGEMENT, now=NOW)

    if scores is not None:
        store.write_now(scanned)
    outcome = decided(store, twin, can_scan=True)
    assert (outcome.decision, outcome.reason) == (decision, reason)


def test_it_is_said_in_words_that_it_is_the_test_card(store):
    seeded(store)
    assert "every installation flags" in explain(decided(store, CARD))
    assert "near (4 bits) the installation test card" in explain(decided(store, copy()))


def test_seeding_twice_changes_nothing(store):
    assert not store.read_now(is_seeded)
    assert seeded(store)
    assert store.read_now(is_seeded)
    assert not seeded(store)
    count = select(func.count(findings.c.id))
    assert store.read_now(lambda c: c.execute(count).scalar_one()) == 1
    assert live_codes(store) == 1


def test_processes_that_start_together_seed_it_once(database_url):
    stores = [Store.open(database_url) for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as threads:
        did = list(threads.map(seeded, stores))
    assert sorted(did) == [False, False, False, True]
    assert live_codes(stores[0]) == 1
    for one in stores:
        one.close()


def test_a_card_that_was_scanned_before_the_upgrade_is_seeded_as_well(store):
    def scanned(connection):
        pipeline_row(connection, DESCRIPTION)
        record_image(connection, CARD, now=NOW)
        record_verdict(connection, own_verdict(GOOD, CARD), JUDGEMENT, now=NOW)

    store.write_now(scanned)
    assert decided(store, CARD).decision is Decision.CLEAN
    seeded(store)
    assert decided(store, CARD).decision is Decision.FLAGGED


def test_the_card_stays_flagged_when_rules_and_thresholds_change(store):
    seeded(store)
    changed = Judgement({"other": parse("test-pattern")}, JUDGEMENT.pipelines)
    store.write_now(settle_own_codes, changed, now=NOW)
    assert store.write_now(settle_if_changed, changed, now=NOW)
    assert decided(store, CARD, changed).decision is Decision.FLAGGED
    assert decided(store, copy(), changed).decision is Decision.REVIEW


def test_it_stays_in_the_near_index_though_a_scan_of_ours_clears_it(store):
    seeded(store)

    def scanned(connection):
        pipeline_row(connection, DESCRIPTION)
        record_verdict(connection, own_verdict(GOOD, CARD), JUDGEMENT, now=NOW)

    store.write_now(scanned)
    store.write_now(settle_own_codes, JUDGEMENT, now=NOW)
    assert live_codes(store) == 1
    assert decided(store, copy()).decision is Decision.REVIEW


def test_a_person_who_dismisses_it_is_not_overruled_at_the_next_start(store):
    seeded(store)
    dismissed = NewFinding(CARD.sha256, RULE, Finding.DISMISSED, "no tests here", "admin")
    store.write_now(record_finding, dismissed, JUDGEMENT, now=NOW + 1)
    assert not seeded(store)
    assert decided(store, CARD).decision is Decision.UNKNOWN
    assert live_codes(store) == 0


REWRAPPED = replace(CARD, sha256=b"\x01" * 32)
COPIES = [copy(COPY_BITS), copy(3, CARD.variants[5])]


@pytest.mark.parametrize(
    ("scores", "picture"),
    [(BAD, CARD), (GOOD, CARD), (BAD, REWRAPPED), (GOOD, REWRAPPED), *((GOOD, c) for c in COPIES)],
)
def test_no_verdict_on_the_card_enters_a_feed_and_no_copy_of_it_is_called_clean(
    store, scores, picture
):
    seeded(store)
    verdict = own_verdict(scores, picture)

    def scanned(connection):
        pipeline_row(connection, DESCRIPTION)
        record_image(connection, picture, now=NOW)
        record_verdict(connection, verdict, JUDGEMENT, now=NOW)
        publish_verdict(connection, verdict, JUDGEMENT, now=NOW)

    store.write_now(scanned)
    assert rows_in_feeds(store) == 0
    assert store.read_now(is_published, verdict, JUDGEMENT, now=NOW)  # so that nobody asks again


@pytest.mark.parametrize("picture", [copy(COPY_BITS + 1), copy(0), *COPIES])
def test_a_flagged_picture_drawn_near_the_card_is_published_as_any_other(store, picture):
    def scanned(connection):
        pipeline_row(connection, DESCRIPTION)
        record_image(connection, picture, now=NOW)
        verdict = own_verdict(BAD, picture)
        record_verdict(connection, verdict, JUDGEMENT, now=NOW)
        publish_verdict(connection, verdict, JUDGEMENT, now=NOW)

    store.write_now(scanned)
    assert rows_in_feeds(store) == 1


def upheld_and_published(store, picture, rule):
    def act(connection):
        record_image(connection, picture, now=NOW)
        found = NewFinding(picture.sha256, rule, Finding.UPHELD, "seen", "admin")
        record_finding(connection, found, JUDGEMENT, now=NOW)
        publish_finding(connection, picture.sha256, rule, JUDGEMENT, now=NOW)

    store.write_now(act)
    return rows_in_feeds(store)


@pytest.mark.parametrize("rule", [RULE, "pattern"])
@pytest.mark.parametrize("picture", [CARD, replace(CARD, sha256=b"\x01" * 32)])
def test_no_persons_finding_on_the_card_enters_a_feed(store, rule, picture):
    seeded(store)
    assert upheld_and_published(store, picture, rule) == 0


def test_a_copy_upheld_as_the_test_card_stays_here_and_upheld_as_abuse_does_not(store):
    seeded(store)
    assert upheld_and_published(store, copy(), RULE) == 0
    assert upheld_and_published(store, copy(), "pattern") == 1


def test_the_card_is_known_by_bytes_or_content_and_absent_equals_neither():
    assert is_test_card(CARD.sha256)
    assert is_test_card(b"\x00" * 32, CARD.content)
    other = fingerprint("other")
    assert not is_test_card(other.sha256, other.content)
    assert not is_test_card(None, None)
    assert not is_copy_of_test_card(None)


@given(st.integers(0, 7), st.sets(st.integers(0, 255), max_size=40))
def test_a_copy_is_known_up_to_31_bits_from_any_turn_of_the_card(turn, bits):
    code = int.from_bytes(CARD.variants[turn]) ^ sum(1 << bit for bit in bits)
    nearest = min((code ^ int.from_bytes(one)).bit_count() for one in CARD.variants)
    assert is_copy_of_test_card(code.to_bytes(32)) is (nearest <= COPY_BITS)
