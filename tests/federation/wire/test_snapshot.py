"""Manifests and parts of snapshots, and signed heads: what is read, and what is refused."""

import copy
import json
from dataclasses import replace

import pytest

from cache.verdict import Feed
from federation.errors import BadPage, BadProof, WrongOrigin
from federation.signing import keys
from federation.wire import proof
from federation.wire.feed_head import PageName, seal_head, verify_head
from federation.wire.page import digest
from federation.wire.page_head import EpochEnd
from federation.wire.row import Retraction
from federation.wire.snapshot import (
    MAX_PART_ROWS,
    MAX_PARTS,
    MAX_PREVIOUS_EPOCHS,
    PartName,
    Snapshot,
    build_part,
    name_part,
    parse_part,
    seal_manifest,
    verify_manifest,
)
from federation.wire.strictjson import parse
from federation.wire.wire_rows import RowWriter
from tests.federation.samples import (
    DESCRIPTION,
    EPOCH,
    NOW,
    OTHER_EPOCH,
    PIPELINE,
    RULES,
    feed_actor,
    human_row,
    model_row,
    proof_key,
)

ACTOR = feed_actor()
KEY_ID = keys.proof_key_id(ACTOR.id, proof_key().public_key())
BASE = Snapshot(
    ACTOR.id,
    Feed.FLAGGED,
    EPOCH,
    70,
    digest({"page": 70}),
    9_000,
    NOW,
    (),
    (EpochEnd(OTHER_EPOCH, 3),),
)
PLACED = (
    ((OTHER_EPOCH, 8), model_row("a", content=model_row("x").sha256)),
    ((OTHER_EPOCH, 20), human_row()),
    ((EPOCH, 1), model_row("b")),
    ((EPOCH, 8_999), model_row("c", scores={"gore": 7})),
)


def sent(document):
    return parse(json.dumps(document).encode(), 10**7)


def part_of(rows=PLACED, number=1):
    return sent(build_part(BASE, number, rows, {PIPELINE: DESCRIPTION}, RULES))


def manifest_of(*parts, key=None, **changes):
    snapshot = replace(BASE, parts=tuple(name_part(part) for part in parts), **changes)
    return sent(seal_manifest(snapshot, key or proof_key(), KEY_ID))


def verified(*parts):
    return verify_manifest(manifest_of(*parts), ACTOR, NOW)


def resigned(change):
    document = manifest_of(part_of())
    del document["proof"]
    change(document)
    return sent(proof.sign(document, proof_key(), KEY_ID, NOW))


def _set(name, value):
    return lambda document: document.update({name: value})


# --- manifests -------------------------------------------------------------------------------
def test_a_manifest_says_what_it_was_sealed_with():
    part = part_of()
    found = verified(part)
    assert found.snapshot == replace(BASE, parts=(name_part(part),))
    assert (found.snapshot.count, found.key_id) == (4, KEY_ID)


def test_a_tampered_manifest_is_refused():
    signed = manifest_of(part_of())
    for name, value in (("throughPage", 71), ("nextSeq", 9_001), ("parts", []), ("count", 0)):
        with pytest.raises(BadProof):
            verify_manifest(signed | {name: value}, ACTOR, NOW)


def test_a_manifest_of_another_feed_or_key_is_refused():
    with pytest.raises(WrongOrigin):
        verify_manifest(manifest_of(), feed_actor(Feed.CLEAN), NOW)
    with pytest.raises(BadProof):
        verify_manifest(manifest_of(key=proof_key("mallory")), ACTOR, NOW)


def test_a_revoked_key_counts_for_snapshots_before_the_named_page():
    assert verify_manifest(manifest_of(), feed_actor(revoked=NOW, revoked_from=(EPOCH, 71)), NOW)
    for named in ((EPOCH, 70), (OTHER_EPOCH, 99)):
        with pytest.raises(BadProof):
            verify_manifest(manifest_of(), feed_actor(revoked=NOW, revoked_from=named), NOW)


@pytest.mark.parametrize(
    "change",
    [
        _set("type", ["Document", "SnapshotPart"]),
        _set("wire", 2),
        _set("id", f"{ACTOR.id}/snapshots"),
        _set("epoch", None),
        _set("throughPage", 0),
        _set("digestMultibase", "zQm"),
        _set("nextSeq", 70),
        _set("published", "2036-11-22T19:45:00Z"),
        _set("count", 3),
        _set("parts", None),
        _set("parts", [{}]),
        _set("parts", [None]),
        _set("previousEpochs", None),
        _set("previousEpochs", [[EPOCH, 3]]),
        _set("previousEpochs", [[OTHER_EPOCH, 3], [OTHER_EPOCH, 4]]),
        _set("previousEpochs", [[OTHER_EPOCH, 0]]),
        _set("previousEpochs", [[OTHER_EPOCH]]),
        lambda document: document["parts"][0].update(count=0),
        lambda document: document["parts"][0].update(count=MAX_PART_ROWS + 1),
        lambda document: document["parts"][0].update(id=f"{ACTOR.id}/elsewhere"),
        lambda document: document["parts"][0].update(digestMultibase=None),
    ],
)
def test_a_manifest_against_the_rules_is_refused_whoever_signed_it(change):
    with pytest.raises(BadPage):
        verify_manifest(resigned(change), ACTOR, NOW)


def test_a_manifest_names_8192_parts_and_not_one_more():
    def parts(count):
        names = [
            PartName(f"{ACTOR.id}/snapshot/{EPOCH}-70/{number}", digest({}), 1)
            for number in range(1, count + 1)
        ]
        snapshot = replace(BASE, parts=tuple(names))
        return sent(seal_manifest(snapshot, proof_key(), KEY_ID))

    assert len(verify_manifest(parts(MAX_PARTS), ACTOR, NOW).snapshot.parts) == MAX_PARTS
    with pytest.raises(BadPage):
        verify_manifest(parts(MAX_PARTS + 1), ACTOR, NOW)


