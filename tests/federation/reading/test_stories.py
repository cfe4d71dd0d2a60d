"""Two signed pages of one number: kept as evidence whatever way they come, and nothing else is."""

import json

import pytest
from aiohttp import web

from cache.judgement import LabelTrust, PeerState, Trust
from cache.storage.feed_tables import ahead_pages, remote_pages
from cache.storage.peer_tables import evidence
from cache.storage.tables import label_weights
from cache.trust import notices
from cache.trust.trust import load_trust, set_trust
from federation.reading import stories
from federation.signing import keys
from federation.wire import composing, multibase, proof
from federation.wire.page import digest as digest_of
from federation.wire.strictjson import canonical
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import (
    CLEAN,
    head_of,
    key_of,
    merge,
    other_story,
    pages_of,
    resigned,
    show,
    snapshot,
)
from tests.federation.samples import proof_key


@pytest.fixture
async def followed(ours, peer):
    """Ours follows and trusts the clean feed of a peer that follows ours; pages 1 to 3 are here."""
    await ours.follow(peer)
    for name in "abc":
        peer.publish([peer.row(name)])
    trusted = Trust(
        clean=100, flag=50, labels={"gore": LabelTrust(70, 30)}, state=PeerState.TRUSTED
    )
    ours.store.write_now(set_trust, peer.base, trusted)
    await pull(ours)
    assert ours.pictures() == pictures(*"abc")
    return ours


async def pull(ours):
    ours.clock.now += 50_000
    await ours.settle()


def accused(ours):
    return bool(ours.rows(evidence))


# --- the ways by which a second story comes --------------------------------------------------
async def by_push(ours, peer, page):
    assert await peer.create(ours, page) == 202
    await ours.settle()


async def by_pull(ours, peer, page):
    pages_of(peer)[page["page"] - 1] = page
    show(peer)
    await pull(ours)


async def by_the_head_in_the_outbox(ours, peer, page):
    show(peer, signed_head=head_of(peer, page))
    await pull(ours)


async def by_merged_pages(ours, peer, page):
    """The follower asks for a run as it is far behind, and pages that it has stand in it too."""
    pages = pages_of(peer)
    first, last = len(pages) + 1, len(pages) + 2
    for name in "yz":
        peer.publish([peer.row(name)])
    told = [page if one["page"] == page["page"] else one for one in pages_of(peer)]
    run = merge(peer, 1, last, pages=told)
    show(peer, merged_through=last)

    async def redirect(_request):
        raise web.HTTPSeeOther(run["id"])

    peer.answers[f"/feeds/clean/{peer.epochs[CLEAN]}/pages/{first}-{last}"] = redirect
    await pull(ours)


async def by_the_manifest_of_a_snapshot(ours, peer, page):
    """Its front was dropped, so that whoever is behind takes the snapshot."""
    epoch = peer.epochs[CLEAN]
    for name in "vwxyz":
        peer.publish([peer.row(name)])
    manifest, _ = snapshot(peer, 5, [((epoch, 1), peer.row("a"))])
    other = resigned(peer, manifest, throughPage=page["page"], digestMultibase=digest_of(page))
    peer.documents["/feeds/clean/snapshot"] = resigned(
        peer, other, parts=[], count=0, nextSeq=page["firstSeq"] + page["count"]
    )
    show(peer, first_page=7, has_snapshot=True)
    await pull(ours)


async def by_the_head_that_a_peer_tells(ours, peer, page):
    """Sent by the very peer: it follows ours, and ours follows it."""
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, CLEAN)
    told = composing.build_heads(f"{peer.id}/heads/1", peer.id, [head_of(peer, page)])
    assert await peer.send(ours, told) == 202
    await ours.settle()


WAYS = [
    by_push,
    by_pull,
    by_the_head_in_the_outbox,
    by_merged_pages,
    by_the_manifest_of_a_snapshot,
    by_the_head_that_a_peer_tells,
]


CASES = [(way, number) for way in WAYS for number in (2, 3) if (way, number) != (by_pull, 2)]
"""Pages before the cursor are not fetched again."""


@pytest.mark.parametrize(("way", "number"), CASES)
async def test_another_story_of_a_page_is_evidence(followed, peer, way, number):
    first = digest_of(pages_of(peer)[number - 1])
    second = other_story(peer, pages_of(peer)[number - 1])
    await way(followed, peer, second)
    (found,) = followed.store.read_now(stories.read_evidence, peer.base)
    assert (found.feed, found.epoch, found.page) == (CLEAN, peer.epochs[CLEAN], number)
    assert found.cleared is None
    names_it = digest_of(second) in json.dumps(found.second)
    assert names_it or digest_of(found.second) == digest_of(second)
    assert found.first["digestMultibase"] == first
    assert followed.follow_row().halted == followed.follow_row().error


# --- what follows from it --------------------------------------------------------------------
@pytest.fixture
async def forked(followed, peer):
    """The peer has told two stories of page 3."""
    peer.second = other_story(peer, pages_of(peer)[2])
    await by_push(followed, peer, peer.second)
    assert accused(followed)
    return followed


