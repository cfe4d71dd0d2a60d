"""The whole way between two instances of ours, and between ours and a fake peer."""

import pytest

import migrations
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.verdict import Feed
from federation.errors import FederationError
from tests.fakes.instance import Ours, pictures


@pytest.fixture
async def alpha(store, clock, tmp_path):
    """An instance that publishes, on SQLite and on PostgreSQL in turn."""
    started = await Ours(store, clock, tmp_path / "alpha", "alpha").start()
    yield started
    await started.stop()


@pytest.fixture
async def beta(sqlite_url, clock, tmp_path):
    """An instance that follows."""
    beta_store = Store.open(sqlite_url.replace(".sqlite3", "-beta.sqlite3"))
    migrations.upgrade(beta_store.engine.url)
    started = await Ours(beta_store, clock, tmp_path / "beta", "beta").start()
    yield started
    await started.stop()
    beta_store.close()


async def settle(*instances):
    for _ in range(3):
        for one in instances:
            await one.settle()


async def test_a_follower_gets_what_was_sealed_before_and_after_it_was_approved(alpha, beta):
    alpha.add_row("old")
    await settle(alpha)
    assert (
        await beta.federation.follow(f"clean@127.0.0.1:{alpha.port}", PeerDefaults()) == "pending"
    )
    await settle(beta, alpha)
    assert [one.state for one in alpha.followers()] == ["pending"]
    assert beta.pictures() == []
    await alpha.federation.approve(f"{beta.base}/actor", Feed.CLEAN)
    await settle(alpha, beta)
    assert beta.pictures() == pictures("old")
    alpha.add_row("new")
    await settle(alpha, beta)
    assert beta.pictures() == pictures("old", "new")


async def test_a_retraction_frees_its_row_alone(alpha, beta):
    first = alpha.add_row("first")
    alpha.add_row("second")
    await follow_through(alpha, beta)
    assert beta.pictures() == pictures("first", "second")
    alpha.add_row("first", op=1, target_id=first)
    await settle(alpha, beta)
    assert beta.pictures() == pictures("second")


async def test_a_retraction_in_the_page_of_its_target_frees_it(alpha, beta):
    await follow_through(alpha, beta)
    first = alpha.add_row("first")
    alpha.add_row("first", op=1, target_id=first)
    alpha.add_row("second")
    await settle(alpha, beta)
    assert beta.pictures() == pictures("second")


async def test_an_instance_does_not_follow_itself(alpha):
    with pytest.raises(FederationError, match="this instance itself"):
        await alpha.federation.follow(f"clean@127.0.0.1:{alpha.port}", PeerDefaults())
    with pytest.raises(FederationError, match="this instance itself"):  # before anybody is asked
        await alpha.federation.preview(f"clean@127.0.0.1:{alpha.port}")


async def test_a_follower_that_was_down_catches_up_by_itself(alpha, beta, clock):
    await follow_through(alpha, beta)
    await beta.stop()
    for name in "abcde":
        alpha.add_row(name)
        await alpha.settle()
    await beta.start()
    await beta.settle()
    assert beta.pictures() == pictures(*"abcde")
    clock.now += 3_600  # now the deliveries are tried again, and change nothing
    await settle(alpha, beta)
    assert beta.pictures() == pictures(*"abcde")


async def test_a_page_too_large_for_a_create_is_announced_and_fetched(alpha, beta):
    await follow_through(alpha, beta)
    names = [f"picture {number}" for number in range(600)]
    for name in names:
        alpha.add_row(name)
    await settle(alpha, beta)
    assert beta.pictures() == pictures(*names)


async def test_a_rejected_follower_is_told_and_gets_nothing(alpha, beta):
    await beta.federation.follow(f"clean@127.0.0.1:{alpha.port}", PeerDefaults())
    await settle(beta, alpha)
    await alpha.federation.reject(f"{beta.base}/actor", Feed.CLEAN)
    alpha.add_row("secret")
    await settle(alpha, beta)
    assert beta.follow_row().state == "rejected"
    assert beta.pictures() == []


async def test_a_follower_of_the_clean_feed_gets_nothing_of_the_flagged_one(alpha, beta):
    await follow_through(alpha, beta)
    alpha.add_row("bad", Feed.FLAGGED)
    await settle(alpha, beta)
    assert beta.pictures() == []


async def test_unfollowing_tells_the_feed_and_drops_its_verdicts(alpha, beta):
    alpha.add_row("old")
    await follow_through(alpha, beta)
    await beta.federation.unfollow(f"clean@127.0.0.1:{alpha.port}")
    await settle(beta, alpha)
    assert beta.pictures() == []
    assert alpha.followers() == []


async def test_a_domain_approved_by_setting_waits_for_nobody(alpha, beta):
    await alpha.stop()
    alpha.change(approve_clean=(f"127.0.0.1:{beta.port}",))
    await alpha.start()
    for name, feed in (("clean", Feed.CLEAN), ("flagged", Feed.FLAGGED)):
        await beta.federation.follow(f"{name}@127.0.0.1:{alpha.port}", PeerDefaults())
        await settle(beta, alpha)
        states = {one.feed: one.state for one in alpha.followers()}
        assert states[feed] == ("approved" if feed is Feed.CLEAN else "pending")


async def follow_through(alpha, beta, feed=Feed.CLEAN):
    """Follow and approve."""
    name = "clean" if feed is Feed.CLEAN else "flagged"
    await beta.federation.follow(f"{name}@127.0.0.1:{alpha.port}", PeerDefaults())
    await settle(beta, alpha)
    await alpha.federation.approve(f"{beta.base}/actor", feed)
    await settle(alpha, beta)


async def test_approving_who_does_not_follow_is_an_error_in_one_sentence(alpha):
    with pytest.raises(FederationError, match="does not follow the clean feed"):
        await alpha.federation.approve("http://127.0.0.1:1/actor", Feed.CLEAN)
