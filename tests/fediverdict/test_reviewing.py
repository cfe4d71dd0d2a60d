"""Stored pictures when things change: cases opened, grounds that lapse, persons' decisions."""

import asyncio
import io
import struct
import zlib

import pytest
from PIL import Image
from sqlalchemy import func, select

from cache.cases.arrivals import note_met
from cache.cases.case_deciding import CaseDecision, decide_case, mark_shown
from cache.cases.case_grounding import MAX_GROUNDS
from cache.cases.case_opening import Noted, Terms
from cache.cases.cases import CaseState
from cache.cases.retro_codes import SightedCodes
from cache.errors import NotInCase, NotShown
from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.record import own_issuer, pipeline_row
from cache.memory.sightings import Sighting, record_sightings, source_row
from cache.settings import PeerDefaults
from cache.storage.case_tables import arrivals, case_grounds, case_pictures, cases
from cache.storage.feed_tables import feed_rows, follows
from cache.storage.tables import images, verdicts
from cache.trust.trust import add_peer, set_state, set_trust
from cache.verdict import Basis, Decision, Feed, Finding, Verdict
from fediverdict.config import Config, ReviewSettings
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.reviewing import Reviewer, reviewing
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner, RedClassifier
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.waiting import PATIENCE

A, B = "https://a.example", "https://b.example"
DAY = 86_400
NOW = 1_800_000_000
TRUSTED = Trust(clean=100, flag=100, state=PeerState.TRUSTED)
RULE = "test-pattern-found"
BAD = {"test-pattern": 9_500, "shape": 10}


class Instance:
    """An instance with a source, two trusted peers, a judge and a reviewer; its clock is set."""

    def __init__(self, store, folder):
        self.store, self.now, self.scanner = store, NOW, FakeScanner()
        pool = DecodePool(Config().scanner, Limits())
        judgements = Judgements(Config(), load_policy("test"))
        self.judge = Judge(store, judgements, pool, self.scanner, clock=lambda: self.now)
        self.file = folder / "sighted-codes"
        self.source = store.write_now(source_row, name="s", kind="folder", location="/s")
        self.seqs = iter(range(1, 10_000))
        self.peers = {origin: store.write_now(self._peer, origin) for origin in (A, B)}

    def reviewer(self, terms=Terms(), settings=ReviewSettings()):
        return Reviewer(self.judge, settings, terms, SightedCodes(self.file), lambda: self.now)

    async def review(self, terms=Terms()):
        return await self.reviewer(terms).drain()

    def _peer(self, connection, origin):
        issuer_id = add_peer(connection, origin, PeerDefaults(), now=NOW)
        pipeline_row(connection, RedClassifier().pipeline)
        set_trust(connection, origin, TRUSTED)
        actor = f"{origin}/feeds/flagged"
        connection.execute(
            follows.insert().values(
                actor_id=actor, issuer_id=issuer_id, feed=2, state="accepted", created=NOW,
                follow_id=f"{origin}#f",
            )
        )  # fmt: skip
        return issuer_id

    async def met(self, data, *, sighted=True):
        """Judge a picture, and meet it in the source; return its sha256 and row id."""
        answer = await self.judge.judge(data)
        sha256 = sha256_of(data)
        return sha256, self.store.write_now(self._meet, sha256, answer.decision, sighted)

    def _meet(self, connection, sha256, decision, sighted):
        image_id = connection.execute(
            select(images.c.id).where(images.c.sha256 == sha256)
        ).scalar_one()
        if sighted:
            one = Sighting(self.source, sha256.hex(), 1, "m", sha256, "judged", NOW)
            record_sightings(connection, [one], [image_id])
            own = own_issuer(connection, now=NOW)
            note_met(connection, {image_id: decision}, own_issuer_id=own)
        return image_id

    def flags(self, origin, sha256, *, like=None, days=30, content=None):
        """Let a peer flag a picture, with the PDQ of `like`; return the row's place."""
        seq = next(self.seqs)
        printed = self.row(images, images.c.sha256 == (like or sha256))
        row = Verdict(
            origin, sha256, Feed.FLAGGED, Basis.MODEL, self.now, self.now + days * DAY,
            content, printed and printed.pdq, printed and printed.pdq_quality,
            RedClassifier().pipeline_id, BAD, epoch="e", seq=seq,
        )  # fmt: skip
        self._apply(origin, rows=[row])
        return ("e", seq)

    def retracts(self, origin, place):
        self._apply(origin, retractions=[place])

    def _apply(self, origin, rows=(), retractions=()):
        follow = self.row(follows, follows.c.issuer_id == self.peers[origin])
        self.store.write_now(
            record_attestations, issuer_id=self.peers[origin], feed=Feed.FLAGGED,
            follow_id=follow.id, rows=list(rows), retractions=list(retractions), now=self.now,
        )  # fmt: skip

    def decide(self, case_id, finding, sha256=None, *, rules=(RULE,), shared=frozenset()):
        decision = CaseDecision(finding, rules, "seen by me", "ann", sha256)
        return self.store.write_now(self._decide, case_id, decision, shared)

    def _decide(self, connection, case_id, decision, shared):
        judgement = self.judge.judgements.current(connection)
        return decide_case(connection, case_id, decision, judgement, shared=shared, now=self.now)

    def rows(self, table, *where):
        found = select(table).where(*where).order_by(*table.primary_key.columns)
        return self.store.read_now(lambda c: c.execute(found).all())

    def row(self, table, *where):
        return next(iter(self.rows(table, *where)), None)

    def case(self):
        [only] = self.rows(cases)
        return only

    def count(self, table, *where):
        found = select(func.count()).select_from(table).where(*where)
        return self.store.read_now(lambda c: c.execute(found).scalar_one())


