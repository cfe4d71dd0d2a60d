"""What was read under a stolen key goes, what the key signed before that stays."""

import dataclasses

import pytest

from cache.storage.feed_tables import ahead_pages, remote_pages
from cache.storage.peer_tables import evidence
from federation.reading import stories
from federation.reading.revoking import withdraw_revoked
from federation.signing import keys
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import CLEAN, head_of, key_of, other_story, pages_of, show


@pytest.fixture
async def followed(ours, peer, clock):
    """Pages 1 to 3 are here, signed by the peer's first key."""
    await ours.follow(peer)
    for name in "abc":
        peer.publish([peer.row(name)])
    show(peer, signed_head=head_of(peer, pages_of(peer)[2]))
    clock.now += 50_000
    await ours.settle()
    assert ours.pictures() == pictures(*"abc")
    return ours


async def revoke(ours, peer, revoked_from, revoked=1):
    """Let the actor say that its key counts no more, and return how many pages went."""
    actor = await ours.federation.actors.get(peer.feed_id())
    _, key_id = key_of(peer)
    key = dataclasses.replace(actor.proof_keys[key_id], revoked=revoked, revoked_from=revoked_from)
    changed = dataclasses.replace(actor, proof_keys={key_id: key})
    return ours.store.write_now(withdraw_revoked, changed)


async def test_the_rows_of_later_pages_go_and_the_feed_is_read_anew(followed, peer, clock):
    epoch = peer.epochs[CLEAN]
    assert await revoke(followed, peer, (epoch, 3)) == 1
    assert followed.pictures() == []
    assert [row.page for row in followed.rows(remote_pages)] == [1, 2]
    assert followed.follow_row().signed_head is None
    peer.new_epoch(keep=2)
    del pages_of(peer, epoch)[2:]
    peer.publish([peer.row("d")])
    show(peer)
    await followed.settle()
    assert followed.pictures() == pictures(*"abd")


async def test_an_issuer_that_tells_its_own_page_instead_is_not_accused(followed, peer, clock):
    epoch = peer.epochs[CLEAN]
    stolen = pages_of(peer)[2]
    await revoke(followed, peer, (epoch, 3))
    peer.proof[CLEAN] = keys.generate_ed25519()
    pages_of(peer)[2] = other_story(peer, stolen)
    show(peer)
    clock.now += 3_600
    await followed.settle()
    assert followed.rows(evidence) == []


async def test_a_key_without_a_place_counts_for_nothing_any_more(followed, peer):
    assert await revoke(followed, peer, None) == 3
    assert followed.rows(remote_pages) == []


@pytest.mark.parametrize("page", [4, 5])
async def test_pages_before_the_named_one_stay(followed, peer, page):
    assert await revoke(followed, peer, (peer.epochs[CLEAN], page)) == 0
    assert followed.pictures() == pictures(*"abc")


async def test_pages_of_another_epoch_than_the_named_one_go(followed, peer):
    assert await revoke(followed, peer, ("e" * 32, 4)) == 3
    assert followed.pictures() == []


async def test_a_key_that_is_not_revoked_changes_nothing(followed, peer):
    assert await revoke(followed, peer, None, revoked=None) == 0
    assert followed.pictures() == pictures(*"abc")


async def test_what_a_stolen_key_signed_of_pages_to_come_is_forgotten(followed, peer, clock):
    head = head_of(peer, peer.publish([peer.row("d")]))
    signed = stories.Signed(head["epoch"], {4: head["digestMultibase"]}, head)
    followed.store.write_now(stories.note_ahead, followed.follow_row().id, signed, clock())
    await revoke(followed, peer, (peer.epochs[CLEAN], 5))
    assert len(followed.rows(ahead_pages)) == 1
    await revoke(followed, peer, (peer.epochs[CLEAN], 4))
    assert followed.rows(ahead_pages) == []


async def test_a_feed_that_is_not_followed_has_nothing_to_take_back(followed, third):
    actor = await followed.federation.actors.fetch(third.feed_id())
    assert followed.store.write_now(withdraw_revoked, actor) == 0
