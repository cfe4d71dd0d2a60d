"""Single attestations of our feeds: to whom, of which row, signed how, how often."""

import contextlib
import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from cache.memory.record import image_row
from cache.storage.case_tables import case_pictures, cases
from cache.storage.feed_tables import feed_rows
from cache.verdict import Basis, Feed, Finding
from federation.actors.remote_actor import parse_actor
from federation.addresses import feed_url
from federation.errors import BadPage, BadProof, FederationError, WrongOrigin
from federation.wire import attestation, proof
from federation.wire.attestation import FRESH_SECONDS, verify_attestation
from federation.wire.strictjson import parse
from tests.fakes.clock import Clock
from tests.federation.publishing.test_access import approved, plain
from tests.federation.samples import (
    BASE,
    DESCRIPTION,
    NOW,
    PIPELINE,
    RULES,
    feed_document,
    model_row,
    picture,
    proof_key,
)


def base64url(data):
    return urlsafe_b64encode(data).decode().rstrip("=")


def question(ours, name, feed="clean"):
    return f"{ours.base}/attestations/{feed}?sha256={base64url(picture(name))}"


def feed_actor(ours, feed=Feed.CLEAN):
    name = {Feed.CLEAN: "clean", Feed.FLAGGED: "flagged"}[feed]
    document = json.loads(json.dumps(ours.federation._instance.document(name)))
    return parse_actor(document, ours.feed_id(feed), allow_http=True)


def verified(ours, body, name, feed=Feed.CLEAN):
    document = parse(body, 10**6)
    return verify_attestation(document, feed_actor(ours, feed), picture(name), ours.clock())


async def test_a_row_is_answered_before_any_page_holds_it(ours, peer):
    await approved(ours, peer)
    ours.add_row("a")
    status, headers, body = await peer.get(question(ours, "a"))
    assert status == 200
    assert headers["Content-Type"] == "application/activity+json"
    assert headers["Cache-Control"] == "private, no-store"
    answer = verified(ours, body, "a")
    assert (answer.place, answer.origin, answer.row.pipeline) == (None, ours.base, PIPELINE)
    assert answer.row.scores == {"sexual": 12}
    assert answer.row.issued % 86_400 == 0
    assert json.loads(body)["id"] == question(ours, "a")


async def test_a_sealed_row_tells_its_place_and_is_found_by_it(ours, peer):
    await approved(ours, peer)
    for name in "ab":
        ours.add_row(name)
    await ours.settle()
    body = (await peer.get(question(ours, "b")))[2]
    place = verified(ours, body, "b").place
    assert place[1] == 2
    document = json.loads(body)
    assert document["id"] == f"{ours.base}/attestations/clean/2?epoch={place[0]}"
    for url in (document["id"], document["id"].partition("?")[0]):
        status, _, again = await peer.get(url)
        assert status == 200
        assert verified(ours, again, "b") == verified(ours, body, "b")


async def test_a_sha256_may_be_asked_for_in_hex(ours, peer):
    await approved(ours, peer)
    ours.add_row("a")
    url = f"{ours.base}/attestations/clean?sha256={picture('a').hex()}"
    assert json.loads((await peer.get(url))[2])["id"] == question(ours, "a")


async def test_a_person_s_finding_is_answered_by_the_flagged_feed(ours, peer):
    await approved(ours, peer, Feed.FLAGGED)
    human = {"basis": int(Basis.HUMAN), "pipeline_id": 0, "scores": None, "finding": "upheld"}
    ours.add_row("a", Feed.FLAGGED, rule="patterns", **human)
    status, _, body = await peer.get(question(ours, "a", "flagged"))
    assert status == 200
    row = verified(ours, body, "a", Feed.FLAGGED).row
    assert (row.rule, row.finding) == ("patterns", Finding.UPHELD)


async def test_the_newest_row_on_a_picture_is_the_one_answered(ours, peer):
    await approved(ours, peer)
    ours.add_row("a")
    ours.add_row("a", scores='{"sexual":77}')
    body = (await peer.get(question(ours, "a")))[2]
    assert verified(ours, body, "a").row.scores == {"sexual": 77}


