"""Many pictures stored in one call leave what one call each leaves, on both databases."""

import random

import pytest
import sqlalchemy as sa

from cache.errors import UnknownPipeline
from cache.feeds.publish import publish_verdict, published_among
from cache.judgement import Judgement, PipelineState, PipelineTerms
from cache.memory.codes import Code, set_codes
from cache.memory.lookup import findings_of_image
from cache.memory.lookup_many import findings_of_images
from cache.memory.record import (
    Computed,
    NewFinding,
    image_rows,
    pipeline_row,
    record_finding,
    record_image,
    record_images,
    record_verdict,
    record_verdicts,
)
from cache.rules import parse
from cache.storage.case_tables import prints
from cache.storage.rows import IN_LIST
from cache.storage.tables import codes, images, verdicts
from cache.verdict import Finding
from tests.cache.memory.test_record_and_lookup import BAD, GOOD, JUDGEMENT, NOW, own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, OURS, THEIRS, fingerprint

BOTH = Judgement(
    {**JUDGEMENT.rules, "shape": parse("shape")},
    {
        OURS: PipelineTerms({"test-pattern": 5_000, "shape": 5_000}, PipelineState.DEFAULT),
        THEIRS: PipelineTerms({"test-pattern": 9_500, "shape": 9_500}, PipelineState.RETIRED),
    },
)


def _described(connection):
    pipeline_row(connection, DESCRIPTION)
    pipeline_row(connection, OTHERS)


def _stored(connection):
    """Everything stored of our pictures, but for row ids and the numbers of changes."""
    of_images = sa.select(images).order_by(images.c.sha256)
    of_verdicts = (
        sa.select(images.c.sha256, verdicts)
        .join_from(verdicts, images)
        .order_by(images.c.sha256, verdicts.c.pipeline_id)
    )
    of_codes = (
        sa.select(images.c.sha256, codes.c.pdq, codes.c.phash)
        .join_from(codes, images)
        .where(~codes.c.withdrawn)
        .order_by(images.c.sha256)
    )
    left_out = {"id", "image_id", "issuer_id"}
    return [
        [
            {name: value for name, value in row._mapping.items() if name not in left_out}
            for row in rows
        ]
        for rows in (connection.execute(one) for one in (of_images, of_verdicts, of_codes))
    ]


def _made_up(seed):
    """Pictures and verdicts with every sort of repetition."""
    rng = random.Random(seed)
    pictures = [
        fingerprint(f"{i}", content=rng.choice([None, b"c" * 32, b"d" * 32]), phash=None)
        for i in range(6)
    ]
    computed = [Computed(rng.choice(pictures)) for _ in range(8)]
    said = [
        own_verdict(
            {"test-pattern": rng.choice([0, 6_000, None]), "shape": rng.choice([0, 9_999])},
            rng.choice(pictures),
            issued=NOW + rng.randrange(3),
            pipeline=rng.choice([OURS, THEIRS]),
        )
        for _ in range(12)
    ]
    found = [
        NewFinding(
            rng.choice(pictures).sha256, "pattern", rng.choice(list(Finding)), "", "an admin"
        )
        for _ in range(2)
    ]
    return computed, said, found


class _Undo(Exception):
    """Rolls the write back, and carries out what it left."""


def _left_by(store, many, computed, said, found):
    def act(connection):
        for finding in found:
            record_finding(connection, finding, BOTH, now=NOW)
        if many:
            record_images(connection, computed, now=NOW)
            record_verdicts(connection, said, BOTH, now=NOW)
        else:
            for picture, variants, *_ in computed:
                record_image(connection, picture, now=NOW, variants=variants)
            for verdict in said:
                record_verdict(connection, verdict, BOTH, now=NOW)
        raise _Undo(_stored(connection))

    with pytest.raises(_Undo) as undone:
        store.write_now(act)
    return undone.value.args[0]


@pytest.mark.parametrize("seed", range(12))
def test_many_at_once_leave_what_one_by_one_leave(store, seed):
    """Repeated pictures, pipelines, times of issue; findings before, also on equal content."""
    made_up = _made_up(seed)
    store.write_now(_described)
    together = _left_by(store, True, *made_up)
    assert together == _left_by(store, False, *made_up)
    assert together[1]


def test_storing_many_twice_changes_nothing(store):
    computed, said, _ = _made_up(1)

    def act(connection):
        _described(connection)
        record_images(connection, computed, now=NOW)
        record_verdicts(connection, said, BOTH, now=NOW)
        return _stored(connection), connection.execute(sa.select(codes.c.changed)).all()

    assert store.write_now(act) == store.write_now(act)


def test_of_one_picture_in_a_batch_the_later_issued_stays_wherever_it_stands(store):
    def act(connection, issued):
        _described(connection)
        said = [own_verdict(BAD if at == max(issued) else GOOD, issued=NOW + at) for at in issued]
        record_verdicts(connection, said, BOTH, now=NOW)
        return [row["issued"] - NOW for row in _stored(connection)[1]]

    assert store.write_now(act, [1, 3, 2]) == [3]
    assert store.write_now(act, [0]) == [3]


def test_nothing_to_store_is_no_fault(store):
    store.write_now(record_images, [], now=NOW)
    store.write_now(record_verdicts, [], BOTH, now=NOW)
    assert store.write_now(image_rows, [], now=NOW) == {}


