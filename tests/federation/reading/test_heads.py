"""Exchange of heads: told to mutual peers alone, compared with what is here, never fetched for."""

import pytest

from cache.storage.feed_tables import ahead_pages
from cache.storage.peer_tables import evidence
from federation.following.followers import APPROVED
from federation.reading.heads import MAX_HEADS_TOLD, batched
from federation.wire import composing
from federation.wire.activity import AnnounceHeads, parse_activity
from federation.wire.composing import INLINE_BYTES
from federation.wire.strictjson import to_bytes
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import (
    CLEAN,
    head_of,
    other_story,
    pages_of,
    resigned,
    show,
)


@pytest.fixture
async def mutual(ours, peer, third, clock):
    """Ours follows the peer and the third; the third follows ours, and so the two are mutual."""
    for one in (peer, third):
        await ours.follow(one)
        for name in "ab":
            one.publish([one.row(name)])
        show(one, signed_head=head_of(one, pages_of(one)[1]))
    clock.now += 50_000
    await ours.settle()
    await befriend(ours, third)
    return ours


async def befriend(ours, one):
    await one.follow(ours)
    await ours.settle()
    await ours.federation.approve(one.id, CLEAN)
    await ours.settle()
    one.received.clear()


async def tell(ours, *heads, by, number=1):
    told = composing.build_heads(f"{by.id}/heads/{number}", by.id, list(heads))
    status = await by.send(ours, told)
    await ours.settle()
    return status


def announced(one):
    return [sent for sent in one.received if sent["type"] == "Announce"]


# --- telling ---------------------------------------------------------------------------------
async def test_a_mutual_peer_is_told_the_heads_of_the_others(mutual, peer, third):
    assert await mutual.federation.heads.tell() == 1
    await mutual.settle()
    (sent,) = announced(third)
    activity = parse_activity(sent, allow_http=True)
    assert isinstance(activity, AnnounceHeads)
    assert activity.actor == f"{mutual.base}/actor"
    assert list(activity.heads) == [head_of(peer, pages_of(peer)[1])]
    assert announced(peer) == []  # it does not follow ours


async def test_one_that_only_follows_or_waits_is_not_told(ours, peer, third, clock):
    await ours.follow(peer)
    peer.publish([peer.row("a")])
    show(peer, signed_head=head_of(peer, pages_of(peer)[0]))
    clock.now += 50_000
    await ours.settle()
    await befriend(ours, third)  # ours does not follow it
    await peer.follow(ours)
    await ours.settle()
    assert [one.state for one in ours.followers()] == [APPROVED, "pending"]
    assert await ours.federation.heads.tell() == 0


async def test_heads_are_told_once_in_their_time_also_after_a_restart(mutual, clock):
    assert await mutual.federation.heads.tell() == 1
    await mutual.stop()
    await mutual.start()
    clock.now += mutual.settings.heads_seconds - 1
    assert await mutual.federation.heads.tell() == 0
    clock.now += 1
    assert await mutual.federation.heads.tell() == 1


@pytest.mark.parametrize(
    ("count", "lists"), [(0, []), (1, [1]), (MAX_HEADS_TOLD, [40]), (MAX_HEADS_TOLD + 1, [40, 1])]
)
def test_one_activity_tells_a_bounded_number_of_heads(count, lists):
    heads = [{"id": f"head {number}"} for number in range(count)]
    assert [len(some) for some in batched(heads)] == lists


def test_one_activity_stays_under_its_size():
    heads = [{"id": "x" * 2_000} for _ in range(60)]
    told = list(batched(heads))
    assert [one for some in told for one in some] == heads
    actor = f"https://{'h' * 200}.example/actor"
    for some in told:
        activity = composing.build_heads(f"{actor}/heads/{'0' * 32}", actor, some)
        assert len(to_bytes(activity)) < INLINE_BYTES


# --- comparing -------------------------------------------------------------------------------
async def test_a_head_that_a_peer_tells_of_another_s_fork_is_evidence(mutual, peer, third):
    other = head_of(peer, other_story(peer, pages_of(peer)[0]))
    assert await tell(mutual, other, by=third) == 202
    (row,) = mutual.rows(evidence)
    assert (row.epoch, row.page) == (peer.epochs[CLEAN], 1)
    assert mutual.pictures() == pictures(*"aabb")


async def test_a_head_ahead_of_us_makes_us_pull_and_is_compared_then(mutual, peer, third):
    page = peer.publish([peer.row("c")])
    show(peer)
    other = head_of(peer, other_story(peer, page))
    assert await tell(mutual, other, by=third) == 202
    assert [row.page for row in mutual.rows(evidence)] == [3]


async def test_a_true_head_ahead_of_us_is_pulled_up_to(mutual, peer, third):
    page = peer.publish([peer.row("c")])
    show(peer)
    assert await tell(mutual, head_of(peer, page), by=third) == 202
    assert mutual.pictures() == pictures(*"aabbc")
    assert mutual.rows(evidence) == []
    assert mutual.rows(ahead_pages) == []


async def test_the_heads_that_we_hold_ourselves_change_nothing(mutual, peer, third):
    before = mutual.rows(ahead_pages), mutual.pictures()
    heads = [head_of(peer, page) for page in pages_of(peer)]
    assert await tell(mutual, *heads, by=third) == 202
    assert (mutual.rows(ahead_pages), mutual.pictures()) == before
    assert mutual.rows(evidence) == []


async def test_a_head_that_another_signed_accuses_nobody(mutual, peer, third):
    page = pages_of(peer)[0]
    forged = dict(other_story(peer, page))
    head = head_of(peer, forged)
    third.base, third.proof, own = peer.base, third.proof, third.base
    forged_head = resigned(third, head)
    third.base = own
    assert await tell(mutual, forged_head, by=third) == 202
    assert mutual.rows(evidence) == []


async def test_a_head_of_a_feed_that_is_not_followed_costs_no_fetch(mutual, peer, third):
    head = head_of(peer, pages_of(peer)[0])
    stranger = {**head, "attributedTo": f"{third.base}/feeds/flagged"}
    for one in (peer, third):
        one.requests.clear()
    assert await tell(mutual, stranger, head | {"attributedTo": 7}, by=third) == 202
    assert [one for one in peer.requests + third.requests if one[0] == "GET"] == []
    assert mutual.rows(evidence) == []


async def test_one_that_is_not_mutual_may_tell_nothing(mutual, peer, third):
    head = head_of(third, pages_of(third)[0])
    assert await tell(mutual, head, by=peer) == 401  # a stranger
    await peer.follow(mutual)
    await mutual.settle()
    assert await tell(mutual, head, by=peer) == 403  # known, and not approved
    assert mutual.rows(ahead_pages) == []
