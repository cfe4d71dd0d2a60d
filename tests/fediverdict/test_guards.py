"""The guards as a server meets them: through the judge, its scanner, and the command line."""

import asyncio
import io
import json

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from cache.guards.allow import allow
from cache.guards.guards import TableGuards
from cache.guards.hot import list_held
from cache.index.near import MAX_PEER_HITS
from cache.judgement import NearClean, PeerState
from cache.memory.record import NewFinding, record_finding, record_image
from cache.outcome import Reason
from cache.storage.case_tables import held_codes
from cache.storage.database import Store
from cache.storage.tables import codes
from cache.trust.notices import unread
from cache.trust.panic import panic
from cache.trust.trust import load_trust, set_state
from cache.verdict import Decision, Feed, Finding
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.cache.guards.test_blast import act
from tests.cache.guards.test_guards import BAD, GOOD, theirs
from tests.cache.pictures import A, B
from tests.cache.prints import THEIRS, fingerprint, flipped
from tests.fakes.scanner import FakeScanner

NOW = 1_800_000_000
LIMIT = 3
CONFIG = Config.model_validate(
    {
        "decide": {"hot_hash_pictures": LIMIT},
        "trust": {"audit": "off"},
        "pipelines": {THEIRS: {"thresholds": {"test-pattern": 5_000}}},
        "rules": {"pattern": "test-pattern"},
    }
)
GREEN, RED = (60, 160, 60), (200, 60, 60)


def png(colour, dot=0, seed=1):
    """A picture of that colour; those of one seed are near each other, and differ by a dot."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(-55, 55, (16, 16, 1)).repeat(6, 0).repeat(6, 1)
    pixels = np.clip(np.array(colour) + blocks, 0, 255).astype("uint8")
    pixels[dot // 96, dot % 96] = 0
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


class Parts:
    """A judge with its guards over a store; what it queues is written when `look` returns."""

    def __init__(self, store, config=CONFIG):
        self.store, self.clock, self.scanner = store, lambda: NOW, FakeScanner()
        judgements = Judgements(
            config, load_policy("test"), clock=self.clock, later=store.write_later
        )
        self.guards = TableGuards(config.decide, store.write_later, self.clock)
        pool = DecodePool(config.scanner, Limits())
        self.judge = Judge(
            store, judgements, pool, self.scanner, clock=self.clock, guards=self.guards
        )

    async def look(self, data):
        found = await self.judge.look(data, sha256_of(data))
        await self.store.write(lambda _: None)  # the writer has passed what was queued
        return found.outcome

    async def scanned(self, data):
        answer = await self.judge.judge(data)
        await self.store.write(lambda _: None)
        return answer

    async def pdq(self, data):
        look = await self.judge.look(data, sha256_of(data))
        return look.fingerprint


@pytest.fixture
async def parts(store, monkeypatch):
    monkeypatch.setattr("cache.guards.guards.TABLE_SECONDS", -1.0)
    monkeypatch.setattr("fediverdict.judgement.TABLE_SECONDS", -1.0)
    made = Parts(store)
    yield made
    made.judge.close()


def uphold(store, judge, data, finding=Finding.UPHELD):
    judgement = store.read_now(judge.judgements.current)
    new = NewFinding(sha256_of(data), "pattern", finding, "seen", "an admin")
    store.write_now(record_finding, new, judgement, now=NOW)


def add(store, pdq):
    store.write_now(allow, pdq, reason="a meme", allowed_by="an admin", now=NOW, limit=10)


async def test_a_template_is_reviewed_until_it_is_hot_and_then_only_scanned(parts, store):
    """The flagged picture is red; its green copies are near it, and harmless to the scanner.

    Its own scan is the first that counts.
    """
    await parts.scanned(png(RED))
    for dot in range(1, LIMIT + 1):
        assert store.read_now(list_held) == []
        assert (await parts.look(png(GREEN, dot))).reason is Reason.NEAR_OWN_FLAG
    outcome = await parts.look(png(GREEN, 1))
    assert (outcome.decision, outcome.reason) == (Decision.UNKNOWN, Reason.SUSPECTED)
    assert [one.pictures for one in store.read_now(list_held)] == [LIMIT + 1]
    assert [notice.kind for notice in store.read_now(unread)] == ["hot-hash"]
    scans = len(parts.scanner.batches)
    answer = await parts.scanned(png(GREEN, 1))
    assert (answer.decision, answer.scanned) == (Decision.CLEAN, True)
    assert len(parts.scanner.batches) == scans + 1


async def test_who_heats_a_code_gains_a_scan_and_nothing_else(parts, store):
    """The heated code's true copies are found by the scanner; exact ones need none."""
    await parts.scanned(png(RED))
    for dot in range(1, LIMIT + 2):
        await parts.look(png(GREEN, dot))
    assert store.read_now(list_held)
    answer = await parts.scanned(png(RED, 50))
    assert (answer.decision, answer.scanned) == (Decision.FLAGGED, True)
    assert (await parts.look(png(RED))).decision is Decision.FLAGGED


