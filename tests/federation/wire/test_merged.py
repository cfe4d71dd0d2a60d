"""Merged pages: what a reader gets of them, and everything that is refused."""

import copy
import json

import pytest

from cache.verdict import Feed
from federation.errors import BadPage, BadProof, WrongOrigin
from federation.signing import keys
from federation.wire import proof
from federation.wire.joining import join_rules
from federation.wire.merged import BLOCK_PAGES, MAX_RUN_ROWS, seal_merged, verify_merged
from federation.wire.page import EpochEnd, digest, verify_page
from federation.wire.row import Retraction
from federation.wire.strictjson import JsonObject, parse
from tests.federation.samples import (
    EPOCH,
    NOW,
    OTHER_EPOCH,
    feed_actor,
    human_row,
    model_row,
    proof_key,
    signed_page,
)

KEY_ID = keys.proof_key_id(feed_actor().id, proof_key().public_key())


def chained(*pages, first=1, **changes):
    """Return signed pages of these rows, each after the other."""
    made: list[JsonObject] = []
    seq = changes.pop("first_seq", first)
    for place, rows in enumerate(pages):
        before = {"previous_digest": digest(made[-1])} if made else changes
        made.append(signed_page(rows, page=first + place, first_seq=seq, **before))
        seq += len(rows)
    return made


def three():
    return chained(
        [model_row("a"), human_row()],
        [Retraction(EPOCH, 1)],
        [model_row("b", scores={"gore": 9}), Retraction(OTHER_EPOCH, 7)],
        previous_epoch=EpochEnd(OTHER_EPOCH, 9),
    )


def sent(document):
    return parse(json.dumps(document).encode(), 10**7)


def verify(document, now=NOW, **changes):
    return verify_merged(document, feed_actor(**changes), now)


def resigned(change, pages=None):
    """Return a run that the feed signed itself after `change` was done to it."""
    document = sent(seal_merged(pages or three(), proof_key(), KEY_ID))
    del document["proof"]
    change(document)
    return sent(proof.sign(document, proof_key(), KEY_ID, NOW))


def test_a_run_gives_the_very_pages_it_was_made_of():
    pages = three()
    run = verify(sent(seal_merged(pages, proof_key(), KEY_ID)))
    for page, signed in zip(run.pages, pages, strict=True):
        own = verify_page(signed, feed_actor(), NOW).page
        assert (page.head, page.digest, page.rules) == (own.head, own.digest, own.rules)
        assert len(page.rows) == len(own.rows)
    assert run.pages[0].rows[1] == human_row()
    assert run.pages[1].rows == (Retraction(EPOCH, 1),)
    assert run.pages[2].rows[0].scores == {
        **dict.fromkeys(("minor", "sexual", "test-pattern")),
        "gore": 9,
    }
    assert run.key_id == KEY_ID


def test_a_run_may_begin_anywhere_in_its_block():
    pages = chained(
        [model_row("a")],
        [model_row("b")],
        first=7,
        first_seq=900,
        previous_digest=digest({"page": 6}),
    )
    run = verify(sent(seal_merged(pages, proof_key(), KEY_ID)))
    assert [(page.head.page, page.head.first_seq) for page in run.pages] == [(7, 900), (8, 901)]
    assert run.pages[0].head.previous_digest == digest({"page": 6})


def test_a_tampered_run_is_refused():
    signed = sent(seal_merged(three(), proof_key(), KEY_ID))
    for name in ("published", "epoch", "firstPage", "firstSeq", "pages", "rows", "labels", "rules"):
        changed = copy.deepcopy(signed)
        changed[name] = sent(seal_merged(chained([model_row("z")]), proof_key(), KEY_ID))[name]
        if changed != signed:
            with pytest.raises(BadProof):
                verify(changed)


def test_a_run_of_another_feed_or_key_is_refused():
    with pytest.raises(WrongOrigin):
        verify_merged(sent(seal_merged(three(), proof_key(), KEY_ID)), feed_actor(Feed.CLEAN), NOW)
    with pytest.raises(BadProof):
        verify(sent(seal_merged(three(), proof_key("mallory"), KEY_ID)))


