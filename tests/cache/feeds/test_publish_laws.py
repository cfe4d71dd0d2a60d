"""The laws of our feeds, whatever is scanned, decided and rescanned in whatever order."""

import shutil

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from cache.feeds.publish import is_published, publish_finding, publish_verdict
from cache.judgement import Judgement, PipelineState, PipelineTerms
from cache.memory.record import (
    NewFinding,
    pipeline_row,
    record_finding,
    record_image,
    record_verdict,
)
from cache.rules import parse
from cache.storage.database import Store
from cache.storage.feed_tables import feed_rows
from cache.verdict import Feed, Finding
from tests.cache.memory.test_record_and_lookup import own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, fingerprint

RULES = {"pattern": parse("test-pattern"), "gory": parse("gore")}
THRESHOLDS = {"test-pattern": 5_000, "gore": 5_000}
ONE = fingerprint("one")
TWIN = fingerprint("twin", content=ONE.content)
START = 1_800_000_000

SCANS = st.tuples(
    st.just("scan"),
    st.sampled_from([ONE, TWIN]),
    st.sampled_from([OURS, THEIRS]),
    st.sampled_from([10, 9_000, 4_500, 9_100]),
    st.sampled_from([10, 10, 10, 9_000]),
)
FINDINGS = st.tuples(
    st.just("find"),
    st.sampled_from([ONE, TWIN]),
    st.sampled_from(["pattern", "gory"]),
    st.sampled_from(Finding),
)
WAITS = st.tuples(st.just("wait"), st.sampled_from([1, 600]))
STATES = st.sampled_from(
    [PipelineState.ACCEPTED, PipelineState.ACCEPTED, PipelineState.RETIRED, PipelineState.SHADOW]
)


def _act(connection, step, judgement, now):
    """Do one step as the executable does; return whether an embargo holds afterwards."""
    match step:
        case ("scan", picture, pipeline, pattern, gore):
            scores = {"test-pattern": pattern, "gore": gore}
            verdict = own_verdict(scores, picture, pipeline=pipeline, issued=now)
            record_verdict(connection, verdict, judgement, now=now)
            publish_verdict(connection, verdict, judgement, now=now)
            size = _size(connection)
            assert is_published(connection, verdict, judgement, now=now)
            publish_verdict(connection, verdict, judgement, now=now)
            assert _size(connection) == size
        case ("find", picture, rule, finding):
            new = NewFinding(picture.sha256, rule, finding, "seen", "an admin")
            record_finding(connection, new, judgement, now=now)
            size = _size(connection)
            publish_finding(connection, picture.sha256, rule, judgement, now=now)
            assert finding is not Finding.ESCALATED or _size(connection) == size
            size = _size(connection)
            publish_finding(connection, picture.sha256, rule, judgement, now=now)
            assert _size(connection) == size


def _size(connection):
    return connection.execute(select(func.count()).select_from(feed_rows)).scalar_one()


def _check_log(connection, now):
    rows = connection.execute(select(feed_rows).order_by(feed_rows.c.id)).all()
    by_id = {row.id: row for row in rows}
    targets = [row.target_id for row in rows if row.op == 1]
    assert len(targets) == len(set(targets))
    for row in rows:
        if row.op == 1:
            target = by_id[row.target_id]
            assert (target.op, target.feed, target.sha256) == (0, row.feed, row.sha256)
            assert target.id < row.id
            assert not target.live
    standing = [r for r in rows if r.op == 0 and r.id not in targets and r.expires > now]
    for picture in (ONE, TWIN):
        feeds = {row.feed for row in standing if row.sha256 == picture.sha256}
        assert len(feeds) <= 1
    live = [(r.feed, r.sha256, r.pipeline_id, r.basis, r.rule) for r in standing if r.live]
    assert len(live) == len(set(live))
    for row in standing:
        assert row.feed == int(Feed.FLAGGED) or row.pdq is None


@settings(max_examples=80, deadline=None)
@given(
    steps=st.one_of(
        st.lists(SCANS, min_size=2, max_size=8),
        st.lists(st.one_of(SCANS, FINDINGS, WAITS), min_size=2, max_size=12),
    ),
    states=st.tuples(st.just(PipelineState.DEFAULT), STATES),
)
def test_a_reader_never_finds_a_picture_in_both_feeds_nor_a_row_twice(
    _sqlite_template, tmp_path_factory, steps, states
):
    path = tmp_path_factory.mktemp("laws") / "laws.sqlite3"
    shutil.copy(_sqlite_template, path)
    store = Store.open(f"sqlite:///{path}")
    terms = {
        pipeline: PipelineTerms(THRESHOLDS, state)
        for pipeline, state in zip((OURS, THEIRS), states, strict=True)
    }

    def run(connection):
        now = START
        for description in (DESCRIPTION, OTHERS):
            pipeline_row(connection, description)
        for picture in (ONE, TWIN):
            record_image(connection, picture, now=now)
        for step in steps:
            now += step[1] if step[0] == "wait" else 1
            _act(connection, step, Judgement(RULES, terms), now)
            _check_log(connection, now)

    store.write_now(run)
    store.close()
