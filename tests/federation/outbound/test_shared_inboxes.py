"""Shared inboxes: one message for several followers of a host, and never one too few."""

import pytest
from sqlalchemy import insert

from cache.storage.feed_tables import deliveries, followers
from cache.verdict import Feed
from tests.federation.outbound.test_delivery import answering, seal


def follower(peer, name, feed=Feed.CLEAN, state="approved", shared=True):
    actor_id = f"{peer.base}/{name}"
    return {
        "feed": int(feed),
        "actor_id": actor_id,
        "origin": peer.base,
        "inbox": f"{actor_id}/inbox",
        "shared_inbox": f"{peer.base}/shared" if shared else None,
        "state": state,
        "follow_id": f"{actor_id}/follow",
        "created": 0,
    }


@pytest.fixture
async def followed(ours, peer):
    """Three actors of the peer follow our clean feed, and share an inbox."""
    rows = [follower(peer, name) for name in "abc"]
    ours.store.write_now(lambda conn: conn.execute(insert(followers), rows))
    return ours


def inboxes(peer):
    return [path for method, path in peer.requests if method == "POST"]


async def test_a_page_goes_once_to_a_shared_inbox(followed, peer):
    await seal(followed, "a", "b")
    await followed.settle()
    assert inboxes(peer) == ["/shared", "/shared"]


@pytest.mark.parametrize(
    "change", [{"state": "pending"}, {"feed": Feed.FLAGGED}, {"shared": False}]
)
async def test_one_alone_gets_it_in_its_own_inbox(ours, peer, change):
    rows = [follower(peer, "a"), follower(peer, "b", **change)]
    ours.store.write_now(lambda conn: conn.execute(insert(followers), rows))
    await seal(ours, "a")
    await ours.settle()
    assert inboxes(peer) == ["/a/inbox", *(["/b/inbox"] if "shared" in change else [])]


async def test_pages_wait_for_the_others_when_one_is_rejected(followed, peer):
    peer.answers["/shared"] = answering(500)
    await seal(followed, "a")
    await followed.settle()
    for name in "ab":
        await followed.federation.reject(f"{peer.base}/{name}", Feed.CLEAN)
    waiting = [row.inbox for row in followed.rows(deliveries) if row.feed is not None]
    assert waiting == [f"{peer.base}/shared"]
    await followed.federation.reject(f"{peer.base}/c", Feed.CLEAN)
    assert [row for row in followed.rows(deliveries) if row.feed is not None] == []


async def test_a_shared_inbox_that_is_not_there_is_used_no_more_and_all_are_told(followed, peer):
    peer.answers["/shared"] = answering(404)
    await seal(followed, "a")
    await followed.settle()
    own = [f"/{name}/inbox" for name in "abc"]
    assert inboxes(peer) == ["/shared", *own]
    assert all("rows" not in sent["object"] for sent in peer.received)
    await seal(followed, "b")
    await followed.settle()
    assert inboxes(peer)[4:] == own
    assert len(followed.followers()) == 3


async def test_a_shared_inbox_that_is_gone_does_not_take_its_followers_with_it(followed, peer):
    """Only an own inbox speaks for its follower."""
    peer.answers["/shared"] = peer.answers["/b/inbox"] = answering(410)
    await seal(followed, "a")
    await followed.settle()
    assert [one.actor_id[-1] for one in followed.followers()] == ["a", "c"]
