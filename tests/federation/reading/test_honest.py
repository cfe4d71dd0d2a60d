"""An honest issuer is never accused, whatever happens to it and its documents; all is read at last.

The issuer publishes, takes back, rotates keys, merges pages, makes snapshots and drops its front;
it is restored from any backup and cloned, with a new epoch each time. Everything that it ever
signed reaches the reader in any order and number. The reader pulls now and then, a few documents
at a time.
"""

import asyncio
import copy
import dataclasses
import secrets
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from cache.settings import PeerDefaults
from cache.storage.feed_tables import follows
from cache.storage.peer_tables import evidence
from cache.storage.tables import images, verdicts
from cache.trust.trust import add_peer
from cache.verdict import Basis, Feed
from federation.actors import actor
from federation.actors.remote_actor import parse_actor
from federation.addresses import feed_url
from federation.client import AnsweredWith
from federation.errors import BadPage
from federation.origin import Origin
from federation.reading.applying import apply_merged, apply_page
from federation.reading.catching_up import CatchingUp, Turn
from federation.reading.fetching import Budget, Manifest
from federation.reading.revoking import withdraw_revoked
from federation.reading.states import feed_states, note_head
from federation.reading.stories import read_evidence, resume
from federation.settings import FederationSettings
from federation.signing import keys
from federation.wire import proof
from federation.wire.chain import Step
from federation.wire.feed_head import PageName, seal_head, verify_head
from federation.wire.merged import seal_merged, verify_merged
from federation.wire.outbox import OutboxHead
from federation.wire.page import PageHead, digest, seal_page, verify_page
from federation.wire.page_head import EpochEnd
from federation.wire.row import Attestation, Retraction
from federation.wire.snapshot import (
    Snapshot,
    build_part,
    name_part,
    parse_part,
    seal_manifest,
    verify_manifest,
)
from tests.federation.samples import DESCRIPTION, NOW, PIPELINE, RULES, other_rsa_key, picture

BASE = Origin("https://issuer.example")
FEED_ID = feed_url(BASE, Feed.CLEAN)
RUN_PAGES = 3
PICTURES = "abcde"