async def test_its_weights_are_0_at_once_those_of_labels_too(forked, peer):
    trust = forked.store.read_now(load_trust)[peer.base]
    assert (trust.clean, trust.flag, trust.state) == (0, 0, PeerState.OBSERVED)
    weights = [(row.clean_weight, row.flag_weight) for row in forked.rows(label_weights)]
    assert weights == [(0, 0)]


async def test_the_admin_is_told_once(forked, peer):
    await by_push(forked, peer, peer.second)
    (notice,) = forked.store.read_now(notices.unread)
    assert (notice.kind, notice.origin) == (stories.KIND, peer.base)
    assert "page 3" in notice.text


async def test_nothing_that_the_peer_goes_on_to_say_is_taken(forked, peer):
    show(peer)
    await by_push(forked, peer, peer.publish([peer.row("d")]))
    peer.requests.clear()
    await pull(forked)
    assert peer.requests == []
    peer.new_epoch()
    await by_push(forked, peer, peer.publish([peer.row("e")]))
    assert forked.pictures() == pictures(*"abc")
    assert forked.follow_row().halted
    assert forked.store.read_now(load_trust)[peer.base].clean == 0


async def test_the_first_story_is_proven_by_its_digest_and_proof(forked, peer):
    """The page is gone; eddsa-jcs-2022 signs the hash that its digest names."""
    (found,) = forked.store.read_now(stories.read_evidence, peer.base)
    options = dict(found.first["proof"])
    signature = multibase.decode(options.pop("proofValue"))
    hashed = multibase.decode(found.first["digestMultibase"])[2:]
    options_hash = proof.hash_data(canonical(options), b"")[:32]
    private, key_id = key_of(peer)
    assert found.first["verificationMethod"] == key_id
    private.public_key().verify(signature, options_hash + hashed)


async def test_an_admin_lets_it_rest_and_the_feed_is_read_anew(forked, peer):
    follow_id = forked.follow_row().id
    pages_of(peer)[2] = peer.second
    show(peer)
    forked.store.write_now(stories.resume, follow_id, forked.clock())
    assert forked.pictures() == []
    await pull(forked)
    assert forked.pictures() == pictures(*"abc")
    row = forked.follow_row()
    assert (row.halted, row.error, row.page) == (None, None, 3)
    (found,) = forked.store.read_now(stories.read_evidence, peer.base)
    assert found.cleared == forked.clock.now - 50_000
    assert forked.store.read_now(load_trust)[peer.base].clean == 0


async def test_what_was_let_rest_is_not_held_against_the_feed_again(forked, peer):
    first = pages_of(peer)[2]
    pages_of(peer)[2] = peer.second
    forked.store.write_now(stories.resume, forked.follow_row().id, forked.clock())
    show(peer)
    await pull(forked)
    await by_the_head_that_a_peer_tells(forked, peer, first)
    assert forked.follow_row().halted is None
    assert await peer.create(forked, first) == 202
    await forked.settle()
    assert forked.follow_row().halted is None


async def test_another_page_told_twice_after_that_is_evidence_again(forked, peer):
    forked.store.write_now(stories.resume, forked.follow_row().id, forked.clock())
    show(peer)
    await pull(forked)
    await by_push(forked, peer, other_story(peer, pages_of(peer)[1]))
    assert [row.page for row in forked.rows(evidence)] == [3, 2]
    assert forked.follow_row().halted


async def test_letting_rest_what_is_not_halted_changes_nothing(followed):
    before = followed.follow_row()
    followed.store.write_now(stories.resume, before.id, followed.clock())
    assert followed.follow_row() == before
    assert followed.pictures() == pictures(*"abc")


# --- pages that are not here yet -------------------------------------------------------------
async def test_a_page_ahead_of_the_cursor_is_held_against_the_one_that_comes(followed, peer):
    peer.publish([peer.row("d")])
    ahead = peer.publish([peer.row("e")])
    peer.answers["/feeds/clean/outbox"] = broken
    await by_push(followed, peer, other_story(peer, ahead))
    assert len(followed.rows(ahead_pages)) == 1
    peer.answers.clear()
    await pull(followed)
    await pull(followed)
    assert [row.page for row in followed.rows(evidence)] == [5]


async def test_two_pages_ahead_of_the_cursor_are_held_against_each_other(followed, peer):
    peer.publish([peer.row("d")])
    ahead = peer.publish([peer.row("e")])
    peer.answers["/feeds/clean/outbox"] = broken
    await by_push(followed, peer, ahead)
    second = dict(other_story(peer, ahead))
    create = composing.build_create(second) | {"id": f"{second['id']}#again"}
    assert await peer.send(followed, create) == 202
    await followed.settle()
    assert [row.page for row in followed.rows(evidence)] == [5]


async def test_a_page_ahead_is_forgotten_once_it_is_here(followed, peer):
    peer.publish([peer.row("d")])
    await by_push(followed, peer, peer.publish([peer.row("e")]))
    assert followed.follow_row().page == 5
    assert followed.rows(ahead_pages) == []
    assert not accused(followed)


