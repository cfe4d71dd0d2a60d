"""Rows of peers: upserts, retractions, withdrawals, and the codes that follow trust."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, func, select

from cache.cases.arrivals import forget_arrivals, waiting_arrivals
from cache.errors import UnknownPeer, UnknownPipeline
from cache.index.near import NearIndex
from cache.judgement import LabelTrust, PeerState, Trust
from cache.memory import crowding, retractions
from cache.memory.lookup import evidence
from cache.memory.peer_rows import record_attestations, withdraw_rows
from cache.memory.record import image_row, pipeline_row, record_image
from cache.settings import PeerDefaults
from cache.storage.case_tables import case_grounds, cases
from cache.storage.feed_tables import early_retractions, follows
from cache.storage.tables import codes, verdicts
from cache.trust.trust import add_peer, list_peers, load_trust, set_state, set_trust
from cache.verdict import Basis, Feed, Finding, MatchKind, Verdict
from tests.cache.prints import OTHERS, THEIRS, fingerprint
from tests.waiting import PATIENCE

NOW = 1_800_000_000
ORIGIN = "https://a.example"
PICTURE = fingerprint("picture")
TRUSTED = Trust(clean=100, flag=100, state=PeerState.TRUSTED)


@pytest.fixture
def peer(store):
    """A followed peer: (issuer id, follow ids by feed)."""

    def make(connection):
        pipeline_row(connection, OTHERS)
        issuer_id = add_peer(connection, ORIGIN, PeerDefaults(), now=NOW)
        for feed in (Feed.CLEAN, Feed.FLAGGED):
            connection.execute(
                follows.insert().values(
                    id=int(feed),
                    actor_id=f"{ORIGIN}/feeds/{feed.name}",
                    issuer_id=issuer_id,
                    feed=int(feed),
                    state="accepted",
                    follow_id=f"f{feed}",
                    created=NOW,
                )
            )
        return issuer_id

    return store.write_now(make)


def row(seq, *, picture=PICTURE, epoch="e1", feed=Feed.CLEAN, issued=NOW, **changes):
    values = {
        "issuer": ORIGIN,
        "sha256": picture.sha256,
        "feed": feed,
        "basis": Basis.MODEL,
        "issued": issued,
        "expires": issued + 9_000,
        "content": picture.content,
        "pipeline": THEIRS,
        "scores": {"test-pattern": 7},
        "epoch": epoch,
        "seq": seq,
    }
    if feed is Feed.FLAGGED:
        values |= {"pdq": picture.pdq, "pdq_quality": picture.pdq_quality}
    return Verdict(**(values | changes))


def apply(store, issuer_id, rows=(), retractions=(), feed=Feed.CLEAN, now=NOW):
    store.write_now(
        record_attestations,
        issuer_id=issuer_id,
        feed=feed,
        follow_id=int(feed),
        rows=list(rows),
        retractions=list(retractions),
        now=now,
    )


def held(store, picture=PICTURE):
    found = store.read_now(evidence, None, fingerprint=picture).matches
    return sorted((match.verdict for match in found), key=lambda v: (v.feed, v.seq))


def near(store, picture=PICTURE):
    copy = fingerprint("copy", pdq=picture.pdq)
    return store.read_now(evidence, NearIndex(), fingerprint=copy).matches


def test_a_page_is_stored_and_applying_it_again_changes_nothing(store, peer):
    rows = [row(i, picture=fingerprint(str(i))) for i in range(1, 1_001)]
    for _ in range(2):
        apply(store, peer, rows)
    assert held(store, fingerprint("1000")) == [rows[-1]]
    count = store.read_now(lambda c: c.exec_driver_sql("SELECT count(*) FROM verdicts").scalar())
    assert count == 1_000


def test_a_persons_finding_of_a_peer_is_stored(store, peer):
    human = row(
        1,
        feed=Feed.FLAGGED,
        basis=Basis.HUMAN,
        pipeline=None,
        scores={},
        rule="pattern",
        finding=Finding.UPHELD,
    )
    apply(store, peer, [human], feed=Feed.FLAGGED)
    assert held(store) == [human]


def test_rows_of_the_two_feeds_stand_side_by_side(store, peer):
    clean, flagged = row(1), row(1, feed=Feed.FLAGGED)
    apply(store, peer, [clean])
    apply(store, peer, [flagged], feed=Feed.FLAGGED)
    assert held(store) == [clean, flagged]


@pytest.mark.parametrize(
    ("second", "stands"),
    [
        (row(2, issued=NOW + 1), True),
        (row(2), True),
        (row(2, issued=NOW - 1), False),
    ],
)
@pytest.mark.parametrize("one_page", [True, False])
def test_of_one_key_the_later_issued_row_stands_then_the_later_in_the_feed(
    store, peer, second, stands, one_page
):
    first = row(1)
    for page in [[first, second]] if one_page else [[first], [second]]:
        apply(store, peer, page)
    assert held(store) == [second if stands else first]


def test_one_thing_said_twice_in_other_letters_is_one_row(store, peer):
    """The database would refuse the page: what is unique there is told apart here."""
    human: dict[str, Any] = {"basis": Basis.HUMAN, "pipeline": None, "scores": {}}
    said = [
        row(1, pipeline=THEIRS.upper()),
        row(2),
        row(3, rule=None, **human),
        row(4, rule="", **human),
    ]
    apply(store, peer, said)
    assert received(store) == [(2, NOW), (4, NOW)]


def test_of_two_rows_issued_at_once_the_one_of_the_newer_epoch_stands(store, peer):
    apply(store, peer, [row(9)])
    apply(store, peer, [row(1, epoch="e2")])
    assert held(store) == [row(1, epoch="e2")]


def test_a_retraction_frees_exactly_its_row(store, peer):
    other = row(2, picture=fingerprint("other"))
    apply(store, peer, [row(1), other])
    apply(store, peer, [row(1, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    apply(store, peer, retractions=[("e1", 1)])
    assert [v.feed for v in held(store)] == [Feed.FLAGGED]
    assert held(store, fingerprint("other")) == [other]


def test_a_retraction_of_a_replaced_row_does_not_touch_the_one_that_stands(store, peer):
    apply(store, peer, [row(1)])
    apply(store, peer, [row(2, issued=NOW + 1)])
    apply(store, peer, retractions=[("e1", 1)])
    assert [v.seq for v in held(store)] == [2]


def test_a_retraction_names_its_epoch(store, peer):
    apply(store, peer, [row(1)])
    apply(store, peer, retractions=[("e2", 1)])
    assert [v.seq for v in held(store)] == [1]


def test_a_row_retracted_before_it_came_is_not_stored(store, peer):
    apply(store, peer, retractions=[("e1", 1)])
    apply(store, peer, retractions=[("e1", 1)])
    apply(store, peer, [row(1), row(2, picture=fingerprint("other"))])
    assert held(store) == []
    assert held(store, fingerprint("other"))
    expires = store.read_now(
        lambda c: c.execute(select(early_retractions.c.expires)).scalars().all()
    )
    assert expires == [NOW + 366 * 86_400]


def test_a_page_may_attest_and_retract_one_row(store, peer):
    apply(store, peer, [row(1)], [("e1", 1)])
    assert held(store) == []


def test_a_row_of_a_pipeline_never_described_leaves_nothing_of_its_page(store, peer):
    with pytest.raises(UnknownPipeline):
        apply(store, peer, [row(1), row(2, picture=fingerprint("b"), pipeline="ff" * 32)])
    assert held(store) == []


def test_rows_past_a_place_and_whole_feeds_are_withdrawn(store, peer):
    pictures = [fingerprint(str(i)) for i in range(4)]
    apply(store, peer, [row(i + 1, picture=p) for i, p in enumerate(pictures)])
    apply(store, peer, [row(9, picture=pictures[0], feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    clean = {"issuer_id": peer, "feed": Feed.CLEAN}
    assert store.write_now(withdraw_rows, **clean, epoch="e1", after_seq=2) == 2
    assert [len(held(store, picture)) for picture in pictures] == [2, 1, 0, 0]
    assert store.write_now(withdraw_rows, **clean, epoch=None) == 2
    assert [len(held(store, picture)) for picture in pictures] == [1, 0, 0, 0]


def test_codes_of_a_peer_follow_its_flag_weight(store, peer):
    apply(store, peer, [row(1, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    assert near(store) == ()
    store.write_now(set_trust, ORIGIN, TRUSTED)
    assert [match.kind for match in near(store)] == [MatchKind.NEAR]
    store.write_now(set_trust, ORIGIN, replace(TRUSTED, flag=0))
    assert near(store) == ()
    for_label = replace(TRUSTED, flag=0, labels={"gore": LabelTrust(flag=50)})
    store.write_now(set_trust, ORIGIN, for_label)
    assert near(store)
    store.write_now(set_state, ORIGIN, PeerState.OBSERVED)
    assert near(store) == ()


def test_codes_come_with_flagged_rows_alone_and_go_with_them(store, peer):
    store.write_now(set_trust, ORIGIN, TRUSTED)
    apply(store, peer, [row(1, pdq=PICTURE.pdq, pdq_quality=90)])
    assert near(store) == ()
    apply(store, peer, [row(1, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    assert near(store)
    apply(store, peer, retractions=[("e1", 1)], feed=Feed.FLAGGED)
    assert near(store) == ()


def test_a_flat_picture_of_a_peer_gets_no_code(store, peer):
    store.write_now(set_trust, ORIGIN, TRUSTED)
    apply(store, peer, [row(1, feed=Feed.FLAGGED, pdq_quality=49)], feed=Feed.FLAGGED)
    assert near(store) == ()


def test_trust_is_stored_as_it_was_set(store, peer):
    assert store.read_now(load_trust)[ORIGIN] == Trust(audit_rate=1.0)
    trust = Trust(
        clean=35,
        flag=70,
        labels={"gore": LabelTrust(clean=0), "shape": LabelTrust(flag=9)},
        heard=frozenset({"gore", "shape"}),
        max_age_days=9,
        operator="someone",
        audit_rate=1.0,  # nothing was compared yet
        state=PeerState.TRUSTED,
        audit_floor=0.2,
        min_agreement=0.9,
    )
    for _ in range(2):
        store.write_now(set_trust, ORIGIN, trust)
    assert store.read_now(load_trust) == {ORIGIN: trust}


def test_a_new_peer_takes_the_defaults_and_is_observed_unless_they_weigh(store):
    store.write_now(add_peer, "https://n.example", PeerDefaults(), now=NOW)
    warm = PeerDefaults(clean_weight=0.29, flag_weight=1.0, labels=("gore",), audit_rate=0.5)
    store.write_now(add_peer, "https://w.example", warm, now=NOW)
    assert store.read_now(load_trust) == {
        "https://n.example": Trust(audit_rate=1.0),
        "https://w.example": Trust(
            29,
            100,
            heard=frozenset({"gore"}),
            audit_rate=1.0,
            state=PeerState.TRUSTED,
            audit_floor=0.5,
        ),
    }


def test_adding_a_peer_twice_keeps_what_was_set(store, peer):
    store.write_now(set_trust, ORIGIN, TRUSTED)
    assert store.write_now(add_peer, ORIGIN, PeerDefaults(), now=NOW) == peer
    assert store.read_now(load_trust)[ORIGIN] == replace(TRUSTED, audit_rate=1.0)


def test_peers_are_listed_with_what_is_stored_of_them(store, peer):
    apply(store, peer, [row(1), row(2, picture=fingerprint("b"))])
    apply(store, peer, [row(1, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    (listed,) = store.read_now(list_peers)
    assert (listed.origin, listed.clean_verdicts, listed.flagged_verdicts) == (ORIGIN, 2, 1)


def test_an_unknown_peer_is_one_clear_sentence(store):
    for act in (set_trust, set_state):
        value = TRUSTED if act is set_trust else PeerState.SUSPENDED
        with pytest.raises(UnknownPeer, match="fediverdict peers list"):
            store.write_now(act, "https://nobody.example", value)
    with pytest.raises(UnknownPeer):
        store.write_now(set_trust, "self", TRUSTED)


# --- a hostile peer, or a long page ----------------------------------------------------------
def many(number, *, first=1, feed=Feed.FLAGGED, **changes):
    """Rows on so many pictures."""
    seqs = range(first, first + number)
    return [row(seq, picture=fingerprint(f"picture {seq}"), feed=feed, **changes) for seq in seqs]


def test_a_long_page_costs_no_statement_a_row(store, peer):
    set_up = Trust(clean=100, flag=100, state=PeerState.TRUSTED)
    store.write_now(set_trust, ORIGIN, set_up)
    counted = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: counted.append(given[2]))

    def statements(call, *args, **more):
        counted.clear()
        call(store, *args, **more)
        return len(counted)

    rows = many(300)
    attested = statements(apply, peer, rows, feed=Feed.FLAGGED)
    places = [("e1", seq) for seq in range(1, 301)]
    retracted = statements(apply, peer, retractions=places, feed=Feed.FLAGGED)
    unknown = statements(apply, peer, retractions=places, feed=Feed.FLAGGED)
    assert max(attested, retracted, unknown) < 40
    assert store.read_now(lambda c: c.scalar(select(func.count()).select_from(verdicts))) == 0
    standing = select(func.count()).select_from(codes).where(~codes.c.withdrawn)
    assert store.read_now(lambda c: c.scalar(standing)) == 0


def test_a_peer_cannot_flood_what_one_content_finds(store, peer, monkeypatch):
    """Every look-up of a popular picture would read all of its made-up rows."""
    monkeypatch.setattr(crowding, "MAX_ROWS_A_CONTENT", 3)
    rows = [replace(found, issued=NOW + found.seq) for found in many(4, feed=Feed.CLEAN)]
    same = [replace(found, content=PICTURE.content) for found in rows]

    def found():
        matches = store.read_now(evidence, None, fingerprint=PICTURE).matches
        return sorted(match.verdict.seq for match in matches)

    apply(store, peer, same[:3])
    assert found() == [1, 2, 3]
    apply(store, peer, same[3:])
    assert found() == [2, 3, 4]
    by_sha256 = store.read_now(evidence, None, fingerprint=fingerprint("picture 1")).matches
    assert [match.verdict.seq for match in by_sha256] == [1]


def test_a_peer_cannot_flood_one_sha256_with_rules_of_its_own(store, peer, monkeypatch):
    monkeypatch.setattr(crowding, "MAX_ROWS_A_PICTURE", 3)
    human: dict[str, Any] = {
        "basis": Basis.HUMAN,
        "pipeline": None,
        "scores": {},
        "finding": Finding.UPHELD,
    }
    rows = [
        row(seq, feed=Feed.FLAGGED, issued=NOW + seq, rule=f"rule-{seq}", **human)
        for seq in range(1, 5)
    ]
    apply(store, peer, rows[:3], feed=Feed.FLAGGED)
    assert len(store.read_now(evidence, None, fingerprint=PICTURE).matches) == 3
    apply(store, peer, rows[3:], feed=Feed.FLAGGED)
    matches = store.read_now(evidence, None, fingerprint=PICTURE).matches
    assert sorted(match.verdict.seq for match in matches) == [2, 3, 4]


def test_unknown_targets_are_remembered_up_to_a_limit_and_until_they_expire(
    store, peer, monkeypatch
):
    monkeypatch.setattr(retractions, "MAX_EARLY_RETRACTIONS", 3)

    def remembered():
        seqs = select(early_retractions.c.seq).order_by(early_retractions.c.seq)
        return list(store.read_now(lambda c: c.execute(seqs).scalars().all()))

    apply(store, peer, retractions=[("e1", 1), ("e1", 2), ("e1", 3)])
    assert remembered() == [1, 2, 3]
    apply(store, peer, retractions=[("e1", 4)])
    assert remembered() == [1, 2, 3]
    later = NOW + retractions.RETRACTION_SECONDS
    store.write_now(retractions.remember, int(Feed.CLEAN), [("e1", 5)], later)
    assert remembered() == [5]


def test_a_row_without_pdq_does_not_take_the_code_of_another_on_the_same_picture(store, peer):
    store.write_now(set_trust, ORIGIN, TRUSTED)
    human: dict[str, Any] = {
        "basis": Basis.HUMAN,
        "pipeline": None,
        "scores": {},
        "finding": Finding.UPHELD,
    }
    apply(store, peer, [row(1, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    without = row(
        2, feed=Feed.FLAGGED, issued=NOW + 1, rule="pattern", pdq=None, pdq_quality=None, **human
    )
    apply(store, peer, [without], feed=Feed.FLAGGED)
    near = fingerprint("another", pdq=PICTURE.pdq)
    found = store.read_now(evidence, NearIndex(), fingerprint=near).matches
    assert {match.kind for match in found} == {MatchKind.NEAR}


# --- what others are told -------------------------------------------------------------------
def received(store):
    rows = select(verdicts.c.seq, verdicts.c.received).order_by(verdicts.c.seq)
    return [tuple(one) for one in store.read_now(lambda c: c.execute(rows).all())]


def test_a_row_says_when_it_was_stored_and_keeps_that_when_its_page_comes_again(store, peer):
    apply(store, peer, [row(1)], now=NOW + 5)
    apply(store, peer, [row(1), row(2, picture=fingerprint("b"))], now=NOW + 9)
    assert received(store) == [(1, NOW + 5), (2, NOW + 9)]


def arrived(store):
    """What was noted since the last call, as (feed, gone)."""

    def act(connection):
        noted = waiting_arrivals(connection, 100)
        forget_arrivals(connection, noted)
        return [(one.feed, one.gone) for one in noted]

    return store.write_now(act)


def rest_a_case_on(store, issuer_id, picture=PICTURE):
    def act(connection):
        image_id = image_row(connection, picture.sha256, now=NOW)
        texts = {"state": "open", "rules": "pattern", "reason": ""}
        connection.execute(cases.insert().values(id=1, opened=NOW, changed=NOW, **texts))
        ground = {"image_id": image_id, "of_image_id": image_id, "kind": "exact"}
        ground |= {"rule": "pattern", "acted": True, "added": NOW}
        connection.execute(case_grounds.insert().values(case_id=1, issuer_id=issuer_id, **ground))

    store.write_now(act)


def test_a_row_on_a_picture_fingerprinted_here_is_noted_and_one_on_another_is_not(store, peer):
    store.write_now(record_image, PICTURE, now=NOW)
    apply(store, peer, [row(1), row(2, picture=fingerprint("b"))])
    assert arrived(store) == [(Feed.CLEAN, False)]


@pytest.mark.parametrize("how", ["retracted", "withdrawn", "crowded out"])
def test_a_row_that_a_case_rests_on_is_noted_when_it_goes(store, peer, how, monkeypatch):
    apply(store, peer, [row(1, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    rest_a_case_on(store, peer)
    match how:
        case "retracted":
            apply(store, peer, retractions=[("e1", 1)], feed=Feed.FLAGGED)
        case "withdrawn":
            store.write_now(withdraw_rows, issuer_id=peer, feed=Feed.FLAGGED, epoch="e1")
        case _:
            monkeypatch.setattr(crowding, "MAX_ROWS_A_CONTENT", 1)
            other = row(2, picture=fingerprint("b", content=PICTURE.content), issued=NOW + 1)
            apply(store, peer, [replace(other, feed=Feed.FLAGGED)], feed=Feed.FLAGGED)
    assert arrived(store) == [(Feed.FLAGGED, True)]


def test_what_a_peer_calls_clean_is_no_near_evidence_beside_its_own_flag(store, peer):
    """Its code comes of the flagged row, and must say no more once that has expired."""
    store.write_now(set_trust, ORIGIN, TRUSTED)
    flagged = row(1, feed=Feed.FLAGGED)
    apply(store, peer, [flagged], feed=Feed.FLAGGED)
    apply(store, peer, [row(1)])
    assert [match.verdict for match in near(store)] == [flagged]


def test_what_was_answered_of_a_bulk_survives_kill_9_and_no_page_is_there_by_half(
    database_url, store, peer
):
    """A child stores pages of new and known pictures and tells of each; it dies in the middle."""
    script = textwrap.dedent(
        """
        import sys
        from cache.storage.database import Store
        from tests.cache.memory.test_peer_rows import apply, many
        store = Store.open(sys.argv[1])
        for page in range(1, 10_000):
            first = page * 200 - 100 * (page % 2)  # overlapping: half of them are known
            apply(store, int(sys.argv[2]), many(200, first=first, feed=1, epoch=f"e{page}"))
            print(page, flush=True)
        """
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, database_url, str(peer)], stdout=subprocess.PIPE, text=True
    )
    answered = 0
    for line in run.stdout or ():
        answered = int(line)
        if answered == 7:
            run.kill()
    assert run.wait(PATIENCE) == -9
    rows = select(verdicts.c.epoch, func.count()).group_by(verdicts.c.epoch)
    counted = dict(store.read_now(lambda c: c.execute(rows).all()))
    whole = {f"e{page}" for page in range(1, answered + 1)}
    assert whole <= set(counted) <= whole | {f"e{answered + 1}"}
    newest = f"e{max(int(epoch[1:]) for epoch in counted)}"
    assert counted[newest] == 200
