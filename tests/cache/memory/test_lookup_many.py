"""Many pictures looked up at once: the same evidence as one by one, on both databases."""

import gc
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from cache.index.near import NearCodes, NearIndex
from cache.judgement import PeerState, Trust
from cache.memory.lookup import evidence, own_fingerprint
from cache.memory.lookup_many import evidence_many, own_fingerprints
from cache.memory.peer_rows import record_attestations
from cache.memory.record import (
    Computed,
    NewFinding,
    pipeline_row,
    record_finding,
    record_images,
    record_verdict,
)
from cache.settings import PeerDefaults
from cache.storage.prepared import LIST_SIZES
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Finding, Verdict
from tests.cache.memory.test_record_and_lookup import BAD, GOOD, JUDGEMENT, NOW, own_verdict
from tests.cache.prints import DESCRIPTION, OTHERS, THEIRS, fingerprint, flipped

ORIGINS = ("https://a.example", "https://b.example")
CONTENTS = (None, b"c" * 32, b"d" * 32)
ASKED = 40


def pictures(rng):
    """Pictures of few contents and few codes, so that all sorts of matches come about."""
    codes = [fingerprint(f"code {i}").pdq for i in range(3)]
    return [
        fingerprint(
            f"picture {i}",
            content=rng.choice(CONTENTS),
            pdq=flipped(rng.choice(codes), rng.randrange(45)),
        )
        for i in range(ASKED)
    ]


def filled(connection, seed):
    rng = random.Random(seed)
    known = pictures(rng)
    for description in (DESCRIPTION, OTHERS):
        pipeline_row(connection, description)
    record_images(connection, [Computed(one, (one.pdq,) * 8) for one in known[:20]], now=NOW)
    for one in known[5:15]:
        record_verdict(connection, own_verdict(rng.choice([GOOD, BAD]), one), JUDGEMENT, now=NOW)
    for one in known[:30:7]:
        new = NewFinding(one.sha256, "pattern", rng.choice(list(Finding)), "", "an admin")
        record_finding(connection, new, JUDGEMENT, now=NOW)
    trust = Trust(clean=100, flag=100, state=PeerState.TRUSTED)
    for origin in ORIGINS:
        issuer_id = add_peer(connection, origin, PeerDefaults(), now=NOW)
        set_trust(connection, origin, trust)
        for feed in (Feed.CLEAN, Feed.FLAGGED):
            rows = [said(one, origin, feed, seq) for seq, one in enumerate(rng.sample(known, 15))]
            record_attestations(
                connection, issuer_id=issuer_id, feed=feed, follow_id=1, rows=rows, now=NOW
            )
    return known


def said(picture, origin, feed, seq):
    return Verdict(
        issuer=origin,
        sha256=picture.sha256,
        feed=feed,
        basis=Basis.MODEL,
        issued=NOW,
        expires=NOW + 9_000,
        content=picture.content,
        pdq=picture.pdq if feed is Feed.FLAGGED else None,
        pdq_quality=90 if feed is Feed.FLAGGED else None,
        pipeline=THEIRS,
        scores={"test-pattern": 7},
        epoch="e1",
        seq=seq,
    )


def forms(known, rng):
    """What may be asked for: as it is, without this or that, and things never met."""
    one = rng.choice([*known, fingerprint("never met", content=rng.choice(CONTENTS))])
    form = rng.choice(["whole", "hash", "no hash", "no content", "variants", "flat"])
    changes: dict[str, dict[str, Any]] = {
        "hash": {"content": None, "pdq": None, "pdq_quality": None, "phash": None},
        "no hash": {"sha256": b""},
        "no content": {"content": None},
        "flat": {"pdq_quality": 10},
    }
    return replace(one, **changes.get(form, {})), (one.pdq,) * 8 if form == "variants" else ()


@pytest.mark.parametrize("seed", range(4))
def test_many_at_once_find_what_each_finds_alone(store, seed):
    known = store.write_now(filled, seed)
    near = NearIndex()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False), st.integers(0, 60), st.booleans())
    def same(rng, number, with_near):
        asked = [forms(known, rng) for _ in range(number)]
        index = near if with_near else None
        alone = [
            store.read_now(evidence, index, fingerprint=one, variants=variants)
            for one, variants in asked
        ]
        assert store.read_now(evidence_many, index, asked) == alone

    same()


def test_the_made_up_pictures_bring_about_every_sort_of_match(store):
    known = store.write_now(filled, 0)
    asked = [(one, ()) for one in known]
    found = store.read_now(evidence_many, NearIndex(), asked)
    kinds = {match.kind for one in found for match in one.matches}
    assert {str(kind) for kind in kinds} == {"exact", "content", "near", "probable"}
    assert {str(match.kind) for one in found for match in one.findings} >= {"exact", "content"}


@pytest.mark.parametrize("number", [0, 1, 16, 17, LIST_SIZES[-1], LIST_SIZES[-1] + 1])
def test_lists_of_every_length_are_read_whole(store, number):
    hashes = [fingerprint(f"{i}").sha256 for i in range(number)]
    computed = [Computed(fingerprint(f"{i}")) for i in range(number)]
    store.write_now(record_images, computed, now=NOW)
    found = store.read_now(own_fingerprints, [*hashes, *hashes[:3], b"never met"])
    assert sorted(found) == sorted(hashes)
    for sha256 in hashes[:2]:
        assert found[sha256] == store.read_now(own_fingerprint, sha256)


def test_a_batch_costs_no_statement_a_picture(store):
    known = store.write_now(filled, 0)
    counted = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: counted.append(given[2]))
    raw = store.read_now(lambda c: c.connection.driver_connection)
    if hasattr(raw, "set_trace_callback"):
        raw.set_trace_callback(counted.append)
    store.read_now(evidence_many, None, [(one, ()) for one in known])
    assert len(counted) < 10


class _Exhausted:
    """An index whose every search passes its work limit before it finds anything."""

    def refresh(self, connection):
        pass

    def search(self, variants, quality, phash):
        return NearCodes(cut=True)

    def search_many(self, pictures):
        return [NearCodes(cut=True) for _ in pictures]


def test_a_search_that_was_cut_short_before_it_found_anything_says_so(store):
    picture = fingerprint("picture")
    alone = store.read_now(evidence, _Exhausted(), fingerprint=picture)
    (many,) = store.read_now(evidence_many, _Exhausted(), [(picture, ())])
    assert alone.cut
    assert many == alone


@pytest.mark.parametrize("on", [True, False])
def test_looking_for_garbage_is_left_as_it_was_found_also_when_a_batch_fails(store, on):
    try:
        gc.enable() if on else gc.disable()
        store.read_now(evidence_many, None, [(fingerprint("a"), ())])
        assert gc.isenabled() is on
        with pytest.raises(AttributeError):
            store.read_now(evidence_many, None, [(None, ())])
        assert gc.isenabled() is on
    finally:
        gc.enable()