def test_a_revoked_key_counts_for_runs_that_end_before_the_named_page():
    signed = sent(seal_merged(three(), proof_key(), KEY_ID))
    assert verify(signed, revoked=NOW, revoked_from=(EPOCH, 4))
    for changes in (
        {"revoked_from": (EPOCH, 3)},
        {"revoked_from": (OTHER_EPOCH, 9)},
        {"revoked_from": None},
    ):
        with pytest.raises(BadProof):
            verify(signed, revoked=NOW, **changes)


def _set(name, value):
    return lambda document: document.update({name: value})


def _page(place, cell, value):
    return lambda document: document["pages"][place].__setitem__(cell, value)


@pytest.mark.parametrize(
    "change",
    [
        _set("type", ["Document", "AttestationPage"]),
        _set("wire", 2),
        _set("id", "https://alpha.example/feeds/flagged/x/pages/1-3"),
        _set("epoch", "X" * 32),
        _set("firstPage", 2),
        _set("firstPage", 0),
        _set("firstPage", True),
        _set("lastPage", 4),
        _set("firstSeq", 2),
        _set("count", 4),
        _set("count", True),
        _set("pages", []),
        _set("pages", None),
        _set("pages", [[5, NOW, digest({})]]),
        _set("published", "2026-11-22T19:45:00Z"),
        _set("previousDigest", digest({})),
        _set("previousEpoch", {"epoch": EPOCH, "page": 1}),
        _set("rows", []),
        _set("rules", {}),
        _set("pipelines", []),
        _page(0, 0, 0),
        _page(0, 0, 3),
        _page(0, 0, 1_001),
        _page(0, 1, NOW + 3_601),
        _page(0, 1, -1),
        _page(0, 1, "0"),
        _page(2, 1, NOW - 1),
        _page(0, 2, "zQm"),
        _page(0, 2, None),
        lambda document: document["pages"][0].append(1),
        lambda document: document["rows"].pop(),
    ],
)
def test_a_run_against_the_rules_is_refused_whoever_signed_it(change):
    with pytest.raises(BadPage):
        verify(resigned(change))


def test_a_row_issued_after_its_own_page_is_refused():
    """Also when later pages of the run were published after it."""
    early = [signed_page([model_row("a", issued=NOW)], published=NOW)]
    late = signed_page(
        [model_row("b")],
        page=2,
        first_seq=2,
        published=NOW + 3_000,
        previous_digest=digest(early[0]),
    )
    pages = [*early, late]
    assert verify(sent(seal_merged(pages, proof_key(), KEY_ID)))

    def change(document):
        document["pages"][0][1] = NOW - 301

    with pytest.raises(BadPage, match="issued after"):
        verify(resigned(change, pages))


def test_a_run_has_5000_rows_and_not_one_more():
    page = [model_row(str(n)) for n in range(1_000)]
    pages = chained(*[page] * 5)
    rows = verify(sent(seal_merged(pages, proof_key(), KEY_ID))).pages
    assert sum(len(page.rows) for page in rows) == MAX_RUN_ROWS
    pages = chained(*[page] * 5, [model_row("z")])
    with pytest.raises(BadPage, match="5000"):
        verify(sent(seal_merged(pages, proof_key(), KEY_ID)))


def test_a_run_lies_within_a_block_of_256_pages():
    rows = [[model_row("a")]] * 2
    before = {"previous_digest": digest({}), "first_seq": 5_000}
    inside = chained(*rows, first=BLOCK_PAGES - 1, **before)
    assert verify(sent(seal_merged(inside, proof_key(), KEY_ID)))
    across = chained(*rows, first=BLOCK_PAGES, **before)
    with pytest.raises(BadPage, match="block"):
        verify(sent(seal_merged(across, proof_key(), KEY_ID)))


def test_a_rule_with_two_expressions_is_never_merged():
    with pytest.raises(ValueError, match="two expressions"):
        join_rules([{"rules": {"r": "sexual"}}, {"rules": {"r": "minor"}}])
