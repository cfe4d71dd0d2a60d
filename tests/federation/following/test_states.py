"""The states of a follow on both sides, and answers nobody asked for (Pixelfed CVE-2025-30741)."""

import secrets

import pytest

from cache.settings import PeerDefaults
from cache.storage.feed_tables import deliveries, followers, follows, inbox
from cache.storage.trust_tables import notices
from cache.verdict import Feed
from federation.following.followers import remove
from federation.wire import activity, composing


async def ask(ours, peer):
    """Let us ask to follow the peer's clean feed; returns the Follow as the peer received it."""
    await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    await ours.settle()
    return [one for one in peer.received if one["type"] == "Follow"][-1]


async def answer(ours, peer, follow, *, accepted, actor=None, **more):
    """Answer a Follow as its feed, or as another actor."""
    asked = activity.Follow(follow["id"], follow["actor"], follow["object"])
    answer_id = f"{actor or follow['object']}/answers/{secrets.token_hex(8)}"
    sent = composing.build_answer(answer_id, asked, accepted=accepted)
    if actor is not None:
        sent["actor"] = actor
    status = await peer.send(ours, sent, **more)
    await ours.settle()
    return status


def state(ours):
    rows = ours.rows(follows)
    return rows[0].state if rows else None


def told(ours):
    return [row.kind for row in ours.rows(notices)]


# --- what we asked ----------------------------------------------------------------------------
async def test_an_accept_that_was_asked_for_is_taken_and_twice_does_no_harm(ours, peer):
    follow = await ask(ours, peer)
    assert state(ours) == "pending"
    for _ in range(2):
        assert await answer(ours, peer, follow, accepted=True) == 202
        assert state(ours) == "accepted"
    assert told(ours) == []


async def test_an_accept_from_a_third_party_is_refused(ours, peer, third):
    follow = await ask(ours, peer)
    await third.follow(ours)
    await ours.settle()
    feed = third.feed_id()
    status = await answer(ours, third, follow, accepted=True, actor=feed, signer=feed)
    assert status in (401, 403)
    assert await answer(ours, third, follow, accepted=True, actor=third.id) in (401, 403)
    assert state(ours) == "pending"


async def test_another_actor_of_the_same_peer_does_not_answer_for_its_feed(ours, peer):
    follow = await ask(ours, peer)
    await peer.follow(ours)
    await ours.settle()
    assert await answer(ours, peer, follow, accepted=True, actor=peer.id) == 403
    assert state(ours) == "pending"


async def test_an_accept_that_was_never_asked_for_is_refused(ours, peer):
    await peer.follow(ours)
    await ours.settle()
    made_up = {"id": f"{ours.base}/actor/follows/1", "actor": f"{ours.base}/actor"}
    made_up["object"] = peer.id
    assert await answer(ours, peer, made_up, accepted=True) == 403
    assert ours.rows(follows) == []


async def test_an_accept_of_an_old_follow_is_refused(ours, peer):
    old = await ask(ours, peer)
    new = await ask(ours, peer)
    assert old["id"] != new["id"]
    assert await answer(ours, peer, old, accepted=True) == 403
    assert state(ours) == "pending"
    assert await answer(ours, peer, new, accepted=True) == 202
    assert state(ours) == "accepted"


async def test_an_accept_after_we_unfollowed_is_refused(ours, peer):
    follow = await ask(ours, peer)
    await answer(ours, peer, follow, accepted=True)
    await ours.federation.unfollow(f"clean@127.0.0.1:{peer.port}")
    await ours.settle()
    assert peer.received[-1]["type"] == "Undo"
    assert await answer(ours, peer, follow, accepted=True) in (401, 403)
    assert ours.rows(follows) == []


async def test_a_reject_after_an_accept_ends_reading_and_the_admin_is_told(ours, peer):
    peer.publish([peer.row("a")])
    follow = await ask(ours, peer)
    await answer(ours, peer, follow, accepted=True)
    assert len(ours.pictures()) == 1
    for _ in range(2):
        assert await answer(ours, peer, follow, accepted=False) == 202
    assert (state(ours), told(ours)) == ("rejected", ["follow-ended"])
    peer.publish([peer.row("b")])
    before = len(peer.requests)
    ours.clock.now += 100_000
    await ours.settle()
    assert len(peer.requests) == before
    assert len(ours.pictures()) == 1  # what it said before stays until it expires


async def test_a_peer_may_change_its_mind_from_reject_to_accept(ours, peer):
    follow = await ask(ours, peer)
    await answer(ours, peer, follow, accepted=False)
    assert (state(ours), told(ours)) == ("rejected", [])
    await answer(ours, peer, follow, accepted=True)
    assert state(ours) == "accepted"


async def test_we_may_ask_again_after_a_rejection(ours, peer):
    await answer(ours, peer, await ask(ours, peer), accepted=False)
    again = await ask(ours, peer)
    assert state(ours) == "pending"
    await answer(ours, peer, again, accepted=True)
    assert state(ours) == "accepted"