@pytest.mark.parametrize("count", [stories.MAX_AHEAD_PAGES, stories.MAX_AHEAD_PAGES + 1])
async def test_of_pages_ahead_a_bounded_number_is_kept_the_newest(followed, count):
    follow_id = followed.follow_row().id

    def note(conn):
        for number in range(count):
            signed = stories.Signed("e" * 32, {100 + number: "zQm"}, {"page": number})
            stories.note_ahead(conn, follow_id, signed, 1_000 + number)

    followed.store.write_now(note)
    kept = [row.page for row in followed.rows(ahead_pages)]
    assert len(kept) == stories.MAX_AHEAD_PAGES
    assert max(kept) == 100 + count - 1


async def broken(_request):
    return web.Response(status=503)


# --- honest peers ----------------------------------------------------------------------------
async def test_a_replayed_and_a_reordered_push_are_no_second_story(followed, peer):
    for page in (*pages_of(peer), *reversed(pages_of(peer))):
        create = composing.build_create(page)
        assert await peer.send(followed, create | {"id": f"{create['id']}-{page['page']}"}) == 202
        await followed.settle()
    assert not accused(followed)


async def test_a_page_signed_anew_by_a_rotated_key_is_no_second_story(followed, peer):
    peer.proof[CLEAN] = keys.generate_ed25519()
    followed.clock.now += 3_600
    await by_push(followed, peer, resigned(peer, pages_of(peer)[2]))
    assert not accused(followed)


async def test_merged_pages_are_the_same_story(followed, peer):
    for name in "defgh":
        peer.publish([peer.row(name)])
    merge(peer, 4, 8)
    show(peer, merged_through=8)
    await pull(followed)
    assert followed.pictures() == pictures(*"abcdefgh")
    for page in pages_of(peer):
        await by_push(followed, peer, page)
    assert not accused(followed)


@pytest.mark.parametrize("keep", [0, 1, 3])
async def test_a_restored_backup_that_begins_an_epoch_is_no_second_story(followed, peer, keep):
    peer.new_epoch(keep=keep)
    del pages_of(peer, followed.follow_row().epoch)[keep:]
    peer.publish([peer.row("other")])
    await pull(followed)
    await pull(followed)
    assert not accused(followed)
    assert followed.pictures() == pictures(*"abc"[:keep], "other")


async def test_two_clones_with_epochs_of_their_own_are_no_second_story(followed, peer):
    """Both answer under one name, in turn; what is held is one history or the other."""
    epoch = peer.epochs[CLEAN]
    for name in ("one", "other"):
        peer.epochs[CLEAN] = epoch
        peer.new_epoch()
        peer.publish([peer.row(name)])
        await pull(followed)
        await pull(followed)
    assert not accused(followed)


async def test_a_page_that_another_signed_accuses_nobody(followed, peer, third):
    """Neither a proxy that changes pages nor a peer that makes some up for another."""
    page = pages_of(peer)[2]
    forged = dict(other_story(peer, page))
    forged = proof.sign(
        {name: value for name, value in forged.items() if name != "proof"},
        proof_key("stranger"),
        forged["proof"]["verificationMethod"],
        peer.clock(),
    )
    assert await peer.create(followed, json.loads(json.dumps(forged))) == 401
    pages_of(peer)[2] = forged
    show(peer)
    await pull(followed)
    assert not accused(followed)
    assert followed.follow_row().halted is None


async def test_an_unsigned_outbox_accuses_nobody(followed, peer):
    show(peer, digest=multibase.digest(b"something"))
    await pull(followed)
    assert not accused(followed)
    assert "another digest" in followed.follow_row().error


@pytest.mark.parametrize("last", [1, 2])
async def test_an_outbox_that_shrinks_is_an_error_and_no_accusation(followed, peer, last):
    page = pages_of(peer)[last - 1]
    show(peer, last_page=last, digest=digest_of(page), signed_head=head_of(peer, page))
    await pull(followed)
    assert not accused(followed)
    assert f"ends at page {last}" in followed.follow_row().error
    assert followed.pictures() == pictures(*"abc")


async def test_pages_keep_their_digests_when_a_feed_is_read_anew(followed, peer):
    """Else a new epoch would be a way to tell the old one otherwise."""
    epoch = peer.epochs[CLEAN]
    third_page = pages_of(peer)[2]
    peer.new_epoch(keep=2)
    peer.publish([peer.row("d")])
    await pull(followed)
    assert followed.pictures() == pictures(*"abd")
    await by_push(followed, peer, other_story(peer, third_page))
    assert [(row.epoch, row.page) for row in followed.rows(evidence)] == [(epoch, 3)]


async def test_the_proof_of_a_page_read_alone_is_kept(followed, peer):
    rows = followed.rows(remote_pages)
    assert [json.loads(row.proof) for row in rows] == [page["proof"] for page in pages_of(peer)]
