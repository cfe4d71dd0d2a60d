"""`peers show` and `peers resume`: how reading and delivering stand, and a feed that is halted."""

import json
import time

import pytest

from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, followers, follows
from cache.storage.peer_tables import evidence, hosts
from cache.trust.trust import add_peer
from cache.verdict import Feed
from fediverdict.config import load_config

PEER = "https://peer.example"
EPOCH = "ab" * 16


@pytest.fixture
def store(config):
    opened = Store.open(load_config(config).database.url)
    yield opened
    opened.close()


def write(store, *inserts):
    store.write_now(lambda conn: [conn.execute(one) for one in inserts] and None)


def follow(store, feed=Feed.CLEAN, **changes):
    issuer_id = store.write_now(add_peer, PEER, PeerDefaults(), now=1)
    name = feed.name.lower()
    values = {
        "actor_id": f"{PEER}/feeds/{name}",
        "handle": f"{name}@peer.example",
        "issuer_id": issuer_id,
        "feed": int(feed),
        "state": "accepted",
        "follow_id": f"{PEER}/{name}",
        "created": 1,
        "epoch": EPOCH,
        "page": 3,
        "head_epoch": EPOCH,
        "head_page": 5,
        "published": int(time.time()) - 600,
        "pulled": 1_700_000_000,
    }
    write(store, follows.insert().values(**(values | changes)))
    return issuer_id


def follower(feed, state):
    """Insert an actor of the peer that asked to follow a feed of ours."""
    return followers.insert().values(
        feed=int(feed),
        actor_id=f"{PEER}/actor",
        origin=PEER,
        inbox=f"{PEER}/inbox",
        state=state,
        follow_id=f"{PEER}/actor/follows/1",
        created=1,
    )


def halt(store, feed=Feed.CLEAN):
    """Let a feed have told two stories."""
    why = f"page 3 of epoch {EPOCH} is told in two ways"
    issuer_id = follow(store, feed, halted=why, error=why)
    story = {"epoch": EPOCH, "page": 3, "digestMultibase": "z1"}
    other = json.dumps(story | {"digestMultibase": "z2"})
    write(
        store,
        evidence.insert().values(
            issuer_id=issuer_id,
            feed=int(feed),
            epoch=EPOCH,
            page=3,
            first=json.dumps(story),
            second=other,
            found=1_700_000_001,
        ),
    )


def test_a_feed_shows_cursor_lag_error_and_next_try(run, config, store):
    soon = int(time.time()) + 10_000
    follow(store, tries=2, error="the peer \x1b[31m could not be asked", next_try=soon)
    shown = run("peers", "show", "peer.example", config=config)
    assert shown.code == 0, shown.err
    assert "feed clean accepted (clean@peer.example)" in shown.out
    assert "read to page 3 of epoch abababab, its head page 5 of epoch abababab" in shown.out
    assert "2 pages are missing, up to 10 min behind" in shown.out
    assert "last read 2023-11-14T22:13:20Z, next try 20" in shown.out
    listed = run("peers", "list", config=config).out
    assert "page 3, read 2023-11-14 22:13Z" in listed  # which may be long ago
    assert "last error (2 in a row): the peer \\x1b[31m could not be asked" in shown.out
    [feed] = json.loads(run("peers", "show", PEER, "--json", config=config).out)["feeds"]
    assert (feed["lag"]["pages"], feed["next_try"], feed["failed_tries"]) == (2, soon, 2)
    assert 600 <= feed["lag"]["seconds"] < 700


def test_a_feed_that_nobody_sealed_anything_in_is_no_riddle(run, config, store):
    nothing = dict.fromkeys(("epoch", "head_epoch", "head_page", "published"))
    follow(store, page=0, **nothing)
    assert "its outbox is empty" in run("peers", "show", PEER, config=config).out


def test_a_feed_of_which_all_was_read_lacks_nothing(run, config, store):
    follow(store, page=5)
    assert "nothing is missing" in run("peers", "show", config=config).out


def test_a_new_epoch_is_not_counted_in_pages_of_the_old_one(run, config, store):
    follow(store, head_epoch="cd" * 16)
    assert "how far behind is not known" in run("peers", "show", PEER, config=config).out


