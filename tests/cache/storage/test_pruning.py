"""What can matter no more is forgotten, and nothing that decides or that a person may need."""

import random
from dataclasses import replace

import pytest
import sqlalchemy as sa

from cache.cases.arrivals import waiting_arrivals
from cache.decide import decide
from cache.index.near import NearIndex
from cache.judgement import PeerState, Trust
from cache.memory.lookup import evidence
from cache.memory.peer_rows import record_attestations
from cache.memory.record import (
    NewFinding,
    image_row,
    image_rows,
    pipeline_row,
    record_finding,
    record_image,
    record_verdict,
)
from cache.settings import PeerDefaults
from cache.storage.case_tables import case_grounds, case_pictures, cases, prints
from cache.storage.pruning import EXPIRED, MARGIN_SECONDS, PRUNED_TO, prune, referring_columns
from cache.storage.tables import codes, images, notes, sightings, sources, verdicts
from cache.trust.trust import add_peer, load_trust, set_trust
from cache.verdict import Basis, Feed, Finding, Verdict
from tests.cache.memory.test_record_and_lookup import BAD, GOOD, JUDGEMENT, NOW, own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, fingerprint, flipped

LATER = NOW + 1_000 + MARGIN_SECONDS
"""When a row that expired at NOW + 1,000 is due."""


@pytest.fixture
def peer(store):
    """A trusted peer's row id."""

    def make(connection):
        pipeline_row(connection, DESCRIPTION)
        pipeline_row(connection, OTHERS)
        return trusted(connection, "https://a.example")

    return store.write_now(make)


def trusted(connection, origin):
    issuer_id = add_peer(connection, origin, PeerDefaults(), now=NOW)
    set_trust(connection, origin, Trust(clean=60, flag=100, state=PeerState.TRUSTED))
    return issuer_id


def row(
    picture, seq, feed=Feed.CLEAN, expires=NOW + 1_000, scores=GOOD, origin="https://a.example"
):
    return Verdict(
        issuer=origin,
        sha256=picture.sha256,
        feed=feed,
        basis=Basis.MODEL,
        issued=NOW - 100,
        expires=expires,
        content=picture.content,
        pdq=picture.pdq if feed is Feed.FLAGGED else None,
        pdq_quality=90 if feed is Feed.FLAGGED else None,
        pipeline=OURS,
        scores=scores,
        epoch="e1",
        seq=seq,
    )


def attest(store, issuer_id, rows, feed=Feed.CLEAN):
    values = {"issuer_id": issuer_id, "feed": feed, "follow_id": 1, "now": NOW}
    store.write_now(record_attestations, rows=rows, **values)


def count(store, table):
    return store.read_now(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table)))


def test_a_peers_row_goes_once_its_margin_is_over_and_not_a_second_before(store, peer):
    attest(store, peer, [row(fingerprint("a"), 1), row(fingerprint("b"), 2, expires=NOW + 1_001)])
    assert store.write_now(prune, LATER - 1, 100) == 0
    assert store.write_now(prune, LATER, 100) == 2  # the row, and its picture
    seqs = sa.select(verdicts.c.seq)
    assert list(store.read_now(lambda c: c.execute(seqs).scalars())) == [2]
    assert count(store, images) == 1


def test_no_more_than_the_limit_go_in_one_step_and_the_oldest_first(store, peer):
    attest(store, peer, [row(fingerprint(f"{i}"), i, expires=NOW + i) for i in (3, 1, 2)])
    for left in ({2, 3}, {3}, set()):
        store.write_now(prune, LATER, 1)
        seqs = sa.select(verdicts.c.seq)
        assert set(store.read_now(lambda c: c.execute(seqs).scalars())) == left  # noqa: B023


def test_verdicts_of_ours_stay_whatever_their_age(store, peer):
    store.write_now(record_verdict, own_verdict(BAD, fingerprint("a")), JUDGEMENT, now=NOW)
    assert store.write_now(prune, NOW + 9 * 366 * 86_400, 100) == 0
    assert (count(store, verdicts), count(store, images)) == (1, 1)


def test_the_code_of_a_flag_goes_with_it(store, peer):
    attest(store, peer, [row(fingerprint("a"), 1, Feed.FLAGGED, scores=BAD)], Feed.FLAGGED)
    standing = sa.select(codes.c.id).where(~codes.c.withdrawn)
    assert store.read_now(lambda c: len(c.execute(standing).all())) == 1
    store.write_now(prune, LATER, 100)
    assert store.read_now(lambda c: c.execute(standing).all()) == []


def test_a_case_that_rests_on_a_forgotten_row_is_told(store, peer):
    attest(store, peer, [row(fingerprint("a"), 1, Feed.FLAGGED, scores=BAD)], Feed.FLAGGED)
    attest(store, peer, [row(fingerprint("b"), 2, Feed.FLAGGED, scores=BAD)], Feed.FLAGGED)
    store.write_now(open_case, fingerprint("a"), peer)
    store.write_now(prune, LATER, 100)
    (noted,) = store.read_now(waiting_arrivals, 100)
    assert (noted.issuer_id, noted.feed, noted.gone) == (peer, Feed.FLAGGED, True)


def open_case(connection, picture, issuer_id):
    image_id = image_row(connection, picture.sha256, now=NOW)
    values = {"id": 1, "state": "open", "rules": "pattern", "reason": "", "opened": NOW}
    connection.execute(cases.insert().values(**values, changed=NOW))
    shown = {"case_id": 1, "image_id": image_id, "added": NOW}
    connection.execute(case_pictures.insert().values(**shown, decision="review"))
    of = {"of_image_id": image_id, "kind": "exact", "rule": "pattern", "acted": True}
    connection.execute(case_grounds.insert().values(**shown, **of, issuer_id=issuer_id))


