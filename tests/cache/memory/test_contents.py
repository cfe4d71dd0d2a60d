"""Contents are found by their first bytes and compared whole; made-up beginnings gain nothing."""

import pytest
from sqlalchemy import bindparam, event, select

from cache.cases.arrivals import note_arrivals, waiting_arrivals
from cache.judgement import PeerState, Trust
from cache.memory import crowding
from cache.memory.lookup import evidence
from cache.memory.lookup_many import evidence_many
from cache.memory.peer_rows import record_attestations
from cache.memory.record import equal_images, image_row, pipeline_row, record_verdict
from cache.settings import PeerDefaults
from cache.storage.contents import KEY_BYTES, content_in, same_content
from cache.storage.database import Store
from cache.storage.tables import verdicts
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Verdict
from tests.cache.memory.test_record_and_lookup import GOOD, JUDGEMENT, NOW, own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, THEIRS, fingerprint

ORIGIN = "https://a.example"
PICTURE = fingerprint("picture")
ALIKE = PICTURE.content[:KEY_BYTES] + b"\0" * (32 - KEY_BYTES)


def claim(seq, content, name=None):
    return Verdict(
        issuer=ORIGIN,
        sha256=fingerprint(name or f"file {seq}").sha256,
        feed=Feed.CLEAN,
        basis=Basis.MODEL,
        issued=NOW + seq,
        expires=NOW + 9_000,
        content=content,
        pipeline=THEIRS,
        scores={"test-pattern": 7},
        epoch="e1",
        seq=seq,
    )


@pytest.fixture
def peer(store):
    """A trusted peer, and a picture of ours that is clean."""

    def make(connection):
        for description in (DESCRIPTION, OTHERS):
            pipeline_row(connection, description)
        record_verdict(connection, own_verdict(GOOD, PICTURE), JUDGEMENT, now=NOW)
        issuer_id = add_peer(connection, ORIGIN, PeerDefaults(), now=NOW)
        set_trust(connection, ORIGIN, Trust(clean=100, flag=100, state=PeerState.TRUSTED))
        return issuer_id

    return store.write_now(make)


def apply(store, issuer_id, *rows):
    given = {"issuer_id": issuer_id, "feed": Feed.CLEAN, "follow_id": 1, "now": NOW}
    store.write_now(record_attestations, rows=rows, **given)


def of_peer(found):
    return [match.verdict.seq for match in found.matches if match.verdict.issuer == ORIGIN]


def test_a_content_that_begins_as_another_does_is_not_that_one(store, peer):
    apply(store, peer, claim(1, ALIKE))
    assert of_peer(store.read_now(evidence, None, fingerprint=PICTURE)) == []
    [many] = store.read_now(evidence_many, None, [(PICTURE, ())])
    assert of_peer(many) == []
    apply(store, peer, claim(2, PICTURE.content))
    assert of_peer(store.read_now(evidence, None, fingerprint=PICTURE)) == [2]
    [many] = store.read_now(evidence_many, None, [(PICTURE, ())])
    assert of_peer(many) == [2]


def test_it_is_no_equal_of_ours_nor_noted_as_one(store, peer):
    apply(store, peer, claim(1, ALIKE), claim(2, PICTURE.content))
    rows = [
        store.write_now(image_row, fingerprint(name).sha256, now=NOW)
        for name in ("file 1", "file 2")
    ]
    store.write_now(note_arrivals, peer, Feed.CLEAN, rows, gone=False)
    noted = {one.image_id for one in store.read_now(waiting_arrivals, 100)}
    assert noted == {rows[1]}
    assert store.read_now(equal_images, rows[0]) == {rows[0]}


def test_made_up_beginnings_count_as_one_content(store, peer, monkeypatch):
    """Else a million rows could be put beside a popular picture, for every look-up to read."""
    monkeypatch.setattr(crowding, "MAX_ROWS_A_CONTENT", 3)
    made_up = [PICTURE.content[:KEY_BYTES] + bytes([seq]) * 24 for seq in range(1, 5)]
    apply(store, peer, *(claim(seq, made_up[seq - 1]) for seq in (1, 2)))
    apply(store, peer, claim(3, made_up[2]))
    apply(store, peer, claim(4, made_up[3]))
    held = select(verdicts.c.seq).where(
        verdicts.c.issuer_id == peer, verdicts.c.content.isnot(None)
    )
    assert sorted(store.read_now(lambda c: c.execute(held).scalars().all())) == [2, 3, 4]