async def test_heating_an_upheld_code_gains_nothing_at_all(parts, store):
    await parts.scanned(png(RED))
    uphold(store, parts.judge, png(RED))
    for dot in range(1, 2 * LIMIT + 4):
        assert (await parts.look(png(GREEN, dot))).reason is Reason.NEAR_UPHELD
    assert store.read_now(list_held) == []
    assert len(store.read_now(unread)) == 1  # told once, though hot twice


async def test_upholding_a_held_code_makes_it_act_again(parts, store):
    await parts.scanned(png(RED))
    for dot in range(1, LIMIT + 2):
        await parts.look(png(GREEN, dot))
    assert (await parts.look(png(GREEN, 1))).decision is Decision.UNKNOWN
    uphold(store, parts.judge, png(RED))
    assert (await parts.look(png(GREEN, 1))).reason is Reason.NEAR_UPHELD


async def test_what_is_held_is_held_after_a_restart(parts, store):
    await parts.scanned(png(RED))
    for dot in range(1, LIMIT + 2):
        await parts.look(png(GREEN, dot))
    fresh = Parts(store)
    assert (await fresh.look(png(GREEN, 1))).decision is Decision.UNKNOWN
    fresh.judge.close()


async def test_looking_at_one_picture_many_times_heats_nothing(parts, store):
    await parts.scanned(png(RED))
    for _ in range(5 * LIMIT):
        await parts.look(png(GREEN, 1))
    assert store.read_now(list_held) == []


async def test_many_pictures_at_once_hold_a_code_once(parts, store):
    await parts.scanned(png(RED))
    await asyncio.gather(*(parts.look(png(GREEN, dot)) for dot in range(1, 12)))
    assert len(store.read_now(list_held)) == 1
    assert len(store.read_now(unread)) == 1


async def test_an_allowed_picture_is_scanned_and_the_scan_decides(parts, store):
    await parts.scanned(png(RED))
    add(store, (await parts.pdq(png(GREEN))).pdq)
    assert (await parts.look(png(GREEN, 1))).decision is Decision.UNKNOWN
    assert (await parts.scanned(png(GREEN, 1))).decision is Decision.CLEAN
    assert (await parts.scanned(png(RED, 2))).decision is Decision.FLAGGED


async def test_an_entry_on_an_upheld_picture_spares_its_copies_nothing(parts, store):
    await parts.scanned(png(RED))
    uphold(store, parts.judge, png(RED))
    add(store, (await parts.pdq(png(RED))).pdq)
    assert (await parts.look(png(GREEN, 1))).reason is Reason.NEAR_UPHELD
    assert (await parts.look(png(RED))).reason is Reason.PERSON_UPHELD


async def test_a_search_that_met_its_limit_is_never_clean_by_a_peer(parts, store):
    """So many codes of a peer lie around the picture that some may be left out: a scan has to say.

    An entry of the allow-list there changes nothing.
    """
    found = await parts.pdq(png(GREEN))
    around = [fingerprint(f"{i}", pdq=flipped(found.pdq, 2)) for i in range(MAX_PEER_HITS)]
    queried = fingerprint("the picture", sha256=found.sha256, content=found.content, pdq=found.pdq)
    store.write_now(theirs, [queried], GOOD, A, Feed.CLEAN)
    assert (await parts.look(png(GREEN))).reason is Reason.PEERS_CLEAR
    store.write_now(theirs, around, GOOD, B)  # they flag nothing: only their number speaks
    assert (await parts.look(png(GREEN))).decision is Decision.UNKNOWN
    add(store, found.pdq)
    assert (await parts.look(png(GREEN))).decision is Decision.UNKNOWN