class Issuer:
    """An honest one; `state` is its database, of which backups are copies."""

    def __init__(self):
        self.now = NOW
        self.keys = [keys.generate_ed25519()]
        self.state: dict[str, Any] = {
            "epochs": [],
            "live": {},
            "snapshot": None,
            "dropped": 0,
            "merged": 0,
        }
        self.backups = []
        self.signed = []  # every page ever
        self.begin()

    def actor(self):
        shown = [actor.OwnProofKey(key.public_key()) for key in self.keys]
        document = actor.build_feed(BASE, Feed.CLEAN, other_rsa_key().public_key(), shown)
        return parse_actor(document, FEED_ID)

    def key(self):
        return self.keys[-1], keys.proof_key_id(FEED_ID, self.keys[-1].public_key())

    @property
    def epochs(self):
        return self.state["epochs"]  # (epoch, pages, end of the epoch before)

    def begin(self):
        """Begin an epoch that names the last one with pages."""
        end = None
        if self.epochs:
            epoch, pages, before = self.epochs[-1]
            end = EpochEnd(epoch, len(pages)) if pages else before
            if not pages:
                self.epochs.pop()
        self.epochs.append((secrets.token_hex(16), [], end))
        self.state |= {"dropped": 0, "merged": 0}

    def publish(self, said):
        epoch, pages, end = self.epochs[-1]
        first = 1 + sum(page["count"] for page in pages)
        rows: list[Attestation | Retraction] = []
        for name in said:
            live, place = self.state["live"], (epoch, first + len(rows))
            if name.isupper() and name.lower() in live:
                rows.append(Retraction(*live.pop(name.lower())))
            elif name.islower():
                rows.append(self.row(name))
                live[name] = place
        if not rows:
            return
        head = PageHead(
            *(FEED_ID, Feed.CLEAN, epoch, len(pages) + 1, first, self.now),
            digest(pages[-1]) if pages else None,
            None if pages else end,
        )
        pages.append(seal_page(head, rows, {PIPELINE: DESCRIPTION}, RULES, *self.key()))
        self.signed.append(pages[-1])

    def row(self, name):
        return Attestation(
            *(picture(name), Basis.MODEL, self.now, self.now + 10**7),
            pipeline=PIPELINE,
            scores={"sexual": 12},
        )

    def snapshot(self):
        epoch, pages, _ = self.epochs[-1]
        ages = {one[0]: age for age, one in enumerate(self.epochs)}
        places = sorted((ages[place[0]], place, name) for name, place in self.state["live"].items())
        bare = Snapshot(
            *(FEED_ID, Feed.CLEAN, epoch, len(pages), digest(pages[-1])),
            pages[-1]["firstSeq"] + pages[-1]["count"],
            self.now,
            (),
            tuple(EpochEnd(one[0], len(one[1])) for one in self.epochs[:-1]),
        )
        rows = [(place, self.row(name)) for _, place, name in places]
        parts = [
            build_part(
                bare, number, rows[2 * number - 2 : 2 * number], {PIPELINE: DESCRIPTION}, RULES
            )
            for number in range(1, (len(rows) + 1) // 2 + 1)
        ]
        whole = Snapshot(
            *(bare.feed_id, bare.feed, bare.epoch, bare.through_page, bare.digest),
            *(bare.next_seq, bare.published, tuple(map(name_part, parts)), bare.previous_epochs),
        )
        self.state["snapshot"] = (seal_manifest(whole, *self.key()), parts)

    def back_up(self):
        self.backups.append(copy.deepcopy(self.state))

    def restore(self, number):
        self.state = copy.deepcopy(self.backups[number % len(self.backups)])
        self.begin()

    def head(self, page):
        name = PageName(FEED_ID, page["epoch"], page["page"], digest(page), NOW)
        return verify_head(seal_head(name, *self.key()), self.actor(), self.now)

    def pages(self, epoch):
        return next((one[1] for one in self.epochs if one[0] == epoch), [])


class Wire:
    """What a `Fetcher` fetches, straight from the issuer."""

    def __init__(self, issuer, documents):
        self.issuer, self.actor = issuer, issuer.actor()
        self.budget = Budget(documents, 10**9, asyncio.get_running_loop().time() + 60)

    async def outbox(self):
        self.budget.spend(1)
        state = self.issuer.state
        epoch, pages, end = self.issuer.epochs[-1]
        if not pages and end is None:
            return None
        if not pages:
            pages = self.issuer.pages(end.epoch)
            return OutboxHead(end.epoch, 1, end.page, digest(pages[-1]))
        return OutboxHead(
            *(epoch, 1 + state["dropped"], len(pages), digest(pages[-1])),
            merged_through=state["merged"],
            has_snapshot=state["snapshot"] is not None,
            signed_head=self.issuer.head(pages[-1]).document,
        )

    async def head(self, document):
        return verify_head(document, self.actor, self.issuer.now)

    async def page(self, epoch, page):
        self.budget.spend(1)
        pages = self.issuer.pages(epoch)
        if epoch == self.issuer.epochs[-1][0] and page <= self.issuer.state["dropped"]:
            raise AnsweredWith("dropped", 410)
        if page > len(pages):
            raise AnsweredWith("missing", 404)
        return verify_page(pages[page - 1], self.actor, self.issuer.now)

    async def merged(self, epoch, first, _last):
        self.budget.spend(1)
        is_newest = epoch == self.issuer.epochs[-1][0]
        through = self.issuer.state["merged"] if is_newest else 0
        if first > through or first <= self.issuer.state["dropped"]:
            return None
        start = first - 1 - (first - 1) % RUN_PAGES
        pages = self.issuer.pages(epoch)[start : min(start + RUN_PAGES, through)]
        return verify_merged(seal_merged(pages, *self.issuer.key()), self.actor, self.issuer.now)

    async def manifest(self):
        self.budget.spend(1)
        return await self.verified(self.issuer.state["snapshot"][0])

    async def verified(self, document):
        return Manifest(verify_manifest(document, self.actor, self.issuer.now), document)

    async def part(self, manifest, number):
        self.budget.spend(1)
        held = self.issuer.state["snapshot"]
        if held is None or held[0]["id"] != manifest.document["id"] or held[0] != manifest.document:
            raise AnsweredWith("another snapshot", 404)
        return parse_part(held[1][number - 1], manifest.verified, number)


class Reader:
    """The real reading, over a real database."""

    def __init__(self, store, runner, issuer):
        self.store, self.runner, self.issuer = store, runner, issuer
        self.id = store.write_now(_follow_anew)
        self.settings = FederationSettings(snapshot_pages=4)

    def clock(self):
        return self.issuer.now

    def turn(self, documents):
        async def run():
            wire: Any = Wire(self.issuer, documents)
            clock: Any = self
            return await CatchingUp(self.id, wire, self.store, clock, self.settings).run()

        return self.runner.run(run())

    def pull(self):
        for _ in range(60):
            if self.turn(50) is Turn.DONE:
                return
        raise AssertionError("the reader does not come to an end")

    def held(self):
        query = select(images.c.sha256, verdicts.c.epoch, verdicts.c.seq).join(
            verdicts, verdicts.c.image_id == images.c.id
        )
        return {tuple(row) for row in self.store.read_now(lambda conn: conn.execute(query).all())}


def _follow_anew(conn):
    for table in (verdicts, evidence, follows):
        conn.execute(delete(table))
    issuer_id = add_peer(conn, BASE, PeerDefaults(), now=NOW)
    values = {"actor_id": FEED_ID, "issuer_id": issuer_id, "feed": int(Feed.CLEAN)}
    values |= {"state": "accepted", "follow_id": "f", "created": NOW}
    return conn.execute(follows.insert().values(**values)).inserted_primary_key[0]


class HonestLife(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, store, runner):
        super().__init__()
        self.store, self.runner = store, runner

    @initialize()
    def begin(self):
        self.issuer = Issuer()
        self.reader = Reader(self.store, self.runner, self.issuer)
        self.issuer.publish("ab")
        self.issuer.back_up()

    @rule(said=st.text("abcdeABCDE", min_size=1, max_size=4), passed=st.integers(0, 90_000))
    def publish(self, said, passed):
        self.issuer.now += passed
        self.issuer.publish(said)

    @rule()
    def publish_many(self):
        for name in PICTURES:
            self.issuer.publish(name)

    @rule()
    def back_up(self):
        self.issuer.back_up()

    @rule(number=st.integers(0, 20))
    def restore_or_clone(self, number):
        self.issuer.back_up()  # the other clone's
        self.issuer.restore(number)

    @rule()
    def rotate(self):
        self.issuer.keys.append(keys.generate_ed25519())

    @rule()
    def merge(self):
        self.issuer.state["merged"] = len(self.issuer.epochs[-1][1])

    @precondition(lambda self: self.issuer.epochs[-1][1])
    @rule(drops=st.booleans())
    def make_snapshot(self, drops):
        self.issuer.snapshot()
        if drops:
            self.issuer.state["dropped"] = len(self.issuer.epochs[-1][1]) - 1

    @rule(number=st.integers(0, 200))
    def push(self, number):
        page = self.issuer.signed[number % len(self.issuer.signed)]
        verified = verify_page(page, self.issuer.actor(), self.issuer.now)
        self.store.write_now(apply_page, self.reader.id, verified, self.issuer.now)

    @rule(number=st.integers(0, 200))
    def tell_head(self, number):
        head = self.issuer.head(self.issuer.signed[number % len(self.issuer.signed)])
        self.store.write_now(note_head, self.reader.id, head, self.issuer.now)

    @rule(epoch=st.integers(0, 20), first=st.integers(0, 20))
    def send_merged(self, epoch, first):
        pages = self.issuer.epochs[epoch % len(self.issuer.epochs)][1]
        some = pages[first % len(pages) :][:RUN_PAGES] if pages else []
        if some:
            run = verify_merged(
                seal_merged(some, *self.issuer.key()), self.issuer.actor(), self.issuer.now
            )
            self.store.write_now(apply_merged, self.reader.id, run, self.issuer.now)

    @rule(documents=st.integers(1, 4))
    def pull_a_little(self, documents):
        try:
            self.reader.turn(documents)
        except AnsweredWith as error:
            assert error.code == 404  # the snapshot that was begun is another now
        except BadPage:
            assert not self.issuer.epochs[-1][1]  # it was restored, and has said nothing since

    @rule()
    def pull_all(self):
        if not self.issuer.epochs[-1][1]:
            self.issuer.publish("a")
        try:
            self.reader.pull()
        except AnsweredWith as error:
            assert error.code == 404
            self.reader.pull()
        assert self.reader.held() == _places(self.issuer)

    @invariant()
    def nobody_is_accused(self):
        query = select(evidence.c.epoch, evidence.c.page)
        assert self.store.read_now(lambda conn: conn.execute(query).all()) == []

    def teardown(self):
        self.pull_all()


@pytest.fixture
def runner():
    with asyncio.Runner() as made:
        yield made


def test_an_honest_issuer_is_never_accused_and_all_is_read(sqlite_store, runner):
    make: Any = partial(HonestLife, sqlite_store, runner)
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_half_a_snapshot_of_a_history_that_is_told_no_more_is_put_right(store, runner):
    """Its issuer was restored from a backup meanwhile, of which every page can be had."""
    issuer = Issuer()
    reader = Reader(store, runner, issuer)
    issuer.publish("ab")
    issuer.back_up()
    for name in PICTURES:
        issuer.publish(name)
    issuer.snapshot()
    issuer.state["dropped"] = len(issuer.epochs[-1][1]) - 1
    assert reader.turn(3) is Turn.MORE  # its outbox, the manifest and the first part
    assert reader.held()
    issuer.restore(0)
    issuer.publish("a")
    with pytest.raises(AnsweredWith):
        reader.turn(50)
    reader.pull()
    assert reader.held() == _places(issuer)


def test_reading_is_the_same_on_both_databases(store, runner):
    """Runs, a dropped front, a restored backup, a stolen key, two stories, and reading on."""
    issuer = Issuer()
    reader = Reader(store, runner, issuer)
    for said in ("ab", "A", "cd", "a", "C", "e"):
        issuer.publish(said)
    issuer.state["merged"] = 3
    reader.pull()
    assert reader.held() == _places(issuer)
    issuer.back_up()
    for said in ("D", "b", "E", "c"):
        issuer.publish(said)
    issuer.snapshot()
    issuer.state["dropped"] = 9
    reader.pull()
    assert reader.held() == _places(issuer)
    issuer.restore(0)
    issuer.publish("d")
    reader.pull()
    assert reader.held() == _places(issuer)
    told = _tell_otherwise(issuer, issuer.epochs[-1][1][-1])
    assert store.write_now(apply_page, reader.id, told, issuer.now) is Step.FORKED
    assert reader.turn(50) is Turn.HALTED
    assert [one.page for one in store.read_now(read_evidence, BASE)] == [1]
    store.write_now(resume, reader.id, issuer.now)
    assert reader.held() == set()
    reader.pull()
    assert reader.held() == _places(issuer)
    (state,) = store.read_now(feed_states, issuer.now)
    assert (state.page, state.lag_pages, state.halted) == (1, 0, None)
    key = dataclasses.replace(next(iter(issuer.actor().proof_keys.values())), revoked=NOW)
    stolen = dataclasses.replace(issuer.actor(), proof_keys={key.id: key})
    assert store.write_now(withdraw_revoked, stolen) == 7
    assert reader.held() == set()


def _places(issuer):
    return {(picture(name), *place) for name, place in issuer.state["live"].items()}


def _tell_otherwise(issuer, page):
    other = {name: value for name, value in page.items() if name != "proof"}
    other["rows"] = [[*row[:-2], row[-2] + 1, row[-1]] for row in other["rows"]]
    private, key_id = issuer.key()
    other = proof.sign(other, private, key_id, NOW)
    return verify_page(other, issuer.actor(), issuer.now)
