"""`peers follow`: what a feed says of itself is shown before anybody is asked."""

import io
import json
import sys

import pytest
from sqlalchemy import select

from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, follows
from cache.trust.trust import list_peers
from fediverdict.config import load_config
from tests.fakes.background import peer_in_background
from tests.fakes.clock import Clock
from tests.fakes.peer import reply
from tests.federation.samples import DESCRIPTION, PIPELINE

POLICY_LABELS = ("sexual", "minor")


class Terminal(io.StringIO):
    """Standard input as a terminal is it."""

    def isatty(self):
        return True


@pytest.fixture
def peer():
    with peer_in_background(Clock()) as started:
        yield started


@pytest.fixture
def reachable(config):
    """A config that may ask loopback."""
    config.write_text(config.read_text() + "[federation]\nallow_private_addresses = true\n")
    return config


def handle(peer):
    return f"clean@127.0.0.1:{peer.port}"


def rows(config, table):
    store = Store.open(load_config(config).database.url)
    try:
        return store.read_now(lambda conn: conn.execute(select(table)).all())
    finally:
        store.close()


def tell(peer, **more):
    """Let the outbox of the clean feed tell more."""
    feed = next(iter(peer.epochs))

    async def answer(_request):
        return reply(peer.outbox(feed) | more)

    peer.answers["/feeds/clean/outbox"] = answer


@pytest.mark.parametrize("form", ["{}", "@{}", "acct:{}", "{base}/feeds/clean"])
def test_a_feed_is_followed_by_handle_and_by_url(run, reachable, peer, form):
    name = form.format(handle(peer), base=peer.base)
    done = run("peers", "follow", name, "--yes", config=reachable)
    assert done.code == 0, done.err
    assert f"{handle(peer)} is asked; its admin must approve" in done.out
    assert [row.actor_id for row in rows(reachable, follows)] == [peer.feed_id()]


def test_what_the_feed_tells_is_held_against_our_rules_and_pipelines(run, reachable, peer):
    peer.publish([peer.row("a")])
    tell(
        peer,
        rows=12_345,
        weekRows=67,
        labels=["urn:fediverdict:label:sexual", "urn:fediverdict:label:weapon"],
        pipelines=[DESCRIPTION],
        sealed="2026-11-22T19:45:00Z",
    )
    done = run("peers", "follow", handle(peer), "--yes", config=reachable)
    assert "rows: 12,345, in the last week 67" in done.out
    assert "pages: 1 to 1, last sealed: 2026-11-22T19:45:00Z" in done.out
    assert f"pipeline {PIPELINE}: not listed under [pipelines]" in done.out
    assert "labels that no rule here speaks of: " in done.out
    assert "weapon" in done.out
    assert "trust: observed, as every new peer, clean 0, flag 0" in done.out


def test_what_a_feed_does_not_tell_is_said_so(run, reachable, peer):
    done = run("peers", "follow", handle(peer), "--yes", config=reachable)
    assert "rows: not told, in the last week not told" in done.out
    assert "labels: not told" in done.out
    assert "pages: none yet" in done.out


def test_no_changes_nothing(run, reachable, peer, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    done = run("peers", "follow", handle(peer), config=reachable)
    assert (done.code, "Ask to follow it? [y/N]" in done.err) == (3, True)
    assert "is the clean feed of" in done.out
    for table in (follows, deliveries):
        assert rows(reachable, table) == []


def test_yes_at_a_terminal_asks_the_peer(run, reachable, peer, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run("peers", "follow", handle(peer), config=reachable).code == 0
    assert [row.state for row in rows(reachable, follows)] == ["pending"]


def test_without_a_terminal_the_question_needs_an_answer(run, reachable, peer):
    done = run("peers", "follow", handle(peer), config=reachable)
    assert (done.code, "give --yes" in done.err, peer.requests) == (2, True, [])


def test_a_script_reads_json(run, reachable, peer):
    done = json.loads(run("peers", "follow", handle(peer), "--yes", "--json", config=reachable).out)
    assert (done["state"], done["feed"], done["rows"]) == ("pending", "clean", None)
    assert done["trust"] == {
        "known": False,
        "state": "observed",
        "clean_weight": 0.0,
        "flag_weight": 0.0,
    }
    store = Store.open(load_config(reachable).database.url)
    assert [one.origin for one in store.read_now(list_peers)] == [peer.base]
    store.close()


@pytest.mark.parametrize(
    "odd", [{"rows": -1}, {"weekRows": True}, {"labels": ["x"]}, {"pipelines": ["x"]}]
)
def test_an_outbox_that_is_malformed_is_not_followed(run, reachable, peer, odd):
    peer.publish([peer.row("a")])
    tell(peer, **odd)
    done = run("peers", "follow", handle(peer), "--yes", config=reachable)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert rows(reachable, follows) == []