def flag_by_two(store, *pictures):
    for origin in (A, B):
        store.write_now(theirs, list(pictures), BAD, origin)


@pytest.mark.parametrize(
    ("actions", "decision"), [(9, Decision.FLAGGED), (10, Decision.REVIEW)], ids=["at", "past"]
)
async def test_past_the_blast_radius_flags_of_peers_ask_for_review(parts, store, actions, decision):
    picture = await parts.pdq(png(GREEN))
    flag_by_two(store, fingerprint("it", sha256=picture.sha256, content=picture.content))
    assert (await parts.look(png(GREEN))).decision is Decision.FLAGGED
    issuer_id = store.write_now(theirs, [], BAD, A)
    store.write_now(act, issuer_id, actions, added=NOW)
    outcome = await parts.look(png(GREEN))
    assert outcome.decision is decision
    assert (outcome.reason is Reason.BLAST_RADIUS) is (decision is Decision.REVIEW)
    told = ["blast-radius"] if decision is Decision.REVIEW else []
    assert [notice.kind for notice in store.read_now(unread)] == told
    await parts.look(png(GREEN))
    assert len(store.read_now(unread)) == len(told)


async def test_the_blast_radius_ends_with_the_hour_though_nothing_is_written(parts, store):
    picture = await parts.pdq(png(GREEN))
    flag_by_two(store, fingerprint("it", sha256=picture.sha256, content=picture.content))
    issuer_id = store.write_now(theirs, [], BAD, A)
    store.write_now(act, issuer_id, 10, added=NOW - 3_599)
    judgements = parts.judge.judgements
    assert store.read_now(judgements.current).tripped == {A}
    judgements._clock = lambda: NOW + 1
    assert store.read_now(judgements.current).tripped == frozenset()


async def test_near_clean_and_its_audits_reach_the_judgement(store):
    config = Config.model_validate({"peers": {"defaults": {"audit_rate": 0.3}}})
    judgement = store.read_now(Judgements(config, load_policy("test")).current)
    assert judgement.near_clean is NearClean.OFF
    assert judgement.near_clean_audit == 1.0
    judgement = store.read_now(Judgements(Config(), load_policy("test")).current)
    assert judgement.near_clean_audit == pytest.approx(0.25)


async def test_after_a_panic_in_another_process_no_flag_of_a_peer_counts(
    parts, store, database_url
):
    picture = await parts.pdq(png(GREEN))
    flag_by_two(store, fingerprint("it", sha256=picture.sha256, content=picture.content))
    assert (await parts.look(png(GREEN))).decision is Decision.FLAGGED
    other = Store.open(database_url)
    other.write_now(panic, NOW)
    other.close()
    assert (await parts.look(png(GREEN))).reason is Reason.NO_EVIDENCE


# --- the command line ------------------------------------------------------------------------
@pytest.fixture
def opened(config):
    store = Store.open(f"sqlite:///{config.parent / 'fediverdict.sqlite3'}")
    yield store
    store.close()


def test_an_entry_is_added_by_picture_or_pdq_listed_and_removed(config, run, tmp_path):
    picture = tmp_path / "meme.png"
    picture.write_bytes(png(GREEN))
    done = run("allow", "add", picture, "--reason", "a meme", "--json", config=config)
    assert done.code == 0, done.err
    entry = json.loads(done.out)
    assert (entry["reason"], entry["codes"], len(entry["pdq"])) == ("a meme", [], 64)
    again = run("allow", "add", entry["pdq"], "--reason", "the same", "--json", config=config)
    assert json.loads(again.out)["id"] == entry["id"]
    listed = json.loads(run("allow", "list", "--json", config=config).out)
    assert [one["reason"] for one in listed] == ["a meme"]
    assert entry["pdq"] in run("allow", "list", config=config).out
    gone = run("allow", "remove", entry["id"], "--json", config=config)
    assert (gone.code, json.loads(gone.out)["id"]) == (0, entry["id"])
    assert run("allow", "remove", entry["id"], config=config).code == 3
    assert run("allow", "remove", 2**70, config=config).code == 2
    assert "empty" in run("allow", "list", config=config).out


def test_the_sha256_of_a_known_picture_stands_for_its_pdq(config, run, opened):
    known = fingerprint("known")
    opened.write_now(record_image, known, now=NOW)
    done = run("allow", "add", known.sha256.hex(), "--reason", "x", "--json", config=config)
    assert json.loads(done.out)["pdq"] == known.pdq.hex()