def ended(ours, row_id, **changes):
    change = update(feed_rows).where(feed_rows.c.id == row_id).values(**changes)
    ours.store.write_now(lambda conn: conn.execute(change) and None)


@pytest.mark.parametrize("how", [{"live": False}, {"expires": 1}])
async def test_what_was_taken_back_or_has_expired_is_answered_no_more(ours, peer, how):
    await approved(ours, peer)
    row_id = ours.add_row("a")
    await ours.settle()
    url = json.loads((await peer.get(question(ours, "a")))[2])["id"]
    ended(ours, row_id, **how)
    assert (await peer.get(question(ours, "a")))[0] == 404
    assert (await peer.get(url))[0] == 404


async def test_a_row_at_the_second_of_its_expiry_is_gone_and_one_before_is_there(ours, peer, clock):
    await approved(ours, peer)
    ours.add_row("a", expires=clock.now + 1)
    ours.add_row("b", expires=clock.now)
    assert (await peer.get(question(ours, "a")))[0] == 200
    assert (await peer.get(question(ours, "b")))[0] == 404


def embargo(conn, sha256, *, holds=True):
    """Let the picture stand in a case under embargo, or end that."""
    conn.execute(delete(case_pictures))
    conn.execute(delete(cases))
    case = {"state": "escalated", "rules": "x", "reason": "x", "opened": NOW, "changed": NOW}
    case_id = conn.execute(cases.insert().values(embargo=holds, **case)).inserted_primary_key[0]
    shown = {"case_id": case_id, "image_id": image_row(conn, sha256, now=NOW)}
    conn.execute(case_pictures.insert().values(decision="flagged", added=NOW, **shown))


async def test_a_row_that_waits_is_neither_sealed_nor_answered_while_an_embargo_holds(ours, peer):
    await approved(ours, peer)
    ours.add_row("a")
    ours.add_row("b")
    ours.store.write_now(embargo, picture("a"))
    absent = await peer.get(question(ours, "never seen"))
    assert plain(await peer.get(question(ours, "a"))) == plain(absent)
    await ours.federation.feeds.seal()
    assert [row.sha256 for row in ours.rows(feed_rows) if row.seq] == [picture("b")]
    ours.store.write_now(embargo, picture("a"), holds=False)
    await ours.federation.feeds.seal()
    assert [row.seq for row in ours.rows(feed_rows)] == [2, 1]
    assert (await peer.get(question(ours, "a")))[0] == 200


async def test_what_a_page_holds_already_is_answered_under_embargo_too(ours, peer):
    await approved(ours, peer)
    ours.add_row("a")
    await ours.federation.feeds.seal()
    ours.store.write_now(embargo, picture("a"))
    assert (await peer.get(question(ours, "a")))[0] == 200


async def test_everyone_else_gets_the_very_404_of_what_does_not_exist(ours, peer, third, clock):
    await approved(ours, peer)
    ours.add_row("a")
    await ours.settle()
    there = question(ours, "a")
    missing = plain(await peer.get(question(ours, "nothing")))
    assert missing[0] == 404
    assert missing[1]["Cache-Control"] == "private, no-store"
    base = f"{ours.base}/attestations"
    wrong = {
        "no question": f"{base}/clean",
        "empty": f"{base}/clean?sha256=",
        "short": f"{base}/clean?sha256=AAAA",
        "padded": f"{there}=",
        "not base64": f"{base}/clean?sha256={'!' * 43}",
        "not ASCII": f"{base}/clean?sha256={'%C3%A9' * 43}",
        "with an epoch": f"{there}&epoch={'0' * 32}",
        "no feed": there.replace("/clean", "/other"),
        "the other feed": there.replace("/clean", "/flagged"),
        "seq zero": f"{base}/clean/0",
        "seq past the end": f"{base}/clean/2",
        "seq huge": f"{base}/clean/{'9' * 40}",
        "seq no number": f"{base}/clean/x",
        "seq of no epoch": f"{base}/clean/1?epoch={'0' * 32}",
        "seq of a strange epoch": f"{base}/clean/1?epoch=%00",
        "seq and sha256": f"{base}/clean/1?sha256={base64url(picture('a'))}",
    }
    seen = {name: plain(await peer.get(url)) for name, url in wrong.items()}
    seen |= {
        "unsigned": plain(await peer.get(there, sign=False)),
        "stranger": plain(await third.get(there)),
        "stranger, missing": plain(await third.get(question(ours, "nothing"))),
        "stranger with the name of a follower": plain(await third.get(there, signer=peer.id)),
        "another actor of the follower": plain(await peer.get(there, signer=peer.feed_id())),
        "stranger, by seq": plain(await third.get(f"{base}/clean/1")),
    }
    await third.follow(ours)
    await ours.settle()
    seen["pending"] = plain(await third.get(there))
    await ours.federation.reject(third.id, Feed.CLEAN)
    seen["rejected"] = plain(await third.get(there))
    peer.clock = Clock(clock.now - 3_601)
    seen["signed too long ago"] = plain(await peer.get(there))
    assert {name for name, answer in seen.items() if answer != missing} == set()


