"""A domain that is blocked while an instance runs: nothing comes in, nothing goes out."""

import pytest
from sqlalchemy import select

from cache.settings import PeerDefaults
from cache.storage.feed_tables import deliveries, followers, follows, inbox
from cache.storage.tables import verdicts
from cache.verdict import Feed
from federation.errors import BlockedDomain
from federation.following.ending import Ended, count_ties, end_ties
from federation.outbound.block_list import Block, add_blocks
from tests.fakes.instance import Ours
from tests.fakes.peer import Peer


@pytest.fixture
async def ours(store, clock, tmp_path):
    """An instance that looks at its block list at every question."""
    made = Ours(store, clock, tmp_path / "state")
    made.change(poll_seconds=1e-9)
    started = await made.start()
    yield started
    await started.stop()


def block(ours, domain="127.0.0.1"):
    def write(conn):
        add_blocks(conn, [Block(domain)], 1, 10)
        return end_ties(conn, [domain])

    return ours.store.write_now(write)


async def test_a_block_ends_follows_and_followers_in_a_running_instance(ours, peer):
    peer.publish([peer.row("a")])
    await ours.follow(peer)
    sent, status = await peer.follow(ours)
    assert status == 202
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    assert len(ours.pictures()) == 1
    before = len(peer.requests), len(peer.received)
    assert ours.store.read_now(count_ties, ["127.0.0.1"]) == Ended(1, 1, 1, 0, 1)
    assert block(ours) == Ended(1, 1, 1, 0, 1)
    assert [ours.rows(t) for t in (follows, followers, deliveries, verdicts)] == [[], [], [], []]
    assert await peer.send(ours, {**sent, "id": f"{peer.id}/follows/2"}) == 403
    ours.add_row("b")
    await ours.settle()
    status, _, _ = await peer.get(f"{ours.feed_id()}/outbox")
    assert status == 200  # what is public stays public
    assert (len(peer.requests), len(peer.received)) == before


async def test_a_blocked_host_costs_no_fetch_and_no_row(ours, peer):
    block(ours)
    with pytest.raises(BlockedDomain):
        await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    _, status = await peer.follow(ours)
    assert status == 403
    assert peer.requests == []
    assert ours.rows(inbox) == []


async def test_what_was_received_before_a_block_is_not_acted_on_after_it(ours, peer):
    _, status = await peer.follow(ours)
    assert status == 202
    assert block(ours).received == 1
    await ours.settle()
    assert [(row.state, row.body) for row in ours.rows(inbox)] == [("failed", "")]
    assert ours.rows(followers) == []


async def test_a_block_of_the_config_file_ends_what_stood_before_it(ours, peer):
    await ours.follow(peer)
    await ours.stop()
    ours.change(blocked_domains=("127.0.0.1",))
    await ours.start()
    try:
        await ours.federation.start()
        assert ours.rows(follows) == []
    finally:
        await ours.federation.stop()


async def test_a_block_of_one_domain_leaves_the_others(ours, peer):
    await ours.follow(peer)
    assert block(ours, "127.0.0.2").is_nothing
    assert len(ours.rows(follows)) == 1


async def test_a_peer_of_another_port_is_covered_as_well(ours, peer, clock):
    other = await Peer(clock, "third").start()
    try:
        await ours.follow(peer)
        await ours.follow(other)
        assert block(ours).follows == 2
        assert ours.store.read_now(lambda conn: conn.execute(select(follows)).all()) == []
    finally:
        await other.stop()
