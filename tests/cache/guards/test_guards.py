"""The allow-list and held codes: near flags ask for a scan there, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.decide import decide
from cache.errors import AllowListFull, NotAllowed
from cache.guards.allow import Surroundings, allow, codes_near, disallow, list_allowed
from cache.guards.guards import TableGuards
from cache.index.near import MAX_PEER_HITS, NearIndex
from cache.judgement import Judgement, PipelineState, PipelineTerms
from cache.memory.lookup import evidence
from cache.memory.peer_rows import record_attestations
from cache.memory.record import (
    NewFinding,
    image_row,
    own_issuer,
    pipeline_row,
    record_finding,
    record_image,
    record_verdict,
)
from cache.outcome import Reason
from cache.rules import parse
from cache.settings import DecideSettings, PeerDefaults
from cache.storage.case_tables import held_codes
from cache.trust.trust import add_peer, set_trust
from cache.verdict import SELF, Basis, Decision, Feed, Finding, MatchKind, Verdict
from tests.cache.pictures import trusted
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, fingerprint, flipped

NOW = 1_800_000_000
A, B = "https://a.example", "https://b.example"
TERMS = {"test-pattern": 5_000}
BAD, GOOD, OPEN = {"test-pattern": 9_000}, {"test-pattern": 10}, {"test-pattern": None}
RULES = {"pattern": parse("test-pattern")}
QUERY = fingerprint("query")
COPY = fingerprint("flagged", pdq=flipped(QUERY.pdq, 20))
"""A picture 20 bits from the query."""


def judgement(**changes):
    pipelines = {
        OURS: PipelineTerms(TERMS, PipelineState.DEFAULT),
        THEIRS: PipelineTerms(TERMS, PipelineState.ACCEPTED),
    }
    return Judgement(RULES, pipelines, {A: trusted(), B: trusted()}, **changes)


def said(scores, picture, issuer=SELF, feed=Feed.OWN, seq=None, **changes):
    values = {
        "issuer": issuer,
        "sha256": picture.sha256,
        "feed": feed,
        "basis": Basis.MODEL,
        "issued": NOW,
        "expires": NOW + 1_000,
        "content": picture.content,
        "pdq": picture.pdq,
        "pdq_quality": picture.pdq_quality,
        "pipeline": OURS if issuer == SELF else THEIRS,
        "scores": scores,
        "epoch": None if seq is None else "e",
        "seq": seq,
    }
    return Verdict(**(values | changes))


def own(connection, picture, scores):
    pipeline_row(connection, DESCRIPTION)
    record_image(connection, picture, now=NOW)
    record_verdict(connection, said(scores, picture), judgement(), now=NOW)


def found(connection, picture, finding):
    record_image(connection, picture, now=NOW)
    new = NewFinding(picture.sha256, "pattern", Finding(finding), "seen", "an admin")
    record_finding(connection, new, judgement(), now=NOW)


def theirs(connection, pictures, scores, origin=A, feed=Feed.FLAGGED):
    pipeline_row(connection, OTHERS)
    issuer_id = add_peer(connection, origin, PeerDefaults(), now=NOW)
    set_trust(connection, origin, trusted())
    rows = [said(scores, one, origin, feed, seq=i) for i, one in enumerate(pictures, 1)]
    record_attestations(connection, issuer_id=issuer_id, feed=feed, follow_id=0, rows=rows, now=NOW)
    return issuer_id


def hold(connection, picture, issuer_id=None):
    values = {
        "image_id": image_row(connection, picture.sha256, now=NOW),
        "issuer_id": own_issuer(connection, now=NOW) if issuer_id is None else issuer_id,
        "pictures": 101,
        "held": NOW,
    }
    connection.execute(held_codes.insert().values(**values))


def add(connection, pdq, limit=1_000):
    return allow(connection, pdq, reason="a meme", allowed_by="an admin", now=NOW, limit=limit)


def decided(connection, picture=QUERY, *, guards=True, can_scan=True):
    seen = gathered(connection, picture, guards=guards)
    return decide(seen, judgement(), now=NOW, can_scan=can_scan)


def gathered(connection, picture=QUERY, *, guards=True):
    guard = TableGuards(DecideSettings()) if guards else None
    return evidence(connection, NearIndex(), fingerprint=picture, guards=guard)


@pytest.mark.parametrize(
    ("bits", "decision"), [(31, Decision.UNKNOWN), (32, Decision.REVIEW)], ids=["at", "past"]
)
def test_near_an_entry_a_near_flag_of_ours_asks_for_a_scan(store, bits, decision):
    store.write_now(own, COPY, BAD)
    assert store.read_now(decided).decision is Decision.REVIEW
    far = int.from_bytes(QUERY.pdq, "big") ^ ((1 << bits) - 1) << 100
    store.write_now(add, far.to_bytes(32, "big"))
    assert store.read_now(decided).decision is decision


def test_where_nothing_can_scan_an_entry_leaves_it_to_a_person(store):
    store.write_now(own, COPY, BAD)
    store.write_now(add, QUERY.pdq)
    outcome = store.read_now(decided, can_scan=False)
    assert (outcome.decision, outcome.reason) == (Decision.REVIEW, Reason.SUSPECTED)


def test_an_entry_touches_no_exact_evidence(store):
    store.write_now(own, QUERY, BAD)
    store.write_now(add, QUERY.pdq)
    outcome = store.read_now(decided)
    assert (outcome.decision, outcome.reason) == (Decision.FLAGGED, Reason.OWN_FLAG)


@pytest.mark.parametrize("finding", ["upheld", "escalated"])
@pytest.mark.parametrize("guard", ["allowed", "held", "both"])
def test_a_code_that_a_person_here_spoke_for_is_never_weakened(store, finding, guard):
    """The hostile case: the entry lies on a copy of a picture that was upheld."""
    store.write_now(own, COPY, BAD)
    store.write_now(found, COPY, finding)
    if guard != "held":
        store.write_now(add, QUERY.pdq)
        store.write_now(add, COPY.pdq)
    if guard != "allowed":
        store.write_now(hold, COPY)
    assert store.read_now(decided).decision is Decision.REVIEW


def test_a_finding_on_an_equal_picture_speaks_for_the_code_as_well(store):
    equal = fingerprint("wrapped anew", content=COPY.content)
    store.write_now(own, COPY, BAD)
    store.write_now(record_image, equal, now=NOW)
    store.write_now(found, equal, "upheld")
    store.write_now(hold, COPY)
    assert store.read_now(decided).decision is Decision.REVIEW


def test_beside_an_upheld_code_only_the_others_are_weakened(store):
    other = fingerprint("other", pdq=flipped(QUERY.pdq, 10))
    store.write_now(own, COPY, BAD)
    store.write_now(found, COPY, "upheld")
    store.write_now(own, other, BAD)
    store.write_now(add, QUERY.pdq)
    seen = store.read_now(gathered)
    kinds = {match.verdict.sha256: match.kind for match in seen.matches}
    assert kinds == {COPY.sha256: MatchKind.NEAR, other.sha256: MatchKind.PROBABLE}


def test_a_held_code_of_a_peer_is_weakened_for_that_peer_alone(store):
    held = store.write_now(theirs, [COPY], BAD, A)
    store.write_now(theirs, [COPY], BAD, B)
    store.write_now(hold, COPY, held)
    seen = store.read_now(gathered)
    kinds = {match.verdict.issuer: match.kind for match in seen.matches}
    assert kinds == {A: MatchKind.PROBABLE, B: MatchKind.NEAR}


def test_a_change_shows_within_a_second_and_on_sqlite_at_once(store, monkeypatch):
    if store.engine.dialect.name != "sqlite":
        monkeypatch.setattr("cache.guards.guards.TABLE_SECONDS", -1.0)
    guards, near = TableGuards(DecideSettings()), NearIndex()
    store.write_now(own, COPY, BAD)

    def kind():
        seen = store.read_now(evidence, near, fingerprint=QUERY, guards=guards)
        return seen.matches[0].kind

    assert kind() is MatchKind.NEAR
    entry = store.write_now(add, QUERY.pdq)
    assert kind() is MatchKind.PROBABLE
    store.write_now(disallow, entry.id)
    assert kind() is MatchKind.NEAR
    store.write_now(hold, COPY)
    assert kind() is MatchKind.PROBABLE


def test_the_tables_are_not_read_again_while_nothing_can_have_changed(store, monkeypatch):
    monkeypatch.setattr("cache.guards.guards.TABLE_SECONDS", 1e9)
    store.write_now(own, COPY, BAD)
    guards, near, reads = TableGuards(DecideSettings()), NearIndex(), []
    made = Surroundings.__init__

    def counted(self, pdqs):
        reads.append(1)
        made(self, pdqs)

    monkeypatch.setattr(Surroundings, "__init__", counted)
    for _ in range(3):
        store.read_now(evidence, near, fingerprint=QUERY, guards=guards)
    assert len(reads) == 1


def test_a_search_that_met_its_limit_stays_cut_beside_an_entry(store):
    """Else who is allowed one of 32 codes would hide that there are more."""
    some = [fingerprint(f"{i}", pdq=flipped(QUERY.pdq, i)) for i in range(MAX_PEER_HITS)]
    held = store.write_now(theirs, some, BAD)
    store.write_now(hold, some[0], held)
    assert store.read_now(gathered, guards=False).cut
    assert store.read_now(gathered).cut


def test_the_allow_list_ends_at_its_limit(store):
    for number in range(3):
        store.write_now(add, fingerprint(f"{number}").pdq, 3)
    with pytest.raises(AllowListFull, match=r"decide\.allow_entries"):
        store.write_now(add, fingerprint("one past").pdq, 3)
    assert store.write_now(add, fingerprint("0").pdq, 3).id == 1  # stands already
    assert len(store.read_now(list_allowed)) == 3


def test_removing_what_is_not_there_says_so(store):
    with pytest.raises(NotAllowed, match="allow list"):
        store.write_now(disallow, 7)


def test_what_an_entry_would_touch_is_told_with_what_is_upheld(store):
    store.write_now(own, COPY, BAD)
    store.write_now(found, COPY, "upheld")
    store.write_now(theirs, [fingerprint("at", pdq=flipped(QUERY.pdq, 31))], BAD)
    store.write_now(theirs, [fingerprint("past", pdq=flipped(QUERY.pdq, 32))], BAD, B)
    near = store.read_now(codes_near, QUERY.pdq)
    assert [(one.origin, one.distance, one.upheld) for one in near] == [
        (SELF, 20, True),
        (A, 31, False),
    ]


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.integers(0, 64), st.data())
def test_surroundings_hold_what_brute_force_finds(pdqs, bits, data):
    query = data.draw(st.sampled_from(pdqs)) if pdqs else bytes(32)
    query = flipped(query, bits)
    ints = [int.from_bytes(pdq, "big") ^ int.from_bytes(query, "big") for pdq in pdqs]
    assert Surroundings(pdqs).hold(query) == any(one.bit_count() <= 31 for one in ints)


class _Undone(Exception):
    """Carries results out of a transaction that is rolled back."""


SPOTS = [fingerprint(f"spot {i}", pdq=flipped(QUERY.pdq, 8 * i)) for i in range(6)]
"""Pictures 0 to 40 bits from the query: near, and probable."""
WHAT = st.sampled_from(["own bad", "own good", "upheld", "escalated", "dismissed", "a", "b", "a+b"])
WORLDS = st.lists(st.tuples(st.integers(0, 5), WHAT), max_size=8)
OF_QUERY = st.sampled_from(["", "own bad", "own good", "own open", "a clean", "ab clean", "a bad"])
GUARDED = st.lists(st.tuples(st.sampled_from(["allow", "hold", "hold a"]), st.integers(0, 5)))


def build(connection, world, of_query):
    for spot, what in world:
        picture = SPOTS[spot]
        if what.startswith("own"):
            own(connection, picture, BAD if what == "own bad" else GOOD)
        elif what in ("upheld", "escalated", "dismissed"):
            found(connection, picture, what)
        else:
            for name in what.split("+"):
                theirs(connection, [picture], BAD, {"a": A, "b": B}[name])
    if of_query.startswith("own"):
        own(connection, QUERY, {"bad": BAD, "good": GOOD, "open": OPEN}[of_query[4:]])
    elif of_query:
        feed, scores = (Feed.CLEAN, GOOD) if "clean" in of_query else (Feed.FLAGGED, BAD)
        for name in of_query.split()[0]:
            theirs(connection, [QUERY], scores, {"a": A, "b": B}[name], feed)


def guard(connection, entries):
    for what, spot in entries:
        if what == "allow":
            add(connection, SPOTS[spot].pdq)
            continue
        issuer_id = add_peer(connection, A, PeerDefaults(), now=NOW) if what == "hold a" else None
        connection.execute(held_codes.delete())
        hold(connection, SPOTS[spot], issuer_id)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(WORLDS, OF_QUERY, GUARDED)
def test_guards_only_ever_turn_a_review_into_a_scan(sqlite_store, world, of_query, entries):
    """Never into clean; and they leave exact evidence, findings and what is upheld alone."""

    def run(connection):
        build(connection, world, of_query)
        before = gathered(connection)
        with_scan, without = decided(connection), decided(connection, can_scan=False)
        guard(connection, entries)
        raise _Undone(before, with_scan, without, gathered(connection), *both(connection))

    def both(connection):
        return decided(connection), decided(connection, can_scan=False)

    with pytest.raises(_Undone) as undone:
        sqlite_store.write_now(run)
    before, with_scan, without, after, guarded, guarded_without = undone.value.args
    if guarded.decision is not with_scan.decision:
        assert (with_scan.decision, guarded.decision) == (Decision.REVIEW, Decision.UNKNOWN)
    assert guarded_without.decision is without.decision
    assert exact(after) == exact(before)
    assert upheld(after) == upheld(before)
    assert (after.cut, after.compared) == (before.cut, before.compared)
    assert {as_probable(one) for one in after.matches} == {
        as_probable(one) for one in before.matches
    }


def exact(seen):
    kinds = (MatchKind.EXACT, MatchKind.CONTENT)
    return (
        [m for m in seen.matches if m.kind in kinds],
        [f for f in seen.findings if f.kind in kinds],
    )


def upheld(seen):
    return [f for f in seen.findings if f.finding in (Finding.UPHELD, Finding.ESCALATED)]


def as_probable(match):
    kind = MatchKind.PROBABLE if match.kind is MatchKind.NEAR else match.kind
    return repr(replace(match, kind=kind))


def test_one_entry_among_ten_thousand_is_found():
    rng = np.random.default_rng(1)
    pdqs = [rng.bytes(32) for _ in range(10_000)]
    assert Surroundings([*pdqs, QUERY.pdq]).hold(flipped(QUERY.pdq, 31))
    assert not Surroundings(pdqs).hold(QUERY.pdq)