def test_a_manifest_names_256_earlier_epochs_and_not_one_more():
    def ends(count):
        return tuple(EpochEnd(f"{number:032x}", 1) for number in range(count))

    for count in (MAX_PREVIOUS_EPOCHS, MAX_PREVIOUS_EPOCHS + 1):
        document = manifest_of(previous_epochs=ends(count))
        if count == MAX_PREVIOUS_EPOCHS:
            assert verify_manifest(document, ACTOR, NOW)
        else:
            with pytest.raises(BadPage):
                verify_manifest(document, ACTOR, NOW)


# --- parts -----------------------------------------------------------------------------------
def test_a_part_gives_its_rows_and_where_each_stands():
    part = part_of()
    found = parse_part(part, verified(part), 1)
    assert found.places == tuple(place for place, _ in PLACED)
    assert [row.sha256 for row in found.rows] == [row.sha256 for _, row in PLACED]
    assert found.rows[1] == human_row()
    assert found.rules == RULES


def test_a_part_that_the_manifest_does_not_name_is_refused():
    part = part_of()
    manifest = verified(part, part_of(number=2))
    changed = copy.deepcopy(part)
    changed["rows"][0][1 + 7] += 1
    for other in (changed, part_of(number=2), part_of(PLACED[:3]), part | {"proof": {}}):
        with pytest.raises(BadPage):
            parse_part(other, manifest, 1)


@pytest.mark.parametrize(
    "change",
    [
        _set("@context", []),
        _set("type", ["Document", "AttestationPage"]),
        _set("id", f"{ACTOR.id}/elsewhere"),
        _set("attributedTo", "https://other.example/feeds/flagged"),
        _set("epoch", OTHER_EPOCH),
        _set("throughPage", 71),
        _set("part", 2),
        _set("count", 5),
        _set("rules", {}),
        _set("columns", ["seq"]),
        lambda document: document["rows"].reverse(),
        lambda document: document["rows"].__setitem__(1, document["rows"][0]),
        lambda document: document["rows"][2].__setitem__(0, 9_000),
        lambda document: document["rows"][2].__setitem__(0, 0),
        lambda document: document["rows"][2].__setitem__(0, None),
        lambda document: document["rows"][2].__setitem__(0, True),
        lambda document: document["rows"][2].__setitem__(0, [EPOCH, 1]),
        lambda document: document["rows"][2].__setitem__(0, ["0" * 32, 1]),
        lambda document: document["rows"][2].__setitem__(0, [OTHER_EPOCH, 0]),
        lambda document: document["rows"][2].__setitem__(0, [["x"], 1]),
        lambda document: document["rows"][2].__setitem__(
            slice(1, None), RowWriter(Feed.FLAGGED, EPOCH, []).cells(Retraction(EPOCH, 1))
        ),
    ],
)
def test_a_part_against_the_rules_is_refused_also_when_its_manifest_names_it(change):
    part = part_of()
    named = copy.deepcopy(part)
    change(named)
    names = (PartName(part["id"], digest(named), len(named["rows"])),)
    document = sent(seal_manifest(replace(BASE, parts=names), proof_key(), KEY_ID))
    with pytest.raises(BadPage):
        parse_part(named, verify_manifest(document, ACTOR, NOW), 1)


def test_a_part_has_5000_rows_and_not_one_more():
    rows = [((EPOCH, n + 1), model_row(str(n))) for n in range(MAX_PART_ROWS + 1)]
    part = part_of(rows[:MAX_PART_ROWS])
    assert len(parse_part(part, verified(part), 1).rows) == MAX_PART_ROWS
    with pytest.raises(ValueError, match="5000"):
        part_of(rows)


# --- heads -----------------------------------------------------------------------------------
HEAD = PageName(ACTOR.id, EPOCH, 7, digest({"page": 7}), NOW)


def head_of(key=None, **changes):
    return sent(seal_head(replace(HEAD, **changes), key or proof_key(), KEY_ID))


def test_a_head_says_which_page_is_the_last_and_is_kept_as_it_was_signed():
    document = head_of()
    found = verify_head(document, ACTOR, NOW)
    assert (found.name, found.feed, found.document) == (HEAD, Feed.FLAGGED, document)
    assert head_of() == document


def test_a_forged_head_is_refused():
    for document in (
        head_of(proof_key("mallory")),
        head_of() | {"page": 8},
        head_of() | {"digestMultibase": digest({})},
    ):
        with pytest.raises(BadProof):
            verify_head(document, ACTOR, NOW)
    with pytest.raises(WrongOrigin):
        verify_head(head_of(), feed_actor(Feed.CLEAN), NOW)
    with pytest.raises(BadProof):
        verify_head(head_of(), feed_actor(revoked=NOW, revoked_from=(EPOCH, 7)), NOW)


@pytest.mark.parametrize(
    "change",
    [
        _set("type", ["Document", "AttestationPage"]),
        _set("wire", 2),
        _set("id", "https://alpha.example/x"),
        _set("page", 0),
        _set("page", "7"),
        _set("epoch", "x"),
        _set("digestMultibase", ""),
        _set("published", "2036-11-22T19:45:00Z"),
        _set("published", None),
    ],
)
def test_a_head_against_the_rules_is_refused_whoever_signed_it(change):
    document = head_of()
    del document["proof"]
    change(document)
    with pytest.raises(BadPage):
        verify_head(sent(proof.sign(document, proof_key(), KEY_ID, NOW)), ACTOR, NOW)