def sight(connection, picture):
    image_id = image_row(connection, picture.sha256, now=NOW)
    connection.execute(sources.insert().values(id=1, name="s", kind="folder", location="/x"))
    values = {"source_id": 1, "key": "k", "size": 1, "mark": "", "outcome": "judged", "seen": NOW}
    connection.execute(sightings.insert().values(**values, image_id=image_id))


def find(connection, picture):
    new = NewFinding(picture.sha256, "pattern", Finding.DISMISSED, "", "an admin")
    record_finding(connection, new, JUDGEMENT, now=NOW)


@pytest.mark.parametrize(
    "hold",
    [
        lambda c, one: record_image(c, one, now=NOW),
        sight,
        find,
        lambda c, one: open_case(c, one, 1),
        lambda c, one: record_verdict(c, own_verdict(GOOD, one), JUDGEMENT, now=NOW),
    ],
    ids=["print", "sighting", "finding", "case", "verdict"],
)
def test_a_picture_that_something_holds_stays(store, peer, hold):
    held, bare = fingerprint("held"), fingerprint("bare")
    store.write_now(image_rows, [held.sha256, bare.sha256], now=NOW)
    store.write_now(hold, held)
    assert store.write_now(prune, LATER, 100) == 1
    left = sa.select(images.c.sha256)
    assert list(store.read_now(lambda c: c.execute(left).scalars())) == [held.sha256]


def test_a_picture_that_just_came_stays(store):
    store.write_now(image_rows, [fingerprint("new").sha256], now=LATER - MARGIN_SECONDS + 1)
    assert store.write_now(prune, LATER, 100) == 0
    assert count(store, images) == 1


def test_pictures_are_looked_at_in_rounds_of_the_limit(store):
    hashes = [fingerprint(f"{i}").sha256 for i in range(5)]
    store.write_now(image_rows, hashes, now=LATER)  # too new to go
    to = sa.select(notes.c.value).where(notes.c.name == PRUNED_TO)
    ids = sorted(store.read_now(lambda c: c.execute(sa.select(images.c.id)).scalars().all()))
    for expected in (ids[1], ids[3], 0, ids[1]):
        store.write_now(prune, LATER, 2)
        assert int(store.read_now(lambda c: c.scalar(to))) == expected


def test_whatever_refers_to_pictures_is_known_and_has_an_index(store):
    """Else pruning would fail on its references, or read a whole table for each picture."""
    inspector = sa.inspect(store.engine)
    known = {(column.table.name, column.name) for column in referring_columns()}
    for table in inspector.get_table_names():
        for key in inspector.get_foreign_keys(table):
            if key["referred_table"] != "images":
                continue
            (column,) = key["constrained_columns"]
            assert (table, column) in known
            leading = [one["column_names"][0] for one in inspector.get_indexes(table)]
            leading += [one["column_names"][0] for one in inspector.get_unique_constraints(table)]
            leading += inspector.get_pk_constraint(table)["constrained_columns"][:1]
            assert column in leading, f"{table}.{column} leads no index"
    assert ("prints", "image_id") in known
    assert prints.c.image_id in set(referring_columns())


def test_expired_rows_are_found_by_their_index(sqlite_store):
    """Ten million rows would be read otherwise, each time."""
    text = str(EXPIRED.compile(dialect=sqlite_store.engine.dialect))
    plan = sqlite_store.read_now(
        lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", (LATER, 10, 0)).all()
    )
    assert [row[3] for row in plan] == [
        "SEARCH verdicts USING INDEX ix_verdicts_expires (expires<?)"
    ]


@pytest.mark.parametrize("seed", range(8))
def test_deciding_after_pruning_equals_deciding_before(store, peer, seed):
    """Rows of every age by two peers and us, on pictures equal and near to each other."""
    rng = random.Random(seed)
    other = store.write_now(trusted, "https://b.example")
    code, contents = fingerprint("code").pdq, (None, b"c" * 32, b"d" * 32)
    known = [
        fingerprint(f"{i}", content=rng.choice(contents), pdq=flipped(code, rng.randrange(90)))
        for i in range(24)
    ]
    for issuer_id, origin in ((peer, "https://a.example"), (other, "https://b.example")):
        for feed in (Feed.CLEAN, Feed.FLAGGED):
            expires = [NOW + 500, NOW + 1_000, LATER, LATER + 5_000]
            rows = [
                row(one, i, feed, rng.choice(expires), rng.choice([GOOD, BAD]), origin)
                for i, one in enumerate(rng.sample(known, 12))
            ]
            attest(store, issuer_id, rows, feed)
    for one in rng.sample(known, 5):
        own = own_verdict(rng.choice([GOOD, BAD]), one, expires=rng.choice([NOW + 500, LATER + 9]))
        store.write_now(record_verdict, own, JUDGEMENT, now=NOW)

    def decided(at):
        judgement = replace(JUDGEMENT, trust=store.read_now(load_trust))
        found = [store.read_now(evidence, NearIndex(), fingerprint=one) for one in known]
        return [
            decide(one, judgement, now=at, can_scan=scan, throw=0.5)
            for one in found
            for scan in (True, False)
        ]

    times = (LATER, LATER + 6_000)
    before = [decided(at) for at in times]
    assert store.write_now(prune, LATER, 1_000) > 0
    assert [decided(at) for at in times] == before
