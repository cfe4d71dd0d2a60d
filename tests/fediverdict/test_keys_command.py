"""`keys` and `retire`: what an admin says, and what is refused with a reason."""

import json
from contextlib import closing

import pytest

from cache.storage.database import Store
from cache.verdict import Feed
from federation.publishing.feed_log import begin_epoch, last_page
from fediverdict.config import load_config


def newest_epoch(store):
    return store.read_now(last_page, Feed.CLEAN).epoch


@pytest.fixture
def keys(run, config):
    """Run `keys ... --json` and return what it prints."""

    def call(*arguments):
        ended = run("keys", *arguments, "--json", config=config)
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    return call


@pytest.fixture
def epoch(config):
    """The clean feed has begun."""
    with closing(Store.open(load_config(config).database.url)) as store:
        store.write_now(begin_epoch, Feed.CLEAN, 1_795_000_000)
        return newest_epoch(store)


def test_a_fresh_instance_has_one_key_of_each_kind(run, config, keys):
    known = keys("list")
    assert [(key["feed"], key["state"]) for key in known] == [
        ("clean", "in-use"),
        ("flagged", "in-use"),
        ("http", "in-use"),
    ]
    assert known[0]["id"].partition("/feeds/clean#ed25519-z6Mk")[1]
    assert known[2]["id"].endswith("/actor#main-key")
    shown = run("keys", "list", config=config)
    assert shown.code == 0
    assert all(key["id"] in shown.out for key in known)


def test_rotating_replaces_every_key_or_the_one_that_is_named(run, config, keys):
    before = {key["id"] for key in keys("list")}
    (new,) = keys("rotate", "--feed", "flagged")
    assert (new["feed"], new["state"]) == ("flagged", "in-use")
    assert new["id"] not in before
    assert [key["feed"] for key in keys("rotate")] == ["clean", "flagged", "http"]
    states = [(key["feed"], key["state"]) for key in keys("list")]
    assert [states.count((feed, "retired")) for feed in ("clean", "flagged", "http")] == [1, 2, 1]
    assert "within a second" in run("keys", "rotate", "--feed", "http", config=config).out


def test_a_stolen_key_is_revoked_from_a_page_on(run, config, keys, epoch):
    stolen = keys("list")[0]
    assert keys("revoke", stolen["id"], "--from", f"{epoch}:1") == {"kept": None, "rows": 0}
    new, old = keys("list")[:2]
    assert (new["state"], old["state"], old["id"]) == ("in-use", "revoked", stolen["id"])
    assert old["revoked_from"] == {"epoch": epoch, "page": 1}
    fragment = new["id"].split("#")[1]
    with closing(Store.open(load_config(config).database.url)) as store:
        newest = newest_epoch(store)
    said = run("keys", "revoke", fragment, "--from", f"{newest}:1", config=config)
    assert (said.code, "no page so far counts any more" in said.out) == (0, True)


@pytest.mark.parametrize(
    ("key", "place", "code", "said"),
    [
        ("nothing", "{epoch}:1", 2, "no key of this instance"),
        ("main-key", "{epoch}:1", 2, "keys rotate --feed http"),
        ("{clean}", "{epoch}:0", 3, "the pages of that epoch are"),
        ("{clean}", "{epoch}:2", 3, "the pages of that epoch are"),
        ("{clean}", f"{'0' * 32}:1", 3, "no epoch of the clean feed"),
        ("{clean}", "{epoch}", 2, "32 hex digits"),
        ("{clean}", "soon:1", 2, "32 hex digits"),
        ("{clean}", "{epoch}:1234567890", 2, "32 hex digits"),
    ],
)
def test_what_cannot_be_revoked_is_refused_with_a_reason(
    run, config, keys, epoch, key, place, code, said
):
    before = keys("list")
    key = key.format(clean=before[0]["id"])
    ended = run("keys", "revoke", key, "--from", place.format(epoch=epoch), config=config)
    assert (ended.code, said in ended.err) == (code, True)
    assert keys("list") == before


def test_revoking_asks_for_the_page(run, config, keys):
    ended = run("keys", "revoke", keys("list")[0]["id"], config=config)
    assert (ended.code, "--from" in ended.err) == (2, True)


def test_retiring_says_what_it_does_and_wants_to_be_told_so(run, config):
    refused = run("retire", config=config)
    assert refused.code == 2
    assert "cannot be taken back" in refused.err
    assert "Nothing was done yet" in refused.err
    done = run("retire", "--yes", config=config)
    assert (done.code, "this instance has ended" in done.out) == (0, True)
    assert json.loads(run("retire", "--yes", "--json", config=config).out) == {"told": 0}