@pytest.fixture
async def here(store, tmp_path):
    made = Instance(store, tmp_path)
    yield made
    made.judge.close()


async def reused_clean(here, data):
    """Meet a picture that no scan of ours judged: a peer's clean verdict is reused."""
    here.scanner.scores = {"test-pattern": 10, "shape": 10}
    sha256, image_id = await here.met(data)
    here.scanner.scores = None
    here.store.write_now(lambda c: c.execute(verdicts.delete()))
    return sha256, image_id


# --- opening ------------------------------------------------------------------------------


async def test_a_stored_picture_that_a_scan_flags_gets_a_case(here):
    _sha256, image_id = await here.met(png(RED))
    assert await here.review() == Noted(opened=1)
    case, [picture], [ground] = here.case(), here.rows(case_pictures), here.rows(case_grounds)
    assert (case.state, case.rules, case.embargo) == ("open", RULE, False)
    assert (picture.image_id, picture.decision, picture.finding) == (image_id, "flagged", None)
    assert (ground.kind, ground.rule, ground.acted, ground.gone) == ("exact", RULE, False, None)
    assert await here.review() == Noted()


async def test_a_picture_that_was_never_met_in_a_source_gets_none(here):
    await here.met(png(RED), sighted=False)
    assert await here.review() == Noted()
    assert here.rows(cases) == []


async def test_a_clean_picture_gets_none_and_is_not_even_noted(here):
    await here.met(png(GREEN))
    assert here.count(arrivals) == 0
    assert await here.review() == Noted()


