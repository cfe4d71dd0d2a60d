"""New keys, stolen keys: what followers hold in the end, with instances of ours on both sides."""

import pytest

from cache.storage.feed_tables import (
    feed_pages,
    feed_rows,
    feed_runs,
    follows,
    remote_actors,
    signing_keys,
)
from cache.verdict import Feed
from federation.actors.remote_actor import MAX_PROOF_KEYS
from federation.errors import BadRevocation, TooManyKeys
from federation.publishing.feed_log import last_page
from federation.publishing.revoking import revoke
from federation.signing.keystore import HTTP, list_keys, rotate
from federation.wire.page import EpochEnd
from tests.fakes.instance import pictures
from tests.federation.actors.conftest import BOTH


def clean_keys(ours):
    return [key for key in ours.store.read_now(list_keys) if key.purpose == "clean"]


def revoke_from(ours, page, epoch=None, key=-1):
    """Revoke a key (the oldest by default) from a page of an epoch (the newest by default) on."""
    epoch = epoch or ours.store.read_now(last_page, Feed.CLEAN).epoch
    first = EpochEnd(epoch, page)
    return ours.store.write_now(revoke, Feed.CLEAN, clean_keys(ours)[key], first, ours.clock())


async def publish(pair, *names, to=()):
    """Publish pictures, each in a page of its own; returns their row ids."""
    ids = []
    for name in names:
        ids.append(pair.alpha.add_row(name))
        await pair.settle(*to)
    return ids


def signers(ours):
    """Return which key signed each page, in the order of publishing."""
    pages = ours.rows(feed_pages)
    return [page.document.split('"verificationMethod":"')[1].split('"')[0] for page in pages]


def errors(*readers):
    return [row.error for reader in readers for row in reader.rows(follows)]


@BOTH
async def test_a_running_instance_signs_with_a_rotated_key_and_followers_take_it(pair):
    beta = await pair.reader("beta")
    await publish(pair, "a", to=[beta])
    pair.clock.now += 700
    pair.alpha.store.write_now(rotate, "clean", pair.clock())
    await publish(pair, "b", to=[beta])
    new, old = clean_keys(pair.alpha)
    assert (new.in_use, old.in_use, old.expires) == (True, False, pair.clock() + 300)
    assert [one.split("#")[1] for one in signers(pair.alpha)] == [old.fragment, new.fragment]
    assert beta.pictures() == pictures("a", "b")
    late = await pair.reader("late")
    assert late.pictures() == pictures("a", "b")
    assert errors(beta, late) == [None, None]


async def test_a_rotated_rsa_key_keeps_its_id_and_peers_fetch_it_anew(pair):
    beta = await pair.reader("beta")
    pair.clock.now += 700
    pair.alpha.store.write_now(rotate, HTTP, pair.clock())
    await publish(pair, "a", to=[beta])
    assert beta.pictures() == pictures("a")
    document = next(
        row.document for row in beta.rows(remote_actors) if row.actor_id == pair.alpha.feed_id()
    )
    assert document.count("#main-key") == 1


async def test_the_feeds_that_an_instance_follows_are_told_of_its_new_key(pair, peer):
    """The instance actor's key signs fetches."""
    pair.alpha.store.write_now(rotate, HTTP, pair.clock())
    await pair.alpha.follow(peer)
    pair.clock.now += 700
    pair.alpha.store.write_now(rotate, HTTP, pair.clock())
    await pair.settle()
    assert [one["type"] for one in peer.received] == ["Follow", "Update"]
    assert peer.received[1]["actor"] == f"{pair.alpha.base}/actor"


@BOTH
async def test_rows_of_pages_from_a_stolen_key_are_said_again(pair):
    beta = await pair.reader("beta")
    _, first, _ = await publish(pair, "kept", "first", "second", to=[beta])
    pair.alpha.add_row("first", op=1, target_id=first)
    await pair.settle(beta)
    assert beta.pictures() == pictures("kept", "second")
    done = revoke_from(pair.alpha, page=2)
    assert (done.kept.page, done.rows) == (1, 3)
    await pair.later(beta)
    assert beta.pictures() == pictures("kept", "second")
    late = await pair.reader("late")
    assert late.pictures() == pictures("kept", "second")
    assert errors(beta, late) == [None, None]


async def test_what_the_thief_signed_is_withdrawn(pair):
    """The thief had the HTTP key too: the follower took a page that we never made."""
    beta = await pair.reader("beta")
    await publish(pair, "ours", to=[beta])
    backup = {row.id for row in pair.alpha.rows(feed_rows)}
    await publish(pair, "forged", to=[beta])
    forged = feed_rows.delete().where(feed_rows.c.id.not_in(backup))
    pair.alpha.store.write_now(lambda conn: conn.execute(forged))
    assert beta.pictures() == pictures("forged", "ours")
    revoke_from(pair.alpha, page=2)
    await publish(pair, "next")
    await pair.later(beta)
    assert beta.pictures() == pictures("next", "ours")
    assert errors(beta) == [None]


async def test_a_key_stolen_before_its_first_page_leaves_nothing(pair):
    beta = await pair.reader("beta")
    await publish(pair, "a", "b", to=[beta])
    done = revoke_from(pair.alpha, page=1)
    assert (done.kept, done.rows) == (None, 2)
    await pair.later(beta)
    late = await pair.reader("late")
    assert beta.pictures() == late.pictures() == pictures("a", "b")
    assert errors(beta, late) == [None, None]