def test_delivery_shows_the_breaker_what_waits_and_the_last_error(run, config, store):
    follow(store)
    later = int(time.time()) + 1_000
    host = {"failures": 5, "failed": 1, "open_until": later, "rest_seconds": 1_800}
    write(
        store,
        hosts.insert().values(origin=PEER, error="no answer", succeeded=1_700_000_000, **host),
        follower(Feed.FLAGGED, "approved"),
        deliveries.insert().values(
            inbox=f"{PEER}/inbox",
            origin=PEER,
            activity_id="a",
            body="{}",
            created=int(time.time()) - 7_300,
            next_try=1,
        ),
        deliveries.insert().values(
            inbox=f"{PEER}/inbox",
            origin=PEER,
            activity_id="b",
            body="",
            created=1,
            next_try=1,
            state="dropped",
            error="answered 404",
        ),
    )
    shown = run("peers", "show", PEER, config=config).out
    assert f"follows our flagged feed: approved ({PEER}/actor)" in shown
    assert "after 5 failures in a row; 1 wait, the oldest for 2 h; 1 dropped" in shown
    assert "last error: no answer" in shown
    every = run("peers", "show", config=config).out
    assert "feed clean accepted" in every
    assert f"{PEER}\n  delivery: rests until" in every
    told = json.loads(run("peers", "show", "--json", config=config).out)
    [one] = told["deliveries"]
    assert (one["breaker"], one["next_try"], one["waiting"], one["dropped"]) == (
        "open",
        later,
        1,
        1,
    )


def test_a_host_that_only_follows_us_is_shown_as_well(run, config, store):
    write(store, follower(Feed.CLEAN, "pending"))
    for name in ("peer.example", PEER):
        shown = run("peers", "show", name, config=config)
        assert shown.out.startswith(f"{PEER} follows us, and we do not follow it\n")
        assert "follows our clean feed: pending" in shown.out
    told = json.loads(run("peers", "show", PEER, "--json", config=config).out)
    assert (told["feeds"], told["delivery"]["waiting"]) == ([], 0)
    assert run("peers", "show", "other.example", config=config).code == 2


def test_without_peers_there_is_a_hint(run, config):
    assert "peers follow clean@HOST" in run("peers", "show", config=config).out


def test_a_halted_feed_shows_both_stories_and_is_read_on_at_a_persons_word(run, config, store):
    halt(store)
    shown = run("peers", "show", PEER, config=config).out
    assert f"HALTED: page 3 of epoch {EPOCH} is told in two ways" in shown
    assert f"page 3 of epoch {EPOCH}, found 2023-11-14T22:13:21Z: z1 and z2" in shown
    [feed] = json.loads(run("peers", "show", PEER, "--json", config=config).out)["feeds"]
    assert [one["second"]["digestMultibase"] for one in feed["evidence"]] == ["z2"]
    refused = run("peers", "resume", PEER, config=config)
    assert (refused.code, "give --yes" in refused.err) == (2, True)
    done = run("peers", "resume", PEER, "--yes", config=config)
    assert (done.code, "z1 and z2" in done.out) == (0, True)
    [feed] = json.loads(run("peers", "show", PEER, "--json", config=config).out)["feeds"]
    assert (feed["halted"], feed["epoch"], feed["page"]) == (None, None, 0)
    assert feed["evidence"][0]["cleared"] is not None
    again = run("peers", "resume", PEER, "--yes", config=config)
    assert (again.code, "is halted" in again.err) == (2, True)


def test_one_feed_of_two_is_read_on(run, config, store):
    for feed in (Feed.CLEAN, Feed.FLAGGED):
        halt(store, feed)
    done = run("peers", "resume", "@flagged@peer.example", "--yes", "--json", config=config)
    assert json.loads(done.out)["resumed"] == [f"{PEER}/feeds/flagged"]
    feeds = json.loads(run("peers", "show", PEER, "--json", config=config).out)["feeds"]
    assert [feed["halted"] is None for feed in feeds] == [False, True]


def test_a_follower_is_removed_by_command(run, config, store):
    write(store, follower(Feed.CLEAN, "approved"))
    done = run("followers", "remove", "peer.example", config=config)
    assert done.out == f"removed {PEER}/actor for the clean feed\n"
    assert run("followers", "list", config=config).out == "no followers yet\n"
    [row] = store.read_now(lambda conn: conn.execute(deliveries.select()).all())
    assert json.loads(row.body)["type"] == "Reject"