async def test_flags_of_peers_that_come_later_open_a_case_that_counts_as_acted(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    here.flags(A, sha256)
    assert await here.review() == Noted()  # one peer does not reach the quorum
    here.flags(B, sha256)
    assert await here.review() == Noted(opened=1)
    grounds = here.rows(case_grounds)
    assert {(g.issuer_id, g.kind, g.acted) for g in grounds} == {
        (here.peers[A], "exact", True),
        (here.peers[B], "exact", True),
    }
    assert here.count(arrivals) == 0


async def test_flags_on_the_same_content_under_other_bytes_reach_the_stored_picture(here):
    data = png(GREEN)
    sha256, _image_id = await here.met(data)
    content = here.row(images, images.c.sha256 == sha256).content
    for origin in (A, B):
        here.flags(origin, b"\x07" * 32, content=content)
    assert await here.review() == Noted(opened=1)  # our own verdict clears: up for review
    assert here.row(case_pictures).decision == "review"
    assert {ground.kind for ground in here.rows(case_grounds)} == {"content"}


async def test_a_new_code_near_a_stored_picture_opens_a_case_for_it(here):
    sha256, image_id = await reused_clean(here, png(GREEN))
    for origin in (A, B):
        here.flags(origin, b"\x07" * 32, like=sha256)
    assert await here.review() == Noted(opened=1)
    picture = here.row(case_pictures)
    assert (picture.image_id, picture.decision) == (image_id, "review")
    assert {(g.kind, g.distance, g.acted) for g in here.rows(case_grounds)} == {("near", 0, False)}


async def test_a_picture_that_was_stored_turned_is_found_by_a_new_code(here):
    upright = Image.open(io.BytesIO(png(GREEN, 3)))
    turned = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG")
    await here.met(png(GREEN, 3), sighted=False)
    await reused_clean(here, turned.getvalue())
    for origin in (A, B):
        here.flags(origin, b"\x07" * 32, like=sha256_of(png(GREEN, 3)))
    assert await here.review() == Noted(opened=1)
    assert (
        here.row(case_pictures).image_id
        == here.row(images, images.c.sha256 == sha256_of(turned.getvalue())).id
    )


async def test_pictures_near_one_code_share_a_case_up_to_the_limit(here):
    sha256, _ = await reused_clean(here, png(GREEN))
    for quality in (60, 70, 80):
        await reused_clean(here, _recompressed(png(GREEN), quality))
    for origin in (A, B):
        here.flags(origin, b"\x07" * 32, like=sha256)
    assert await here.review(Terms(near_pictures=3)) == Noted(opened=2)
    sizes = [here.count(case_pictures, case_pictures.c.case_id == c.id) for c in here.rows(cases)]
    assert sizes == [3, 1]


def _recompressed(data, quality):
    target = io.BytesIO()
    Image.open(io.BytesIO(data)).save(target, "JPEG", quality=quality)
    return target.getvalue()


async def test_a_picture_near_one_that_we_flag_joins_its_case(here):
    await here.met(png(RED, 4))
    await here.review()
    await reused_clean_but(here, _recompressed(png(RED, 4), 80))
    assert await here.review() == Noted()
    assert here.count(cases) == 1
    assert here.count(case_pictures) == 2
    assert here.case().state == CaseState.OPEN


async def reused_clean_but(here, data):
    """Meet a picture that was never scanned; what is flagged stays so."""
    here.scanner.scores = {"test-pattern": 10, "shape": 10}
    _, image_id = await here.met(data)
    here.scanner.scores = None
    here.store.write_now(
        lambda c: c.execute(verdicts.delete().where(verdicts.c.image_id == image_id))
    )
    look = await here.judge.look_again(sha256_of(data))
    own = here.store.write_now(own_issuer, now=NOW)
    here.store.write_now(note_met, {image_id: look.outcome.decision}, own_issuer_id=own)
    return image_id


# --- what lapses --------------------------------------------------------------------------


async def flagged_by_both(here, days=30):
    sha256, _image_id = await reused_clean(here, png(GREEN))
    places = [here.flags(origin, sha256, days=days) for origin in (A, B)]
    await here.review()
    assert here.case().state == CaseState.OPEN
    return sha256, places


async def test_a_retraction_returns_the_picture_to_people_with_the_reason(here):
    _, places = await flagged_by_both(here)
    here.retracts(B, places[1])
    assert await here.review() == Noted(reopened=1)
    case = here.case()
    assert case.state == CaseState.REOPENED
    assert case.reason.startswith(f"What it was here for is gone: the word of {B} counts no more.")
    gone = {g.issuer_id: g.gone for g in here.rows(case_grounds)}
    assert gone == {here.peers[A]: None, here.peers[B]: NOW}
    assert await here.review() == Noted()


async def test_an_expiry_returns_it_when_it_comes_and_not_a_second_sooner(here):
    await flagged_by_both(here, days=1)
    here.now = NOW + DAY - 1
    assert await here.review() == Noted()
    here.now = NOW + DAY
    assert await here.review() == Noted(reopened=1)
    assert "expired" in here.case().reason
    assert here.case().recheck is None  # nothing is left that could expire
    assert await here.review() == Noted()


async def test_the_peers_max_age_is_an_expiry(here):
    young = Trust(clean=100, flag=100, max_age_days=1, state=PeerState.TRUSTED)
    here.store.write_now(set_trust, A, young)
    await flagged_by_both(here, days=30)
    assert here.case().recheck == NOW + DAY
    here.now = NOW + DAY
    assert await here.review() == Noted(reopened=1)


async def test_a_suspended_peer_returns_what_it_carried(here):
    await flagged_by_both(here)
    here.store.write_now(set_state, A, PeerState.SUSPENDED)
    assert await here.review() == Noted(reopened=1)
    assert A in here.case().reason
    assert "suspended" in here.case().reason


async def test_a_flag_too_many_may_go_and_nothing_is_reopened(here):
    sha256, _ = await here.met(png(RED))
    for origin in (A, B):
        here.flags(origin, sha256)
    await here.review()
    assert here.count(case_grounds) == 3
    here.store.write_now(set_state, A, PeerState.SUSPENDED)
    assert await here.review() == Noted()
    assert (here.case().state, here.row(case_pictures).decision) == (CaseState.OPEN, "flagged")
    assert {g.issuer_id for g in here.rows(case_grounds) if g.gone} == {here.peers[A]}


async def test_our_own_verdict_that_expires_leaves_the_picture_to_people(here):
    await here.met(png(RED))
    await here.review()
    here.now = NOW + 200 * DAY
    assert await here.review() == Noted(reopened=1)
    assert here.row(case_pictures).decision == "review"


async def test_raised_trust_lets_old_flags_open_a_case(here):
    here.store.write_now(set_state, A, PeerState.OBSERVED)
    sha256, _ = await reused_clean(here, png(GREEN))
    here.flags(A, sha256)
    here.flags(B, sha256)
    assert await here.review() == Noted()
    here.store.write_now(set_trust, A, TRUSTED)
    assert await here.review() == Noted(opened=1)


async def test_nothing_restores_itself_even_after_a_clean_scan(here):
    _, places = await flagged_by_both(here)
    for origin, place in zip((A, B), places, strict=True):
        here.retracts(origin, place)
    await here.met(png(GREEN))
    await here.review()
    assert here.row(case_pictures).decision == "clean"
    assert here.case().state == CaseState.REOPENED


async def test_undo_auto_lets_go_after_a_clean_scan_of_ours_and_only_then(here):
    auto = Terms(undo_auto=True)
    _, places = await flagged_by_both(here)
    here.retracts(B, places[1])
    here.store.write_now(set_state, A, PeerState.SUSPENDED)
    await here.review(auto)
    assert here.case().state == CaseState.REOPENED  # no flag stands, but nobody scanned it
    await here.met(png(GREEN))
    await here.review(auto)
    assert here.case().state == CaseState.RESTORED
    assert "undo.auto" in here.case().reason


async def test_undo_auto_lets_nothing_go_while_another_flag_stands(here):
    auto = Terms(undo_auto=True)
    _, places = await flagged_by_both(here)
    here.retracts(B, places[1])
    await here.met(png(GREEN))
    await here.review(auto)
    assert here.row(case_pictures).decision == "clean"
    assert here.case().state == CaseState.REOPENED


async def test_what_undo_auto_let_go_comes_back_with_new_evidence(here):
    await test_undo_auto_lets_go_after_a_clean_scan_of_ours_and_only_then(here)
    here.store.write_now(set_trust, A, TRUSTED)
    here.flags(B, sha256_of(png(GREEN)))
    assert await here.review(Terms(undo_auto=True)) == Noted(reopened=1)
    assert here.case().reason.startswith("New evidence came.")


# --- what persons decide ------------------------------------------------------------------


async def test_dismissing_settles_the_picture_and_later_evidence_for_the_rule_says_nothing(here):
    sha256, _ = await flagged_by_both(here)
    done = here.decide(1, Finding.DISMISSED)
    assert (done.state, done.decided, done.waiting) == (CaseState.DISMISSED, (sha256,), 0)
    await here.review()
    case, picture = here.case(), here.row(case_pictures)
    assert (case.state, case.reason) == (CaseState.DISMISSED, "ann: seen by me")
    assert (picture.finding, picture.decision in ("clean", "unknown")) == ("dismissed", True)
    here.flags(A, sha256, days=31)
    assert await here.review() == Noted()
    assert here.case().state == CaseState.DISMISSED


async def test_upheld_stays_upheld_when_all_evidence_lapses(here):
    _, places = await flagged_by_both(here)
    assert here.decide(1, Finding.UPHELD).state is CaseState.UPHELD
    for origin, place in zip((A, B), places, strict=True):
        here.retracts(origin, place)
    assert await here.review() == Noted()
    assert (here.case().state, here.row(case_pictures).decision) == (CaseState.UPHELD, "flagged")


async def test_the_same_bytes_met_again_join_the_decided_case(here):
    await flagged_by_both(here)
    here.decide(1, Finding.UPHELD)
    await here.review()
    await here.met(png(GREEN))
    assert await here.review() == Noted()
    assert here.case().state == CaseState.UPHELD


async def test_equal_content_shares_a_case_and_its_finding(here):
    data = png(RED)
    twin = with_text(data, b"x")
    await here.met(data)
    await here.met(twin)
    await here.review()
    assert (here.count(cases), here.count(case_pictures)) == (1, 2)
    done = here.decide(1, Finding.DISMISSED)
    assert (done.state, done.waiting) == (CaseState.DISMISSED, 0)
    assert {one.finding for one in here.rows(case_pictures)} == {"dismissed"}


async def test_a_second_rule_that_stands_keeps_the_picture_waiting(here):
    await flagged_by_both(here)
    here.store.write_now(
        lambda c: c.execute(
            case_grounds.insert().values(
                case_id=1, image_id=here.row(case_pictures).image_id, issuer_id=here.peers[A],
                of_image_id=here.row(case_pictures).image_id, kind="exact", distance=0,
                rule="other", acted=True, added=NOW,
            )
        )
    )  # fmt: skip
    assert here.decide(1, Finding.DISMISSED).waiting == 1
    assert here.case().state == CaseState.OPEN
    assert here.decide(1, Finding.DISMISSED, rules=("other",)).state is CaseState.DISMISSED


async def near_group(here):
    """Two pictures near one code, in one case."""
    sha256, _ = await reused_clean(here, png(GREEN))
    other, _ = await reused_clean(here, _recompressed(png(GREEN), 70))
    for origin in (A, B):
        here.flags(origin, b"\x07" * 32, like=sha256)
    await here.review()
    assert (here.count(cases), here.count(case_pictures)) == (1, 2)
    return sha256, other


def show(here):
    ids = [one.image_id for one in here.rows(case_pictures)]
    here.store.write_now(mark_shown, 1, ids, now=NOW)


async def test_a_member_of_a_near_group_is_not_decided_before_it_was_shown(here):
    first, other = await near_group(here)
    with pytest.raises(NotShown, match="was not shown yet"):
        here.decide(1, Finding.UPHELD)
    with pytest.raises(NotShown):
        here.decide(1, Finding.UPHELD, first)
    show(here)
    assert here.decide(1, Finding.UPHELD, first).waiting == 1
    assert here.case().state == CaseState.OPEN
    assert here.decide(1, Finding.DISMISSED, other).state is CaseState.UPHELD


async def test_only_pictures_decided_one_by_one_are_published(here):
    first, _other = await near_group(here)
    show(here)
    here.decide(1, Finding.UPHELD, shared=frozenset({"s"}))
    assert here.count(feed_rows) == 0
    here.decide(1, Finding.UPHELD, first, shared=frozenset({"s"}))
    [row] = here.rows(feed_rows)
    assert (row.sha256, row.feed, row.finding) == (first, int(Feed.FLAGGED), "upheld")


async def test_a_picture_of_a_source_that_shares_nothing_is_not_published(here):
    await flagged_by_both(here)
    here.decide(1, Finding.UPHELD, shared=frozenset({"another"}))
    assert here.count(feed_rows) == 0


async def test_an_upheld_picture_leaves_the_clean_feed_even_where_nothing_is_shared_now(here):
    data = png(GREEN)
    answer = await here.judge.judge(data, "all")
    assert answer.decision is Decision.CLEAN
    await here.met(data)
    for origin in (A, B):
        here.flags(origin, sha256_of(data))
    await here.review()
    here.decide(1, Finding.UPHELD)
    standing = here.rows(feed_rows, feed_rows.c.op == 0, feed_rows.c.live)
    assert (standing, here.count(feed_rows, feed_rows.c.op == 1)) == ([], 1)


async def test_escalating_puts_the_case_under_embargo_until_it_is_decided(here):
    data = png(RED)
    await here.judge.judge(data, "all")
    await here.met(data)
    await here.review()
    before = here.rows(feed_rows)
    assert here.decide(1, Finding.ESCALATED, shared=frozenset({"s"})).state is CaseState.ESCALATED
    await here.review()
    assert here.rows(feed_rows) == before
    assert here.case().embargo
    here.decide(1, Finding.DISMISSED, shared=frozenset({"s"}))
    assert not here.case().embargo
    assert here.count(feed_rows, feed_rows.c.op == 0, feed_rows.c.live) == 0


async def test_a_dismissal_returns_what_rested_on_the_picture(here):
    await here.met(png(RED, 4))
    await here.review()
    await reused_clean_but(here, png((250, 250, 60), 4))  # another picture, first
    near = _recompressed(png(RED, 4), 80)
    await reused_clean_but(here, near)
    here.store.write_now(
        lambda c: c.execute(
            cases.update().where(cases.c.id == 1).values(state=CaseState.UPHELD.value)
        )
    )
    await here.review()
    [_first, *_] = here.rows(cases)
    show(here)
    here.decide(1, Finding.DISMISSED, sha256_of(png(RED, 4)))
    await here.review()
    place = here.row(
        case_pictures,
        case_pictures.c.image_id == here.row(images, images.c.sha256 == sha256_of(near)).id,
    )
    of_near = here.row(cases, cases.c.id == place.case_id)
    assert of_near.state == CaseState.REOPENED
    assert "a person here decided on the picture that it is near to" in of_near.reason


async def test_a_picture_that_is_not_in_the_case_cannot_be_decided_there(here):
    await flagged_by_both(here)
    with pytest.raises(NotInCase, match="is no picture of case 1"):
        here.decide(1, Finding.UPHELD, b"\x01" * 32)


# --- crashes and crowds -------------------------------------------------------------------


async def test_what_was_read_before_a_person_decided_does_not_reopen_the_case(here, monkeypatch):
    await flagged_by_both(here)
    here.store.write_now(lambda c: c.execute(cases.update().values(recheck=0)))
    reviewer, look_again = here.reviewer(), here.judge.look_again

    async def decided_meanwhile(sha256):
        look = await look_again(sha256)
        monkeypatch.setattr(here.judge, "look_again", look_again)
        here.decide(1, Finding.DISMISSED)
        return look

    monkeypatch.setattr(here.judge, "look_again", decided_meanwhile)
    await reviewer.drain()
    assert here.case().state == CaseState.DISMISSED


async def test_what_lapses_between_reading_and_writing_is_seen_all_the_same(here, monkeypatch):
    sha256, _ = await reused_clean(here, png(GREEN))
    places = [here.flags(origin, sha256) for origin in (A, B)]
    look_again = here.judge.look_again

    async def retracted_meanwhile(sha256):
        look = await look_again(sha256)
        monkeypatch.setattr(here.judge, "look_again", look_again)
        here.retracts(B, places[1])
        return look

    monkeypatch.setattr(here.judge, "look_again", retracted_meanwhile)
    assert await here.review() == Noted(opened=1, reopened=1)
    assert here.case().state == CaseState.REOPENED


async def test_a_suspension_between_reading_and_writing_is_seen_all_the_same(here, monkeypatch):
    sha256, _ = await reused_clean(here, png(GREEN))
    for origin in (A, B):
        here.flags(origin, sha256)
    look_again = here.judge.look_again

    async def suspended_meanwhile(sha256):
        look = await look_again(sha256)
        monkeypatch.setattr(here.judge, "look_again", look_again)
        here.store.write_now(set_state, B, PeerState.SUSPENDED)
        return look

    monkeypatch.setattr(here.judge, "look_again", suspended_meanwhile)
    await here.review()
    assert here.case().state == CaseState.REOPENED


async def test_two_reviewers_at_once_open_each_case_once(here):
    for seed in range(5):
        await here.met(png(RED, seed))
    await asyncio.gather(here.review(), here.review(), here.review())
    assert here.count(cases) == 5
    assert here.count(case_pictures) == 5
    assert here.count(arrivals) == 0


async def test_more_than_a_batch_of_everything_is_reviewed(here):
    small = ReviewSettings(arrivals_batch=1, codes_batch=1, cases_batch=1, pictures_batch=1)
    for seed in range(3):
        await here.met(png(RED, seed))
    assert await here.reviewer(settings=small).drain() == Noted(opened=3)
    assert (here.count(arrivals), here.count(cases)) == (0, 3)


async def test_a_write_that_fails_keeps_what_waits(here, monkeypatch):
    await here.met(png(RED))

    def broken(*_, **__):
        raise RuntimeError("power is gone")

    monkeypatch.setattr("fediverdict.reviewing.forget_arrivals", broken)
    with pytest.raises(RuntimeError):
        await here.review()
    assert (here.count(arrivals), here.count(cases)) == (1, 0)
    monkeypatch.undo()
    assert await here.review() == Noted(opened=1)


async def test_a_hostile_crowd_of_flags_keeps_a_bounded_number_of_grounds(here):
    sha256, _ = await flagged_by_both(here)
    near = [bytes([7, number]) + bytes(30) for number in range(80)]
    for one in near:
        here.flags(A, one, like=sha256)
    await here.review()
    assert here.count(case_grounds) <= MAX_GROUNDS
    assert here.case().state == CaseState.OPEN


async def test_the_loop_reviews_prunes_and_outlives_a_fault(here, monkeypatch):
    sha256, _ = await reused_clean(here, png(GREEN))
    here.flags(A, sha256, days=1)
    here.now = NOW + 9 * DAY  # a week and a day after it expired
    faults = iter([RuntimeError("once")])
    real = here.judge.look_again

    async def looks(sha256):
        for fault in faults:
            raise fault
        return await real(sha256)

    monkeypatch.setattr(here.judge, "look_again", looks)
    reviewer = here.reviewer(settings=ReviewSettings(pause_seconds=0.05, prune_rows=1))
    async with reviewing(reviewer):
        async with asyncio.timeout(PATIENCE):
            while here.count(arrivals) or here.count(verdicts):
                await asyncio.sleep(0.02)
    assert next(faults, None) is None


async def test_a_rule_that_changes_returns_what_it_flagged(here):
    await here.met(png(RED))
    await here.review()
    stricter = Config.model_validate({"rules": {RULE: "shape"}})
    here.judge.judgements = Judgements(stricter, load_policy("test"))
    here.store.write_now(here.judge.judgements.settle, NOW)
    assert await here.review() == Noted(reopened=1)
    assert "our own word counts no more" in here.case().reason


async def test_equals_beyond_a_cases_room_open_another_and_one_finding_settles_all(
    here, monkeypatch
):
    monkeypatch.setattr("cache.cases.case_opening.MAX_PICTURES", 2)
    data = png(RED)
    for text in (b"a", b"b", b"c"):
        await here.met(with_text(data, text))
        await here.review()
    sizes = [here.count(case_pictures, case_pictures.c.case_id == c.id) for c in here.rows(cases)]
    assert sizes == [2, 1]
    here.decide(1, Finding.DISMISSED)
    assert [case.state for case in here.rows(cases)] == [CaseState.DISMISSED] * 2
    await here.review()
    assert [case.state for case in here.rows(cases)] == [CaseState.DISMISSED] * 2


def with_text(data, text):
    """Return the PNG with a text chunk: other bytes, equal in content."""
    chunk = b"tEXtk\x00" + text
    return (
        data[:33]
        + struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + data[33:]
    )