async def test_asking_for_what_is_accepted_sends_nothing(ours, peer):
    await answer(ours, peer, await ask(ours, peer), accepted=True)
    before = len(peer.received)
    await ask(ours, peer)
    assert (state(ours), len(peer.received)) == ("accepted", before)


# --- what we were asked -----------------------------------------------------------------------
async def asked(ours, peer, approve=True):
    """Let the peer ask to follow our clean feed; returns its Follow."""
    sent, status = await peer.follow(ours)
    assert status == 202
    await ours.settle()
    if approve:
        await ours.federation.approve(peer.id, Feed.CLEAN)
        await ours.settle()
    return sent


def follower(ours):
    return [one.state for one in ours.followers()]


async def undo(ours, peer, sent):
    of = activity.Follow(sent["id"], sent["actor"], sent["object"])
    status = await peer.send(ours, composing.build_undo(f"{sent['id']}/undo", of))
    await ours.settle()
    return status


async def test_following_twice_keeps_one_row_and_what_was_said_of_it(ours, peer):
    await asked(ours, peer)
    peer.received.clear()
    again = await asked(ours, peer, approve=False)
    assert follower(ours) == ["approved"]
    assert [(one["type"], one["object"]["id"]) for one in peer.received] == [
        ("Accept", again["id"])
    ]


async def test_the_same_follow_sent_again_is_acted_on_once(ours, peer):
    sent = await asked(ours, peer, approve=False)
    assert await peer.send(ours, sent) == 202
    await ours.settle()
    assert (follower(ours), len(ours.rows(inbox))) == (["pending"], 1)


async def test_an_undo_ends_it_and_a_second_one_does_no_harm(ours, peer):
    sent = await asked(ours, peer)
    assert await undo(ours, peer, sent) == 202
    assert ours.followers() == []
    of = activity.Follow(sent["id"], sent["actor"], sent["object"])
    status = await peer.send(ours, composing.build_undo(f"{sent['id']}/undo2", of))
    assert status < 500
    await ours.settle()
    assert ours.followers() == []


async def test_an_undo_of_something_unknown_changes_nothing(ours, peer):
    sent = await asked(ours, peer)
    unknown = sent | {"id": f"{peer.id}/follows/unknown"}
    assert (await undo(ours, peer, unknown)) < 500
    assert follower(ours) == ["approved"]


async def test_the_undo_of_an_old_follow_does_not_end_the_new_one(ours, peer):
    """It may come late: hosts are delivered to again and again."""
    old = await asked(ours, peer)
    await asked(ours, peer, approve=False)
    assert (await undo(ours, peer, old)) < 500
    assert follower(ours) == ["approved"]


async def test_an_undo_by_another_peer_changes_nothing(ours, peer, third):
    sent = await asked(ours, peer)
    await asked(ours, third)
    forged = composing.build_undo(
        f"{third.id}/undo", activity.Follow(sent["id"], third.id, sent["object"])
    )
    assert await third.send(ours, forged) < 500
    await ours.settle()
    assert follower(ours) == ["approved", "approved"]


async def test_a_rejection_outlives_undo_and_asking_again(ours, peer):
    sent = await asked(ours, peer, approve=False)
    await ours.federation.reject(peer.id, Feed.CLEAN)
    await ours.settle()
    await undo(ours, peer, sent)
    peer.received.clear()
    await asked(ours, peer, approve=False)
    assert follower(ours) == ["rejected"]
    assert [one["type"] for one in peer.received] == ["Reject"]


async def test_a_rejected_follower_may_be_approved_later(ours, peer):
    await asked(ours, peer, approve=False)
    await ours.federation.reject(peer.id, Feed.CLEAN)
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    assert follower(ours) == ["approved"]
    assert [one["type"] for one in peer.received] == ["Reject", "Accept"]


@pytest.mark.parametrize("before", ["pending", "approved", "rejected"])
async def test_a_follower_that_is_removed_is_told_gets_no_page_and_may_ask_again(
    ours, peer, before
):
    await asked(ours, peer, approve=before == "approved")
    if before == "rejected":
        await ours.federation.reject(peer.id, Feed.CLEAN)
        await ours.settle()
    ours.add_row("a")
    await ours.federation.feeds.seal()
    peer.received.clear()
    instance = ours.federation._instance
    ours.store.write_now(remove, instance, peer.id, Feed.CLEAN)
    await ours.settle()
    told = [] if before == "rejected" else ["Reject"]
    assert [one["type"] for one in peer.received] == told
    assert (ours.rows(followers), ours.rows(deliveries)) == ([], [])
    status, _, _ = await peer.get(f"{ours.feed_id()}/{'0' * 32}/pages/1")
    assert status == 404
    await asked(ours, peer, approve=False)
    assert follower(ours) == ["pending"]
