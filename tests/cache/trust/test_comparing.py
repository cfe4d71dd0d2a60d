"""Comparing peers with this instance, on real databases: what counts, once, and what follows."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cache.feeds.publish import publish_verdict
from cache.judgement import Judgement, LabelTrust, PeerState, PipelineState, PipelineTerms, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.record import (
    NewFinding,
    pipeline_row,
    record_finding,
    record_image,
    record_verdicts,
)
from cache.rules import parse
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.storage.feed_tables import follows
from cache.storage.tables import codes, images
from cache.storage.trust_tables import agreements, comparisons
from cache.testcard import CARD
from cache.trust.agreement import FALSE_CLEAN_HITS, MIN_COMPARISONS
from cache.trust.comparing import DEMOTED, FALSE_CLEAN, compare, forget_record, load_record
from cache.trust.notices import unread
from cache.trust.trust import add_peer, load_trust, set_trust
from cache.verdict import SELF, Basis, Feed, Finding, Verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, Print, fingerprint

NOW = 1_800_000_000
A, B = "https://a.example", "https://b.example"
GOOD, BAD = {"test-pattern": 100}, {"test-pattern": 9_000}
TRUSTED = Trust(clean=50, flag=100, state=PeerState.TRUSTED)


@dataclass
class World:
    """A store with two followed peers, and what a test does to it; times are after NOW."""

    store: Store
    ids: dict[str, int]
    seq: int = 0

    @property
    def judgement(self) -> Judgement:
        return Judgement(
            rules={"pattern": parse("test-pattern")},
            pipelines={
                OURS: PipelineTerms({"test-pattern": 5_000}, PipelineState.DEFAULT),
                THEIRS: PipelineTerms({"test-pattern": 7_000}),
            },
            trust=self.store.read_now(load_trust),
        )

    def says(self, picture: Print, scores=GOOD, *, at=0, peer=A, feed=Feed.CLEAN, **changes):
        self.seq += 1
        values = {
            "issuer": peer,
            "sha256": picture.sha256,
            "feed": feed,
            "basis": Basis.MODEL,
            "issued": NOW + at,
            "expires": NOW + 90_000,
            "content": picture.content,
            "pipeline": OURS,
            "scores": scores,
            "epoch": "e1",
            "seq": self.seq,
        }
        if feed is Feed.FLAGGED:
            values |= {"pdq": picture.pdq, "pdq_quality": picture.pdq_quality}
        self.store.write_now(
            record_attestations,
            issuer_id=self.ids[peer],
            feed=feed,
            follow_id=10 * self.ids[peer] + int(feed),
            rows=[Verdict(**(values | changes))],
            now=NOW + at,
        )

    def own(self, picture: Print, scores=GOOD, at=0) -> Verdict:
        return Verdict(
            SELF,
            picture.sha256,
            Feed.OWN,
            Basis.MODEL,
            NOW + at,
            NOW + 90_000,
            content=picture.content,
            pdq=picture.pdq,
            pdq_quality=picture.pdq_quality,
            pipeline=OURS,
            scores=scores,
        )

    def scan(self, picture: Print, scores=GOOD, *, at=0, then_compare=True) -> None:
        def do(connection):
            record_image(connection, picture, now=NOW + at)
            record_verdicts(
                connection, [self.own(picture, scores, at)], self.judgement, now=NOW + at
            )

        self.store.write_now(do)
        if then_compare:
            self.compare(picture, at=at)

    def publish(self, picture: Print, scores=GOOD, *, at=0) -> None:
        own, here = self.own(picture, scores, at), self.judgement
        self.store.write_now(publish_verdict, own, here, now=NOW + at)

    def finds(self, picture: Print, finding: Finding, *, at=0, rule="pattern") -> None:
        new = NewFinding(picture.sha256, rule, finding, "seen", "an admin")
        self.store.write_now(record_finding, new, self.judgement, now=NOW + at)
        self.compare(picture, at=at)

    def compare(self, *pictures: Print, at=0) -> None:
        of = select(images.c.id).where(images.c.sha256.in_([one.sha256 for one in pictures]))
        found = self.store.read_now(lambda c: c.execute(of).scalars().all())
        self.store.write_now(compare, found, self.judgement, now=NOW + at)

    def trusts(self, peer=A, trust=TRUSTED) -> None:
        self.store.write_now(set_trust, peer, trust)

    def trust(self, peer=A) -> Trust:
        return self.store.read_now(load_trust)[peer]

    def counts(self, peer=A, label="") -> tuple[int, int, int, int]:
        c = self.store.read_now(load_record, self.ids[peer]).of(label)
        return (c.clean_compared, c.clean_false, c.flag_compared, c.flag_agreed)

    def results(self, peer=A) -> list[str]:
        rows = select(comparisons.c.result).where(comparisons.c.issuer_id == self.ids[peer])
        return sorted(self.store.read_now(lambda c: c.execute(rows).scalars().all()))

    def notices(self) -> list[tuple[str, str | None]]:
        return [(one.kind, one.origin) for one in self.store.read_now(unread)]

    def everything(self) -> list[Any]:
        tables = (agreements, comparisons)
        return self.store.read_now(lambda c: [c.execute(t.select()).all() for t in tables])


def world_on(store) -> World:
    def make(connection):
        pipeline_row(connection, DESCRIPTION)
        pipeline_row(connection, OTHERS)
        ids = {}
        for origin in (A, B):
            ids[origin] = add_peer(connection, origin, PeerDefaults(), now=NOW)
            for feed in (Feed.CLEAN, Feed.FLAGGED):
                connection.execute(
                    follows.insert().values(
                        id=10 * ids[origin] + int(feed),
                        actor_id=f"{origin}/feeds/{feed.name}",
                        issuer_id=ids[origin],
                        feed=int(feed),
                        state="accepted",
                        follow_id=f"f{origin}{feed}",
                        created=NOW,
                    )
                )
        return ids

    return World(store, store.write_now(make))


@pytest.fixture
def world(store) -> World:
    return world_on(store)


@pytest.fixture
def here(sqlite_store) -> World:
    """The same on SQLite alone, for what does not turn on the database."""
    return world_on(sqlite_store)


ONE, TWO, THREE = (fingerprint(name) for name in ("one", "two", "three"))


# --- what counts -----------------------------------------------------------------------------
def test_a_peer_of_no_weight_is_compared_and_agreement_counts_by_label(world):
    world.says(ONE)
    world.scan(ONE)
    assert world.counts() == world.counts(label="test-pattern") == (1, 0, 0, 0)
    assert world.trust().audit_rate == pytest.approx(20 / 21)
    assert world.notices() == []


def test_a_false_clean_counts_and_is_told(world):
    world.says(ONE)
    world.scan(ONE, BAD)
    assert (world.counts(), world.results()) == ((1, 1, 0, 0), ["false-clean"])
    (notice,) = world.store.read_now(unread)
    assert (notice.kind, notice.origin) == (FALSE_CLEAN, A)
    assert ONE.sha256.hex() in notice.text and "test-pattern" in notice.text


def test_of_a_peer_that_weighs_nothing_is_told_once(world):
    for picture in (ONE, TWO, THREE):
        world.says(picture)
        world.scan(picture, BAD)
    assert (world.counts()[:2], world.notices()) == ((3, 3), [(FALSE_CLEAN, A)])


def test_a_row_that_comes_after_our_scan_counts_as_well(world):
    world.scan(ONE, BAD)
    world.says(ONE, at=5)
    world.compare(ONE, at=5)
    assert world.counts() == (1, 1, 0, 0)


@pytest.mark.parametrize(("at", "counted"), [(9, 1), (10, 0), (11, 0)])
def test_echoing_earns_nothing(world, at, counted):
    world.scan(ONE)
    world.publish(ONE, at=10)
    world.says(ONE, at=at)
    world.compare(ONE, at=20)
    assert world.counts() == (counted, 0, 0, 0)


def test_what_was_published_and_retracted_can_be_echoed_no_less(world):
    world.scan(ONE)
    world.publish(ONE, at=10)
    world.publish(ONE, BAD, at=20)
    world.says(ONE, at=15)
    world.compare(ONE, at=30)
    assert world.counts() == (0, 0, 0, 0)


def test_an_echo_under_another_name_of_the_same_content_earns_nothing(world):
    world.scan(ONE)
    world.publish(ONE, at=10)
    copy = replace(TWO, content=ONE.content)
    world.says(copy, at=11)
    world.compare(ONE, copy, at=20)
    assert world.counts() == (0, 0, 0, 0)


def test_a_picture_counts_once_in_however_many_files_a_peer_names_it(world):
    world.scan(ONE, then_compare=False)
    for name in ("x", "y", "z"):
        copy = replace(fingerprint(name), content=ONE.content)
        world.says(copy)
        world.compare(copy)
    world.compare(ONE)
    assert world.counts() == (1, 0, 0, 0)


def test_files_of_ours_with_one_content_are_one_picture(world):
    copy = replace(TWO, content=ONE.content)
    world.says(ONE)
    world.scan(ONE)
    world.scan(copy)
    world.compare(ONE, copy)
    assert world.counts() == (1, 0, 0, 0)


def test_a_picture_without_content_is_compared_by_its_sha256(world):
    bare = replace(ONE, content=None)
    world.says(bare)
    world.scan(bare)
    assert world.counts() == (1, 0, 0, 0)


def test_clean_and_flag_of_one_picture_count_apart(world):
    world.says(ONE)
    world.says(ONE, BAD, feed=Feed.FLAGGED, pipeline=THEIRS)
    world.scan(ONE)
    assert world.counts() == (1, 0, 1, 0)
    assert world.results() == ["agreed", "false-flag"]


def test_what_a_peer_put_in_place_of_its_clean_is_what_counts(world):
    world.says(ONE)
    world.says(ONE, BAD, feed=Feed.FLAGGED, at=1)
    world.scan(ONE, BAD, at=2)
    assert world.counts() == (0, 0, 1, 1)


def test_a_row_that_expired_or_is_too_old_for_the_peer_counts_not(world):
    world.says(ONE, expires=NOW + 10)
    world.scan(ONE, at=10)
    assert world.counts() == (0, 0, 0, 0)
    world.trusts(trust=replace(TRUSTED, max_age_days=1))
    world.says(TWO, issued=NOW - 86_400)
    world.scan(TWO)
    assert world.counts() == (0, 0, 0, 0)


def test_another_model_is_read_by_its_own_thresholds(world):
    world.says(ONE, {"test-pattern": 6_900}, pipeline=THEIRS)
    world.scan(ONE, {"test-pattern": 4_900})
    world.says(TWO, {"test-pattern": 6_900}, pipeline=THEIRS)
    world.scan(TWO, {"test-pattern": 5_999})
    assert world.results() == ["agreed"]


def test_the_test_card_proves_nothing(world):
    card = Print(CARD.sha256, CARD.content, CARD.pdq, 100)
    world.says(card)
    world.finds(card, Finding.UPHELD, rule="test-card")
    assert world.results() == []


def test_what_only_the_peer_knows_is_not_compared(world):
    world.says(ONE)
    world.compare(ONE)
    world.store.write_now(compare, [987_654], world.judgement, now=NOW)
    world.store.write_now(compare, [], world.judgement, now=NOW)
    assert world.results() == []


# --- persons ---------------------------------------------------------------------------------
def test_a_persons_later_finding_turns_what_was_agreed_and_ends_the_weight(world):
    world.trusts()
    world.says(ONE)
    world.scan(ONE)
    for _ in range(2):
        world.finds(ONE, Finding.UPHELD, at=9)
    assert (world.counts(), world.results()) == ((1, 1, 0, 0), ["false-clean"])
    assert (world.trust().clean, world.trust().flag) == (0, 100)
    assert world.notices() == [(FALSE_CLEAN, A), (DEMOTED, A)]


def test_a_persons_dismissal_takes_a_false_clean_back_but_restores_no_weight(world):
    world.trusts()
    for picture in (ONE, TWO):
        world.says(picture)
        world.scan(picture, BAD)
    assert world.trust().clean == 0
    world.finds(ONE, Finding.DISMISSED, at=9)
    world.finds(TWO, Finding.DISMISSED, at=9)
    assert (world.counts(), world.results()) == ((2, 0, 0, 0), ["agreed", "agreed"])
    assert world.trust().clean == 0


def test_a_later_scan_alone_turns_nothing(world):
    world.says(ONE)
    world.scan(ONE)
    world.scan(ONE, BAD, at=9)
    assert (world.counts(), world.results()) == ((1, 0, 0, 0), ["agreed"])


def test_an_escalated_picture_waits_for_the_person(world):
    world.says(ONE)
    world.scan(ONE, then_compare=False)
    world.finds(ONE, Finding.ESCALATED)
    assert world.results() == []
    world.finds(ONE, Finding.UPHELD, at=1)
    assert world.results() == ["false-clean"]


# --- weights fall ----------------------------------------------------------------------------
def test_a_second_false_clean_ends_the_clean_weight_of_every_label(world):
    labels = {"test-pattern": LabelTrust(clean=80, flag=60), "shape": LabelTrust(flag=70)}
    world.trusts(trust=replace(TRUSTED, labels=labels))
    world.says(ONE)
    world.scan(ONE, BAD)
    assert world.trust().clean == 50
    world.says(TWO)
    world.scan(TWO, BAD)
    trust = world.trust()
    assert (trust.clean, trust.flag, trust.state) == (0, 100, PeerState.TRUSTED)
    assert trust.labels == {"test-pattern": LabelTrust(0, 60), "shape": LabelTrust(None, 70)}
    assert world.notices() == [(FALSE_CLEAN, A), (FALSE_CLEAN, A), (DEMOTED, A)]


def test_two_false_cleans_in_one_batch_are_enough(world):
    world.trusts()
    for picture in (ONE, TWO):
        world.says(picture)
        world.scan(picture, BAD, then_compare=False)
    world.compare(ONE, TWO)
    assert world.trust().clean == 0
    assert world.notices() == [(FALSE_CLEAN, A), (DEMOTED, A)]
    assert "and 1 more" in world.store.read_now(unread)[0].text


@pytest.mark.parametrize(("hits", "weight"), [(FALSE_CLEAN_HITS - 1, 0), (FALSE_CLEAN_HITS, 50)])
def test_a_second_false_clean_counts_as_such_within_its_hits_and_not_one_later(world, hits, weight):
    world.trusts()
    world.says(ONE)
    world.scan(ONE, BAD)
    values = {"since_false": 180, "hits_since_false": hits}
    update = agreements.update().where(agreements.c.label == "").values(**values)
    world.store.write_now(lambda c: c.execute(update).rowcount)
    world.says(TWO)
    world.scan(TWO, BAD)
    assert world.trust().clean == weight


def test_audits_begin_anew_with_a_false_clean(world):
    for i in range(30):
        picture = fingerprint(f"honest {i}")
        world.says(picture)
        world.scan(picture, then_compare=False)
    world.compare(*(fingerprint(f"honest {i}") for i in range(30)))
    assert world.trust().audit_rate == pytest.approx(20 / 50)
    world.says(ONE)
    world.scan(ONE, BAD)
    assert world.trust().audit_rate == 1.0


def flag_many(world: World, right: int, wrong: int) -> None:
    pictures = [fingerprint(f"flag {i}") for i in range(right + wrong)]
    for i, picture in enumerate(pictures):
        world.says(picture, BAD, feed=Feed.FLAGGED)
        world.scan(picture, BAD if i < right else GOOD, then_compare=False)
    world.compare(*pictures)


def test_flags_that_fail_weigh_nothing_any_more_and_their_codes_leave_the_index(here):
    here.trusts()
    flag_many(here, right=22, wrong=7)
    assert (here.trust().flag, here.counts()[2:]) == (100, (29, 22))
    assert MIN_COMPARISONS == 30
    here.says(ONE, BAD, feed=Feed.FLAGGED)
    here.scan(ONE, GOOD)
    assert (here.trust().clean, here.trust().flag) == (50, 0)
    assert here.notices() == [(DEMOTED, A)]
    standing = select(codes.c.id).where(codes.c.issuer_id == here.ids[A], ~codes.c.withdrawn)
    assert here.store.read_now(lambda c: c.execute(standing).all()) == []


def test_flags_that_mostly_agree_keep_their_weight(here):
    here.trusts()
    flag_many(here, right=38, wrong=2)
    assert (here.trust().flag, here.notices()) == (100, [])


def test_min_agreement_is_the_peers_own(here):
    here.trusts(trust=replace(TRUSTED, min_agreement=0.5))
    flag_many(here, right=22, wrong=9)
    assert here.trust().flag == 100


def test_a_suspended_peer_stays_suspended_and_one_put_to_observed_is_not_raised(world):
    for state in (PeerState.SUSPENDED, PeerState.OBSERVED):
        world.trusts(B, replace(TRUSTED, state=state))
        picture = fingerprint(f"of {state}")
        world.says(picture, peer=B)
        world.scan(picture, GOOD)
        world.finds(picture, Finding.UPHELD, at=1)
        assert (world.trust(B).state, world.trust(B).clean, world.trust(B).flag) == (state, 0, 100)


def test_a_peer_without_any_weight_left_is_observed(world):
    world.trusts(trust=replace(TRUSTED, flag=0))
    world.says(ONE)
    world.finds(ONE, Finding.UPHELD)
    assert world.trust().state is PeerState.OBSERVED


def test_one_peer_falls_without_another(world):
    for peer in (A, B):
        world.trusts(peer)
        world.says(TWO, peer=peer)
    world.says(ONE)
    world.scan(TWO)
    world.finds(ONE, Finding.UPHELD)
    assert (world.trust(A).clean, world.trust(B).clean) == (0, 50)


def test_a_demotion_that_is_rolled_back_leaves_no_trace_and_happens_again(world):
    world.trusts()
    for picture in (ONE, TWO):
        world.says(picture)
        world.scan(picture, BAD, then_compare=False)
    ids = world.store.read_now(lambda c: c.execute(select(images.c.id)).scalars().all())
    here = world.judgement

    def killed(connection):
        compare(connection, ids, here, now=NOW)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.store.write_now(killed)
    assert (world.trust().clean, world.results(), world.notices()) == (50, [], [])
    world.store.write_now(compare, ids, here, now=NOW)
    assert (world.trust().clean, world.results()) == (0, ["false-clean"] * 2)


def test_a_record_can_be_forgotten_and_begins_anew(world):
    world.says(ONE)
    world.scan(ONE)
    world.store.write_now(forget_record, world.ids[A])
    assert (world.counts(), world.trust().audit_rate) == ((0, 0, 0, 0), 1.0)
    world.compare(ONE)
    assert world.counts() == (1, 0, 0, 0)


# --- laws ------------------------------------------------------------------------------------
SAID = st.tuples(
    st.sampled_from([A, B]),
    st.integers(0, 5),  # which picture
    st.booleans(),  # flagged by the peer
    st.booleans(),  # bad by our scan
    st.booleans(),  # a copy in another file
)


def play(world: World, said, order) -> None:
    pictures = []
    for i, (peer, number, flags, bad, copied) in enumerate(said):
        picture = fingerprint(f"law {number}")
        world.scan(picture, BAD if bad else GOOD, then_compare=False)
        named = replace(fingerprint(f"copy {i}"), content=picture.content) if copied else picture
        feed = Feed.FLAGGED if flags else Feed.CLEAN
        world.says(named, BAD if flags else GOOD, peer=peer, feed=feed)
        pictures.append(named)
    for i in order:
        world.compare(pictures[i])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(said=st.lists(SAID, min_size=1, max_size=6), data=st.data())
def test_order_and_repetition_of_comparisons_change_no_count(here, said, data):
    orders = [range(len(said)), data.draw(st.permutations(range(len(said))))]
    found = []
    for order in orders:
        for table in (agreements, comparisons):
            here.store.write_now(lambda c, t=table: c.execute(t.delete()).rowcount)
        play(here, said, order)
        found.append([here.counts(peer) for peer in (A, B)])
        before = here.everything()
        here.compare(*(fingerprint(f"law {i}") for i in range(6)))
        again = here.everything()
        here.compare(*(fingerprint(f"law {i}") for i in range(6)))
        assert here.everything() == again
        assert len(again[1]) >= len(before[1])
    assert found[0] == found[1]
