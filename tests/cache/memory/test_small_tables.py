"""Sightings, tokens, the instance secret and the audit throw."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from cache.errors import TokenExists
from cache.memory.record import image_row
from cache.memory.sightings import Sighting, record_sightings, source_row, unchanged
from cache.secret import audit_throw, instance_secret
from cache.storage.tables import tokens
from cache.storage.tokens import (
    MAX_TOKEN_CHARACTERS,
    Scope,
    check_token,
    create_token,
    delete_token,
    list_tokens,
)
from cache.verdict import Evidence, Feed, MatchKind
from tests.cache.pictures import (
    BAD,
    GOOD,
    OTHER,
    PICTURE,
    A,
    B,
    C,
    evidence,
    exact,
    judgement,
    near,
    trusted,
    verdict,
)
from tests.waiting import PATIENCE

NOW = 1_800_000_000


def test_a_sighting_is_unchanged_while_size_and_mark_are(store):
    image = store.write_now(image_row, b"x" * 32, now=NOW)
    source = store.write_now(source_row, name="photos", kind="folder", location="/photos")
    sighting = Sighting(source, "a.png", 10, "mtime 1", b"x" * 32, "judged", NOW)
    for _ in range(2):
        store.write_now(record_sightings, [sighting], [image])
    at = {"source_id": source, "key": "a.png"}
    assert store.read_now(unchanged, **at, size=10, mark="mtime 1") == sighting
    assert store.read_now(unchanged, **at, size=11, mark="mtime 1") is None
    assert store.read_now(unchanged, **at, size=10, mark="mtime 2") is None
    newer = Sighting(source, "a.png", 10, "mtime 2", None, "over-limit", NOW)
    store.write_now(record_sightings, [newer], [None])
    assert store.read_now(unchanged, **at, size=10, mark="mtime 1") is None
    assert store.read_now(unchanged, **at, size=10, mark="mtime 2") == newer


def test_a_source_is_one_by_its_name(store):
    first = store.write_now(source_row, name="photos", kind="folder", location="/photos")
    again = store.write_now(source_row, name="photos", kind="folder", location="/moved")
    other = store.write_now(source_row, name="gate", kind="gate", location="")
    assert first == again != other


def test_a_token_is_known_by_its_hash_alone_and_has_its_scopes(store):
    token = store.write_now(create_token, "lemmy", [Scope.SCAN, Scope.LOOKUP], now=NOW)
    found = store.read_now(check_token, token)
    assert (found.name, found.scopes) == ("lemmy", {Scope.SCAN, Scope.LOOKUP})
    rows = store.read_now(lambda c: c.execute(tokens.select()).all())
    assert token not in str(rows)
    assert len(token) > 40


@pytest.mark.parametrize("wrong", ["", "fv_", "Bearer", "\ud800", "ä", "x" * 10_000])
def test_a_wrong_token_is_unknown(store, wrong):
    token = store.write_now(create_token, "lemmy", [Scope.SCAN], now=NOW)
    assert store.read_now(check_token, wrong) is None
    assert store.read_now(check_token, token + "x") is None
    assert len(token) <= MAX_TOKEN_CHARACTERS


def test_token_names_are_taken_once_and_tokens_can_be_deleted(store):
    token = store.write_now(create_token, "lemmy", [Scope.SCAN], now=NOW)
    with pytest.raises(TokenExists, match="choose another name"):
        store.write_now(create_token, "lemmy", [Scope.SCAN], now=NOW)
    store.write_now(create_token, "another", [], now=NOW)
    listed = store.read_now(list_tokens)
    assert [(t.name, t.scopes) for t in listed] == [("another", set()), ("lemmy", {Scope.SCAN})]
    assert store.write_now(delete_token, "lemmy")
    assert not store.write_now(delete_token, "lemmy")
    assert store.read_now(check_token, token) is None


def test_the_instance_secret_is_made_once_by_any_number_of_processes(store, database_url):
    script = textwrap.dedent(
        """
        import sys
        from cache.storage.database import Store
        from cache.secret import instance_secret
        store = Store.open(sys.argv[1])
        print(store.write_now(instance_secret).hex())
        store.close()
        """
    )
    command = [sys.executable, "-c", script, database_url]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    made = {run.communicate(timeout=PATIENCE)[0].strip() for run in runs}
    assert made == {store.write_now(instance_secret).hex()}
    assert len(bytes.fromhex(made.pop())) == 32


SECRET = b"s" * 32
HERE = judgement()


def test_the_throw_is_the_same_for_a_picture_and_differs_with_secret_and_picture():
    throw = audit_throw(SECRET, Evidence(), PICTURE, HERE)
    assert throw == audit_throw(SECRET, Evidence(), PICTURE, HERE)
    assert throw != audit_throw(b"t" * 32, Evidence(), PICTURE, HERE)
    assert throw != audit_throw(SECRET, Evidence(), OTHER, HERE)


def test_the_throw_goes_by_the_content_computed_here_so_that_rewrapping_throws_no_new_dice():
    content, held = b"c" * 32, evidence(exact(verdict(GOOD, A, content=b"c" * 32)))
    throw = audit_throw(SECRET, held, PICTURE, HERE, content=content)
    assert throw == audit_throw(SECRET, held, OTHER, HERE, content=content)
    assert throw != audit_throw(SECRET, held, PICTURE, HERE, content=b"d" * 32)
    more = evidence(
        near(verdict(GOOD, A, content=b"a" * 32)),
        exact(verdict(BAD, B, feed=Feed.FLAGGED, content=b"a" * 32)),
        *held.matches,
    )
    assert throw == audit_throw(SECRET, more, PICTURE, HERE, content=content)


@pytest.mark.parametrize("computed", [None, b"d" * 32])
def test_a_peer_cannot_claim_the_content_of_a_picture_that_it_saw_pass_for_all_its_lies(computed):
    lies = [evidence(exact(verdict(GOOD, A, content=lucky * 32))) for lucky in (b"c", b"e")]
    throws = {audit_throw(SECRET, lie, PICTURE, HERE, content=computed) for lie in lies}
    assert throws == {audit_throw(SECRET, Evidence(), PICTURE, HERE, content=computed)}


def test_a_peer_of_no_clean_weight_throws_no_dice_for_others():
    twin = Evidence(twins=(replace(exact(verdict(GOOD, sha256=OTHER)), kind=MatchKind.TWIN),))
    throw = audit_throw(SECRET, twin, PICTURE, HERE)
    called = replace(twin, matches=evidence(exact(verdict(GOOD, C))).matches)
    assert audit_throw(SECRET, called, PICTURE, HERE) == throw
    trusted_too = judgement(trust={A: trusted(), C: trusted(clean=1)})
    assert audit_throw(SECRET, called, PICTURE, trusted_too) != throw


def test_the_throw_is_even_and_below_one():
    throws = [audit_throw(SECRET, Evidence(), i.to_bytes(32, "big"), HERE) for i in range(2_000)]
    assert all(0 <= throw < 1 for throw in throws)
    assert 0.03 < sum(throw < 0.05 for throw in throws) / 2_000 < 0.07