@BOTH
async def test_pages_of_an_older_epoch_under_the_stolen_key_are_said_again_too(pair):
    beta = await pair.reader("beta")
    await publish(pair, "old", to=[beta])
    await pair.alpha.stop()
    (pair.alpha.state_dir / "feed-head.json").unlink()
    await pair.alpha.start()
    await publish(pair, "new", "newer", to=[beta])
    assert len({row.epoch for row in pair.alpha.rows(feed_pages)}) == 2
    done = revoke_from(pair.alpha, page=2)
    assert (done.kept, done.rows) == (None, 3)
    await pair.later(beta)
    late = await pair.reader("late")
    assert beta.pictures() == late.pictures() == pictures("old", "new", "newer")
    assert errors(beta, late) == [None, None]


async def test_an_older_epoch_under_another_key_is_kept(pair):
    beta = await pair.reader("beta")
    await publish(pair, "old", to=[beta])
    pair.clock.now += 700
    pair.alpha.store.write_now(rotate, "clean", pair.clock())
    pair.clock.now += 700
    await pair.alpha.stop()
    (pair.alpha.state_dir / "feed-head.json").unlink()
    await pair.alpha.start()
    await publish(pair, "new", to=[beta])
    done = revoke_from(pair.alpha, page=1, key=0)
    assert (done.kept.page, done.rows) == (1, 1)
    await pair.later(beta)
    late = await pair.reader("late")
    assert beta.pictures() == late.pictures() == pictures("new", "old")


async def test_merged_pages_that_the_stolen_key_signed_are_signed_anew(pair):
    await publish(pair, "a", "b")
    pair.clock.now += 700
    pair.alpha.store.write_now(rotate, "clean", pair.clock())
    pair.clock.now += 700
    await pair.alpha.stop()
    (pair.alpha.state_dir / "feed-head.json").unlink()
    await pair.alpha.start()
    await publish(pair, "c")
    pair.clock.now += 90_000
    await pair.alpha.federation.upkeep.run_once()
    (stolen,) = pair.alpha.rows(feed_runs)
    done = revoke_from(pair.alpha, page=1, key=0)
    assert (done.kept.page, pair.alpha.rows(feed_runs)) == (2, [])
    await pair.alpha.federation.upkeep.run_once()
    (again,) = pair.alpha.rows(feed_runs)
    assert (again.epoch, again.last_page) == (stolen.epoch, 2)
    assert again.proof != stolen.proof
    late = await pair.reader("late")
    assert late.pictures() == pictures(*"abc")
    assert errors(late) == [None]


async def test_a_place_before_the_newest_epoch_is_named(pair):
    beta = await pair.reader("beta")
    await publish(pair, "a", "b", to=[beta])
    epoch = pair.alpha.store.read_now(last_page, Feed.CLEAN).epoch
    await pair.alpha.stop()
    (pair.alpha.state_dir / "feed-head.json").unlink()
    await pair.alpha.start()
    await publish(pair, "c", to=[beta])
    done = revoke_from(pair.alpha, page=2, epoch=epoch)
    assert (done.kept, done.rows) == (EpochEnd(epoch, 1), 2)
    await pair.later(beta)
    late = await pair.reader("late")
    assert beta.pictures() == late.pictures() == pictures(*"abc")


async def test_an_earlier_page_can_be_named_afterwards_and_a_later_one_cannot(pair):
    beta = await pair.reader("beta")
    await publish(pair, *"abc", to=[beta])
    epoch = pair.alpha.store.read_now(last_page, Feed.CLEAN).epoch
    revoke_from(pair.alpha, page=3, epoch=epoch)
    await pair.later(beta)
    for page in (3, 4):
        with pytest.raises(BadRevocation, match="revoked already"):
            revoke_from(pair.alpha, page=page, epoch=epoch)
    done = revoke_from(pair.alpha, page=2, epoch=epoch)
    assert (done.kept, done.rows) == (EpochEnd(epoch, 1), 2)
    await pair.later(beta)
    assert beta.pictures() == pictures(*"abc")


@pytest.mark.parametrize(("page", "epoch"), [(0, None), (3, None), (1, "0" * 32)])
async def test_a_place_that_is_not_in_the_history_is_refused(pair, page, epoch):
    await publish(pair, "a")
    before = pair.alpha.rows(signing_keys)
    with pytest.raises(BadRevocation):
        revoke_from(pair.alpha, page=page, epoch=epoch)
    assert pair.alpha.rows(signing_keys) == before


async def test_a_page_sealed_right_after_a_revocation_has_the_new_key(pair):
    """The process that seals has not looked yet; a page never changes."""
    await publish(pair, "a")
    revoke_from(pair.alpha, page=1)
    await pair.alpha.federation.feeds.seal()
    new, _ = clean_keys(pair.alpha)
    assert signers(pair.alpha)[-1].endswith(f"#{new.fragment}")


def test_a_feed_has_32_keys_at_most(sqlite_store, clock):
    sqlite_store.write_now(rotate, "clean", clock())
    for _ in range(MAX_PROOF_KEYS - 1):
        sqlite_store.write_now(rotate, "clean", clock())
    with pytest.raises(TooManyKeys):
        sqlite_store.write_now(rotate, "clean", clock())
    assert len(sqlite_store.read_now(list_keys)) == MAX_PROOF_KEYS


def test_a_key_that_retires_does_not_come_back_when_its_successor_is_stolen(alpha):
    alpha.store.write_now(rotate, "clean", alpha.clock())
    revoke_from(alpha, page=1, key=0)
    newest, stolen, retired = clean_keys(alpha)
    assert [one.in_use for one in (newest, stolen, retired)] == [True, False, False]