def _statements():
    content = verdicts.c.content
    theirs = verdicts.alias("theirs")
    yield select(verdicts.c.id).where(same_content(content, bindparam("content", b"")))
    yield select(verdicts.c.id).where(content_in(content, [b"c" * 32, b"d" * 32]))
    joined = verdicts.join(theirs, same_content(content, theirs.c.content))
    yield select(verdicts.c.id).select_from(joined).where(theirs.c.image_id == 1)


@pytest.mark.parametrize("statement", [*_statements()], ids=("one", "several", "joined"))
def test_the_index_is_used(sqlite_store, statement):
    plan = sqlite_store.read_now(_plan, statement)
    assert any("INDEX ix_verdicts_content (<expr>=?)" in step for step in plan), plan


def test_reading_and_storing_use_it_too(sqlite_store):
    """Whatever they ask of verdicts by content; without it ten million rows would be read."""
    seen: list[str] = []
    issuer_id = sqlite_store.write_now(add_peer, ORIGIN, PeerDefaults(), now=NOW)
    sqlite_store.write_now(pipeline_row, OTHERS)
    for run in (sqlite_store.write_now, sqlite_store.read_now):
        run(lambda c: c.connection.driver_connection.set_trace_callback(seen.append))
    for seq in (1, 2):
        apply(sqlite_store, issuer_id, claim(seq, PICTURE.content, "one"))
    sqlite_store.read_now(evidence, None, fingerprint=PICTURE)
    sqlite_store.read_now(evidence_many, None, [(PICTURE, ())])
    asked = {text for text in seen if "substr" in text}
    assert len(asked) >= 5
    for text in asked:
        plan = sqlite_store.read_now(_plan, text)
        assert any("ix_verdicts_content" in step for step in plan), (text, plan)
        assert not any("SCAN verdicts" in step for step in plan), (text, plan)


def _plan(connection, statement):
    given = ()
    if not isinstance(statement, str):
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        statement, given = str(compiled), tuple(compiled.params[n] for n in compiled.positiontup)
    raw = connection.connection.driver_connection
    return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", given)]


def test_postgres_uses_it_for_many_pictures_at_once(postgres_url):
    """It counts the keys only of an index that is not partial; else it takes them for common."""
    store = Store.open(postgres_url)

    def fill(connection):
        pipeline_row(connection, OTHERS)
        issuer_id = add_peer(connection, ORIGIN, PeerDefaults(), now=NOW)
        numbers = "generate_series(1, 60000) AS i"
        connection.exec_driver_sql(
            "INSERT INTO images (id, sha256, fingerprinted, created)"
            f" SELECT i, sha256(('s' || i)::bytea), false, 1 FROM {numbers}"
        )
        connection.exec_driver_sql(
            "INSERT INTO verdicts (image_id, issuer_id, feed, pipeline_id, basis, rule, content,"
            " issued, expires, frames_seen, frames_total, received)"
            f" SELECT i, {issuer_id}, 1, 1, 0, '', sha256(('c' || i)::bytea), 1, 9, 1, 1, 1"
            f" FROM {numbers}"
        )

    store.write_now(fill)
    store.write_now(lambda c: c.exec_driver_sql("ANALYZE"))
    plans: list[str] = []

    def explain(connection, _cursor, text, given, *_rest):
        if "substr" in text and not text.startswith("EXPLAIN"):
            rows = connection.exec_driver_sql(f"EXPLAIN {text}", given)
            plans.append("\n".join(row[0] for row in rows))

    event.listen(store.engine, "before_cursor_execute", explain)
    asked = [(fingerprint(str(number)), ()) for number in range(100)]
    store.read_now(evidence_many, None, asked)
    store.close()
    assert plans
    assert all("ix_verdicts_content" in plan for plan in plans), plans
