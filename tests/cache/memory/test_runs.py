"""Runs over a source and their findings, on both databases."""

from dataclasses import replace
from random import Random
from string import ascii_letters, digits

import pytest

from cache.errors import UnknownRun
from cache.memory.runs import (
    PAGE_ROWS,
    Advance,
    Finding,
    ItemState,
    RunKind,
    RunState,
    advance_run,
    begin_run,
    count_findings,
    end_run,
    findings_page,
    last_count,
    load_run,
    mark_findings,
    newest_runs,
    record_finding,
    resume_run,
)
from cache.memory.sightings import Sighting, record_sightings, source_row, unchanged
from cache.verdict import Decision

OPTIONS = {"prefix": ""}
FLAGGED = Finding("a.png", 3, "m1", b"s" * 32, Decision.FLAGGED, "why", ("r",), ("polyglot",))


@pytest.fixture
def source(store):
    return store.write_now(source_row, name="n", kind="folder", location="/n")


@pytest.fixture
def run(store, source):
    return begin(store, source)


def begin(store, source, options=OPTIONS, kind=RunKind.SCAN):
    return store.write_now(begin_run, source, kind, options, reads_all=False, now=1)


def findings(store, run, **options):
    return store.read_now(findings_page, run.id, 0, **options)


def test_a_run_goes_on_behind_its_cursor_until_it_is_done(store, source, run):
    assert (run.state, run.cursor, run.source) == (RunState.RUNNING, None, "n")
    store.write_now(advance_run, run.id, Advance("c", 5, 2), now=2)
    store.write_now(advance_run, run.id, Advance(None, 1, 1), now=3)
    again = store.write_now(resume_run, source, RunKind.SCAN, OPTIONS, now=4)
    assert (again.id, again.cursor, again.seen, again.scanned) == (run.id, "c", 6, 3)
    assert store.read_now(last_count, source, RunKind.SCAN, OPTIONS) is None
    store.write_now(end_run, run.id, RunState.DONE, now=5)
    assert store.write_now(resume_run, source, RunKind.SCAN, OPTIONS, now=6) is None
    assert store.read_now(last_count, source, RunKind.SCAN, OPTIONS) == 6


def test_a_run_of_other_options_or_kind_is_not_gone_on_with(store, source, run):
    assert store.write_now(resume_run, source, RunKind.SCAN, {"prefix": "x"}, now=4) is None
    assert store.write_now(resume_run, source, RunKind.WATCH, OPTIONS, now=4) is None


def test_a_run_is_of_where_its_source_was_and_is_not_gone_on_with_elsewhere(store, source, run):
    store.write_now(advance_run, run.id, Advance("c", 5, 2), now=2)
    elsewhere = {"name": "n", "kind": "folder", "location": "/elsewhere"}
    assert store.write_now(source_row, **elsewhere) == source
    assert store.write_now(resume_run, source, RunKind.SCAN, OPTIONS, now=3) is None
    assert store.read_now(load_run, run.id).location == "/n"
    assert begin(store, source).location == "/elsewhere"


def test_an_unknown_run_is_named(store):
    with pytest.raises(UnknownRun, match="no run 77"):
        store.read_now(load_run, 77)


def test_a_finding_is_read_as_it_was_written(store, run):
    store.write_now(record_finding, run.id, FLAGGED)
    [found] = findings(store, run)
    assert replace(found, id=0) == FLAGGED
    assert store.read_now(count_findings, run.id) == {"flagged": 1}
    [(listed, counts)] = store.read_now(newest_runs, 10)
    assert (listed.id, counts) == (run.id, {"flagged": 1})


def test_what_was_acted_on_and_is_there_again_may_be_acted_on_again(store, run):
    store.write_now(record_finding, run.id, FLAGGED)
    [found] = findings(store, run)
    store.write_now(mark_findings, [(found.id, ItemState.ACTED, "n")], action="delete", now=9)
    [acted] = findings(store, run)
    assert (acted.state, acted.action, acted.note, acted.acted) == ("acted", "delete", "n", 9)
    store.write_now(record_finding, run.id, replace(FLAGGED, mark="m2"))
    [other] = findings(store, run)
    assert replace(other, id=0) == replace(FLAGGED, mark="m2")


def test_findings_come_in_pages_and_by_what_is_asked_for(store, run):
    def put(connection):
        for number in range(PAGE_ROWS + 1):
            decision = Decision.REVIEW if number % 2 else Decision.FLAGGED
            inside = ("polyglot",) if number == 7 else ()
            row = replace(FLAGGED, key=f"{number}", decision=decision, inside=inside)
            record_finding(connection, run.id, row)

    store.write_now(put)
    first = findings(store, run)
    rest = store.read_now(findings_page, run.id, first[-1].id)
    assert (len(first), len(rest)) == (PAGE_ROWS, 1)
    assert {one.decision for one in findings(store, run, decisions=[Decision.REVIEW])} == {"review"}
    assert [one.key for one in findings(store, run, only_inside=True)] == ["7"]
    inside = store.read_now(count_findings, run.id, only_inside=True)
    assert inside == {"review": 1}
    assert findings(store, run, states=[ItemState.ACTED]) == []


def test_the_longest_key_of_a_source_is_stored(store, source, run):
    """PostgreSQL compresses before it indexes: only what looks random needs all its bytes."""
    key = "".join(Random(1).choices(ascii_letters + digits, k=2_048))  # KEY_BYTES_MAX of scanner
    met = Sighting(source, key, 1, "m", None, "over-limit", 1)
    store.write_now(record_sightings, [met], [None])
    store.write_now(record_finding, run.id, replace(FLAGGED, key=key))
    assert store.read_now(unchanged, source_id=source, key=key, size=1, mark="m") is not None
    assert [found.key for found in findings(store, run)] == [key]