async def test_an_approved_follower_of_the_flagged_feed_is_told_nothing_by_the_clean_one(
    ours, peer
):
    await approved(ours, peer, Feed.FLAGGED)
    ours.add_row("a")
    assert (await peer.get(question(ours, "a")))[0] == 404


async def test_a_follower_asks_as_often_as_the_limit_says_and_once_more_is_429(ours, peer, clock):
    await ours.stop()
    ours.change(attestations_per_minute=3)
    await ours.start()
    await approved(ours, peer)
    ours.add_row("a")
    clock.now -= clock.now % 60
    statuses = [(await peer.get(question(ours, name)))[0] for name in ("a", "b", "a")]
    assert statuses == [200, 404, 200]
    status, headers, _ = await peer.get(question(ours, "a"))
    assert (status, headers["Retry-After"]) == (429, "60")
    clock.now += 60
    assert (await peer.get(question(ours, "a")))[0] == 200


async def test_strangers_use_up_nothing(ours, peer, third, clock):
    await ours.stop()
    ours.change(attestations_per_minute=1)
    await ours.start()
    await approved(ours, peer)
    ours.add_row("a")
    for _ in range(3):
        assert (await third.get(question(ours, "a")))[0] == 404
    assert (await peer.get(question(ours, "a")))[0] == 200


async def test_a_sealed_place_is_noted_before_it_is_told(ours, peer, monkeypatch):
    """A database restored from before it would give the place to another row."""
    await approved(ours, peer)
    await ours.settle()
    ours.add_row("a")
    await ours.federation.feeds.seal()
    assert ours.federation.feeds._heads.get("clean").page == 0
    await peer.get(question(ours, "a"))
    assert ours.federation.feeds._heads.get("clean").page == 1


# --- what a reader refuses -------------------------------------------------------------------
def signed(ours, name="a", place=None, **changes):
    """A document of our clean feed, re-signed with parts of it changed."""
    instance = ours.federation._instance
    key = instance.keys.proof[Feed.CLEAN]
    head = attestation.AttestationHead(ours.base, Feed.CLEAN, ours.clock(), place)
    row = model_row(name, issued=ours.clock() - ours.clock() % 86_400)
    [key_id] = feed_actor(ours).proof_keys
    made = attestation.seal_attestation(head, row, {PIPELINE: DESCRIPTION}, RULES, key, key_id)
    made.pop("proof")
    made = {k: v for k, v in {**made, **changes}.items() if v is not ...}
    return json.loads(json.dumps(proof.sign(made, key, key_id, ours.clock())))


PLACE = ("0123456789abcdef0123456789abcdef", 4)


async def test_what_we_seal_is_what_a_reader_takes(ours):
    for place in (None, PLACE):
        read = verify_attestation(
            signed(ours, place=place), feed_actor(ours), picture("a"), ours.clock()
        )
        assert read.place == place