@pytest.mark.parametrize("what", ["flat", "no picture", "nothing there"])
def test_what_cannot_be_matched_is_refused_with_a_sentence(config, run, tmp_path, what):
    path = tmp_path / "it.png"
    if what == "flat":
        Image.new("RGB", (96, 96), (9, 9, 9)).save(path)
    elif what == "no picture":
        path.write_bytes(b"hello")
    done = run("allow", "add", path, "--reason", "x", config=config)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize(("characters", "code"), [(0, 2), (1, 0), (2_000, 0), (2_001, 2)])
def test_a_reason_has_some_characters_and_not_too_many(config, run, characters, code):
    pdq = fingerprint("one").pdq.hex()
    assert run("allow", "add", pdq, "--reason", "x" * characters, config=config).code == code


def test_adding_an_entry_tells_which_flagged_codes_are_near(config, run, opened):
    near = fingerprint("near", pdq=flipped(fingerprint("meme").pdq, 5))
    opened.write_now(theirs, [near], BAD)
    pdq = fingerprint("meme").pdq.hex()
    done = run("allow", "add", pdq, "--reason", "x", config=config)
    assert near.sha256.hex() in done.out
    assert f"5 bits, of {A}" in done.out


def test_the_allow_list_of_the_command_ends_at_its_setting(config, run):
    config.write_text(config.read_text() + "[decide]\nallow_entries = 1\n")
    for name, code in (("one", 0), ("two", 3)):
        pdq = fingerprint(name).pdq.hex()
        done = run("allow", "add", pdq, "--reason", "x", config=config)
        assert done.code == code
    assert "decide.allow_entries" in done.err


def test_held_codes_are_listed_and_released(config, run, opened):
    near = fingerprint("near")
    issuer_id = opened.write_now(theirs, [near], BAD)
    [image_id] = opened.read_now(lambda c: c.execute(select(codes.c.image_id)).scalars().all())
    values = {"image_id": image_id, "issuer_id": issuer_id, "pictures": 101, "held": NOW}
    opened.write_now(lambda c: c.execute(held_codes.insert().values(**values)) and None)
    done = run("codes", "held", "--json", config=config)
    assert (done.code, json.loads(done.out)[0]["sha256"]) == (1, near.sha256.hex())
    assert A in run("codes", "held", config=config).out
    assert run("codes", "release", near.sha256.hex(), config=config).code == 0
    assert run("codes", "held", config=config).code == 0
    assert A in run("codes", "held", "--released", config=config).out
    assert run("codes", "release", near.sha256.hex(), config=config).code == 3
    assert run("codes", "release", "abc", config=config).code == 2


def test_panic_puts_every_peer_to_observed_drops_codes_and_lists_cases(config, run, opened):
    issuer_id = opened.write_now(theirs, [fingerprint("near")], BAD)
    opened.write_now(act, issuer_id, 2)
    opened.write_now(theirs, [], BAD, B)
    opened.write_now(set_state, B, PeerState.SUSPENDED)
    listed = json.loads(run("panic", "--list", "--json", config=config).out)
    assert (listed["peers"], len(listed["cases"])) == ([], 2)
    done = json.loads(run("panic", "--yes", "--json", config=config).out)
    assert [(one["origin"], one["flag_weight"]) for one in done["peers"]] == [(A, 100)]
    assert [one["peers"] for one in done["cases"]] == [[A], [A]]
    states = {origin: trust.state for origin, trust in opened.read_now(load_trust).items()}
    assert states == {A: PeerState.OBSERVED, B: PeerState.SUSPENDED}
    live = select(codes.c.id).where(codes.c.issuer_id == issuer_id, ~codes.c.withdrawn)
    assert opened.read_now(lambda c: c.execute(live).all()) == []
    again = json.loads(run("panic", "--yes", "--json", config=config).out)
    assert (again["peers"], len(again["cases"])) == ([], 2)
    assert "cases decide" in run("panic", "--yes", config=config).out


def test_panic_asks_first(config, run, opened, monkeypatch):
    opened.write_now(theirs, [], BAD)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("panic", config=config).code == 3
    assert opened.read_now(load_trust)[A].state is PeerState.TRUSTED
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run("panic", config=config).code == 0
    assert opened.read_now(load_trust)[A].state is PeerState.OBSERVED