def test_one_pipeline_never_described_refuses_the_whole_batch(store):
    store.write_now(pipeline_row, DESCRIPTION)
    said = [own_verdict(GOOD), own_verdict(GOOD, fingerprint("b"), pipeline=THEIRS)]
    with pytest.raises(UnknownPipeline):
        store.write_now(record_verdicts, said, BOTH, now=NOW)
    assert store.read_now(_stored)[1] == []


@pytest.mark.parametrize("number", [IN_LIST, IN_LIST + 1])
def test_more_than_one_in_list_is_stored_as_well(store, number):
    pictures = [fingerprint(f"many {i}") for i in range(number)]
    store.write_now(_described)
    store.write_now(record_images, [Computed(picture) for picture in pictures], now=NOW)
    said = [own_verdict(BAD, picture) for picture in pictures]
    store.write_now(record_verdicts, said, BOTH, now=NOW)
    assert [len(rows) for rows in store.read_now(_stored)] == [number] * 3


def test_a_fingerprint_that_was_computed_anew_takes_the_old_ones_place(store):
    old, new = fingerprint("a"), fingerprint("a", pdq=b"n" * 32, content=None)
    store.write_now(record_images, [Computed(old, (old.pdq,))], now=NOW)
    store.write_now(record_images, [Computed(new)], now=NOW + 5)
    (row,) = store.read_now(_stored)[0]
    assert (row["pdq"], row["content"], row["pdq_variants"]) == (b"n" * 32, None, None)
    assert row["created"] == NOW


def test_a_code_that_did_not_change_is_not_numbered_again(store):
    """Else every process would read it again."""

    def act(connection):
        _described(connection)
        record_images(connection, [Computed(fingerprint("a"))], now=NOW)
        record_verdicts(connection, [own_verdict(BAD, fingerprint("a"))], BOTH, now=NOW)
        set_codes(connection, 1, {})
        return connection.execute(sa.select(codes.c.changed)).scalars().all()

    assert store.write_now(act) == store.write_now(act) == [1]
    assert store.write_now(lambda c: set_codes(c, 1, {1: Code(b"z" * 32, 90)})) is None
    assert store.read_now(lambda c: c.execute(sa.select(codes.c.changed)).scalars().all()) == [2]


def test_findings_of_many_are_those_of_each(store):
    pictures = [fingerprint(f"{i}", content=b"c" * 32 if i < 4 else None) for i in range(6)]

    def act(connection):
        record_images(connection, [Computed(picture) for picture in pictures], now=NOW)
        for number, picture in enumerate(pictures[1:6:2]):
            for rule in ("pattern", "shape")[: number + 1]:
                new = NewFinding(picture.sha256, rule, Finding.ESCALATED, "", "an admin")
                record_finding(connection, new, BOTH, now=NOW + number)
        ids = list(image_rows(connection, [p.sha256 for p in pictures], now=NOW).values())
        many = findings_of_images(connection, ids)
        each = {image_id: list(findings_of_image(connection, image_id)) for image_id in ids}
        return many, {image_id: these for image_id, these in each.items() if these}

    many, each = store.write_now(act)
    assert many == each
    assert len(many) == 5


def test_what_stands_in_our_feeds_is_told_of_many_at_once(store):
    pictures = [fingerprint(f"{i}") for i in range(3)]

    def act(connection):
        _described(connection)
        record_images(connection, [Computed(picture) for picture in pictures], now=NOW)
        said = [own_verdict({"test-pattern": 0, "shape": 0}, picture) for picture in pictures]
        record_verdicts(connection, said, BOTH, now=NOW)
        for verdict in said[:2]:
            publish_verdict(connection, verdict, BOTH, now=NOW)
        return published_among(connection, [picture.sha256 for picture in pictures])

    assert store.write_now(act) == {picture.sha256 for picture in pictures[:2]}


# --- what stands beside a fingerprint -----------------------------------------------------------
def _prints(connection):
    rows = sa.select(images.c.sha256).join_from(prints, images).order_by(prints.c.id)
    return list(connection.execute(rows).scalars())


def test_a_picture_that_was_fingerprinted_here_is_printed_once(store):
    a, b, c = (fingerprint(name) for name in "abc")
    for pictures in ([a, b], [b, a], [c, a]):
        store.write_now(record_images, [Computed(one) for one in pictures], now=NOW)
    store.write_now(image_rows, [fingerprint("known by its hash alone").sha256], now=NOW)
    printed = store.read_now(_prints)
    assert set(printed[:2]) == {a.sha256, b.sha256}
    assert printed[2:] == [c.sha256]


def test_the_canvas_the_frames_and_the_keyed_hash_are_kept(store):
    computed = Computed(fingerprint("a"), keyed=b"k" * 32, width=640, height=480, frames=3)
    store.write_now(record_images, [computed], now=NOW)
    columns = sa.select(images.c.keyed, images.c.width, images.c.height, images.c.frames)
    assert store.read_now(lambda c: c.execute(columns).one()) == (b"k" * 32, 640, 480, 3)


def test_a_verdict_of_ours_says_when_it_was_stored(store):
    store.write_now(_described)
    store.write_now(record_verdicts, [own_verdict(GOOD, fingerprint("a"))], JUDGEMENT, now=NOW + 7)
    received = sa.select(verdicts.c.received)
    assert store.read_now(lambda c: c.execute(received).scalar_one()) == NOW + 7
