"""`peers block`, `unblock` and `blocks`: the list, what a block ends, and lists from elsewhere."""

import json

import pytest
from sqlalchemy import func, select

from cache.judgement import PeerState
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, followers, follows, inbox
from cache.trust.trust import add_peer, load_trust
from cache.verdict import Feed
from fediverdict.cli import blocks
from fediverdict.config import load_config

CSV = "#domain,#severity,#public_comment\nbad.example,suspend,spam\nmild.example,silence,\n"


@pytest.fixture
def store(config):
    opened = Store.open(load_config(config).database.url)
    yield opened
    opened.close()


def bind(store, origin):
    """Let a host be followed, follow us, have something waiting, and be waited for."""

    def write(conn):
        issuer_id = add_peer(conn, origin, PeerDefaults(clean_weight=1), now=1)
        actor = f"{origin}/feeds/clean"
        feed = int(Feed.CLEAN)
        conn.execute(
            follows.insert().values(
                actor_id=actor,
                issuer_id=issuer_id,
                feed=feed,
                state="accepted",
                follow_id=f"{origin}/f",
                created=1,
            )
        )
        conn.execute(
            followers.insert().values(
                feed=feed,
                actor_id=f"{origin}/actor",
                origin=origin,
                inbox=f"{origin}/inbox",
                state="approved",
                follow_id=f"{origin}/g",
                created=1,
            )
        )
        conn.execute(
            deliveries.insert().values(
                inbox=f"{origin}/inbox",
                origin=origin,
                activity_id="a",
                body="{}",
                created=1,
                next_try=1,
            )
        )
        conn.execute(
            inbox.insert().values(
                origin=origin,
                activity_id="b",
                actor_id=actor,
                kind="Follow",
                body="{}",
                received=1,
                state="received",
            )
        )

    store.write_now(write)


def count(store, table, *which):
    query = select(func.count()).select_from(table).where(*which)
    return store.read_now(lambda conn: conn.scalar(query))


def test_a_block_ends_what_binds_us_to_the_domain_and_nothing_else(run, config, store):
    bind(store, "https://a.bad.example:8443")
    bind(store, "https://good.example")
    done = run("peers", "block", "Bad.Example.", "--reason", "spam", config=config)
    assert done.code == 0
    assert "1 follows, 1 followers, 1 waiting deliveries, 1 received activities" in done.out
    assert [count(store, table) for table in (follows, followers, deliveries)] == [1, 1, 1]
    assert count(store, inbox, inbox.c.state == "received") == 1
    trust = store.read_now(load_trust)
    assert trust["https://a.bad.example:8443"].state is PeerState.SUSPENDED
    assert trust["https://a.bad.example:8443"].clean == 100
    assert trust["https://good.example"].state is PeerState.TRUSTED
    again = run("peers", "block", "bad.example", config=config)
    assert again.out == "bad.example was blocked already\nnothing had to be ended\n"


def test_blocks_are_listed_exported_and_taken_back(run, config):
    config.write_text(config.read_text() + '[federation]\nblocked_domains = ["worse.example"]\n')
    run("peers", "block", "bücher.example", "--reason", "x", config=config)
    listed = json.loads(run("peers", "blocks", "--json", config=config).out)
    assert [(one["domain"], one["source"]) for one in listed] == [
        ("worse.example", "config file"),
        ("xn--bcher-kva.example", ""),
    ]
    assert run("peers", "blocks", "export", config=config).out.splitlines()[1:] == [
        "worse.example,suspend,True,True,",
        "xn--bcher-kva.example,suspend,True,True,x",
    ]
    assert run("peers", "unblock", "BÜCHER.example", config=config).code == 0
    assert run("peers", "unblock", "bücher.example", config=config).code == 2
    refused = run("peers", "unblock", "worse.example", config=config)
    assert (refused.code, "config file" in refused.err) == (2, True)
    assert "worse.example" in run("peers", "blocks", config=config).out


def test_our_own_host_is_not_blocked(run, config, tmp_path):
    assert run("peers", "block", "127.0.0.1", config=config).code == 2
    (tmp_path / "list").write_text("127.0.0.1\nbad.example\n")
    done = json.loads(
        run("peers", "blocks", "import", tmp_path / "list", "--json", config=config).out
    )
    assert (done["added"], done["own"]) == (1, ["127.0.0.1"])


def test_an_import_counts_first_and_blocks_then(run, config, store, tmp_path):
    bind(store, "https://bad.example")
    (tmp_path / "list.csv").write_text(CSV)
    call = ("peers", "blocks", "import", tmp_path / "list.csv")
    tried = json.loads(run(*call, "--dry-run", "--json", config=config).out)
    assert (tried["added"], tried["milder"], tried["ended"]["follows"]) == (1, 1, 1)
    assert run("peers", "blocks", config=config).out == "no domain is blocked\n"
    assert count(store, follows) == 1
    done = run(*call, config=config)
    assert "blocked: 1 domains; blocked before: 0\n1 left out: of a severity" in done.out
    assert count(store, follows) == 0
    both = json.loads(run(*call, "--silence-too", "--json", config=config).out)
    assert (both["added"], both["known"], both["milder"]) == (1, 1, 0)


def test_a_list_past_the_limit_adds_nothing(run, config, tmp_path):
    config.write_text(config.read_text() + "[federation]\nblock_rows = 1\n")
    (tmp_path / "list").write_text("a.example\nb.example\n")
    done = run("peers", "blocks", "import", tmp_path / "list", config=config)
    assert (done.code, "at most 1 domains" in done.err) == (3, True)
    assert run("peers", "blocks", config=config).out == "no domain is blocked\n"


def test_a_file_is_read_up_to_the_limit_and_not_past_it(run, config, tmp_path, monkeypatch):
    words = ("peers", "blocks", "import", tmp_path / "list")
    (tmp_path / "list").write_text("a.example\n")
    monkeypatch.setattr(blocks, "MAX_LIST_BYTES", 10)
    assert run(*words, config=config).code == 0
    monkeypatch.setattr(blocks, "MAX_LIST_BYTES", 9)
    done = run(*words, config=config)
    assert (done.code, "larger than 9 bytes" in done.err) == (2, True)


def test_a_file_that_is_no_list_is_refused_in_one_sentence(run, config, tmp_path):
    (tmp_path / "list").write_bytes(b"\xff\xfe")
    assert run("peers", "blocks", "import", tmp_path / "list", config=config).code == 2
    (tmp_path / "csv").write_text("domain,comment\na.example,x\n")
    done = run("peers", "blocks", "import", tmp_path / "csv", config=config)
    assert (done.code, done.err.count("\n")) == (3, 1)
