"""`fediverdict followers`: whom a command without --feed settles, and what a script reads."""

import json

import pytest

from cache.storage.database import Store
from cache.storage.feed_tables import followers
from cache.verdict import Feed
from fediverdict.config import load_config

ACTOR = "https://peer.example/actor"


@pytest.fixture
def store(config):
    opened = Store.open(load_config(config).database.url)
    yield opened
    opened.close()


def follows(store, **states):
    values = [
        {
            "feed": int(Feed[name.upper()]),
            "actor_id": ACTOR,
            "origin": "https://peer.example",
            "inbox": f"{ACTOR}/inbox",
            "state": state,
            "follow_id": f"{ACTOR}/follows/{name}",
            "created": 1_700_000_000,
        }
        for name, state in states.items()
    ]
    store.write_now(lambda conn: conn.execute(followers.insert(), values))


def states(run, config):
    listed = json.loads(run("followers", "list", "--json", config=config).out)
    return {one["feed"]: one["state"] for one in listed}


def test_approving_a_host_does_not_open_the_feed_that_it_was_refused(run, config, store):
    """The flagged feed was opened along with the clean one."""
    follows(store, clean="pending", flagged="rejected")
    done = run("followers", "approve", "peer.example", config=config)
    assert (done.code, done.out) == (0, f"approved {ACTOR} for the clean feed\n")
    assert states(run, config) == {"clean": "approved", "flagged": "rejected"}


def test_what_was_rejected_is_approved_by_naming_the_feed(run, config, store):
    follows(store, flagged="rejected")
    done = run("followers", "approve", "peer.example", config=config)
    assert (done.code, "--feed" in done.err) == (2, True)
    named = ("followers", "approve", "peer.example", "--feed", "flagged")
    assert run(*named, config=config).code == 0
    assert states(run, config) == {"flagged": "approved"}


def test_approving_without_a_feed_approves_all_that_waits(run, config, store):
    follows(store, clean="pending", flagged="pending")
    done = run("followers", "approve", "peer.example", "--json", config=config)
    assert [(one["feed"], one["state"]) for one in json.loads(done.out)] == [
        ("clean", "approved"),
        ("flagged", "approved"),
    ]


@pytest.mark.parametrize(("command", "said"), [("reject", "rejected"), ("remove", "removed")])
def test_a_script_reads_what_was_settled(run, config, store, command, said):
    follows(store, clean="approved")
    done = run("followers", command, "peer.example", "--json", config=config)
    assert [(one["actor"], one["state"]) for one in json.loads(done.out)] == [(ACTOR, said)]