@pytest.mark.parametrize(
    "changes",
    [
        {"type": ["Document", "AttestationPage"]},
        {"wire": 2},
        {"seq": ...},
        {"epoch": ...},
        {"seq": 1},
        {"epoch": PLACE[0]},
        {"epoch": PLACE[0], "seq": 0},
        {"epoch": "short", "seq": 1},
        {"epoch": PLACE[0], "seq": True},
        {"id": "https://elsewhere.example/attestations/clean"},
        {"published": "yesterday"},
        {"rows": []},
        {"rows": None},
        {"columns": ["op"]},
        {"@graph": {}},
    ],
)
async def test_an_attestation_against_the_rules_is_refused(ours, changes):
    with pytest.raises(BadPage):
        verify_attestation(signed(ours, **changes), feed_actor(ours), picture("a"), ours.clock())


async def test_two_rows_or_a_retraction_are_no_attestation(ours):
    document = signed(ours)
    [row] = document["rows"]
    retraction = [1] + [None] * (len(row) - 2) + [3]
    for rows in ([row, row], [retraction]):
        with pytest.raises(BadPage):
            verify_attestation(
                signed(ours, rows=rows), feed_actor(ours), picture("a"), ours.clock()
            )


async def test_an_attestation_on_another_picture_is_refused(ours):
    with pytest.raises(BadPage, match="another picture"):
        verify_attestation(signed(ours, "b"), feed_actor(ours), picture("a"), ours.clock())


async def test_an_old_answer_is_not_played_again(ours):
    document = signed(ours)
    actor, now = feed_actor(ours), ours.clock()
    verify_attestation(document, actor, picture("a"), now + FRESH_SECONDS)
    verify_attestation(document, actor, picture("a"), now - FRESH_SECONDS)
    with pytest.raises(BadPage, match="lately"):
        verify_attestation(document, actor, picture("a"), now + FRESH_SECONDS + 1)


async def test_a_changed_cell_a_foreign_feed_and_a_revoked_key_are_refused(ours):
    actor, now = feed_actor(ours), ours.clock()
    document = signed(ours)
    document["rows"][0][6][0] = 1
    with pytest.raises(BadProof):
        verify_attestation(document, actor, picture("a"), now)
    with pytest.raises(WrongOrigin):
        verify_attestation(signed(ours), feed_actor(ours, Feed.FLAGGED), picture("a"), now)
    instance = json.loads(json.dumps(ours.federation._instance.document("actor")))
    no_feed = parse_actor(instance, instance["id"], allow_http=True)
    with pytest.raises(WrongOrigin):
        verify_attestation(signed(ours), no_feed, picture("a"), now)
    shown = json.loads(json.dumps(ours.federation._instance.document("clean")))
    shown["assertionMethod"][0] |= {"revokedFrom": {"epoch": PLACE[0], "page": 9}}
    revoked = parse_actor(shown, ours.feed_id(), allow_http=True)
    with pytest.raises(BadProof, match="revoked"):
        verify_attestation(signed(ours, place=PLACE), revoked, picture("a"), now)


async def test_the_proof_of_a_page_does_not_serve_an_attestation(ours, peer):
    await approved(ours, peer)
    ours.add_row("a")
    await ours.settle()
    epoch = ours.federation.feeds._heads.get("clean").epoch
    page = json.loads((await peer.get(f"{ours.feed_id()}/{epoch}/pages/1"))[2])
    with pytest.raises(BadPage):
        verify_attestation(page, feed_actor(ours), picture("a"), ours.clock())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab@#:", max_size=9), inner)
    ),
    max_leaves=6,
)
MEMBERS = ["type", "id", "published", "wire", "epoch", "seq", "labels", "rules", "pipelines"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*MEMBERS, "columns", "rows", "attributedTo", "@context"]), JSON)
def test_whatever_its_issuer_signs_is_taken_or_refused_with_a_reason(member, value):
    head = attestation.AttestationHead(BASE, Feed.CLEAN, NOW, None)
    actor = parse_actor(feed_document(Feed.CLEAN), feed_url(BASE, Feed.CLEAN))
    [key_id] = actor.proof_keys
    row = model_row("a")
    made = attestation.seal_attestation(
        head, row, {PIPELINE: DESCRIPTION}, RULES, proof_key(), key_id
    )
    made.pop("proof")
    with contextlib.suppress(FederationError):
        signed = proof.sign(made | {member: value}, proof_key(), key_id, NOW)
        verify_attestation(json.loads(json.dumps(signed)), actor, row.sha256, NOW)
