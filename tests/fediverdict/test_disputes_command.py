"""`peers dispute` and `peers disputes`: what is sent, what is refused, what is listed."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from cache.storage.case_tables import cases
from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, follows
from cache.storage.peer_tables import disputes
from cache.verdict import Feed
from federation.addresses import attestation_url
from fediverdict.config import load_config
from scanner.decoding.fingerprint import sha256_of
from tests.fakes.background import peer_in_background
from tests.fakes.clock import Clock
from tests.fediverdict.peers import paged, verdict
from tests.fediverdict.test_judge import GREEN, png

EPOCH = "ab" * 16
OTHER = "https://peer.example"


@pytest.fixture
def peer():
    with peer_in_background(Clock()) as started:
        yield started


@pytest.fixture
def reachable(config):
    """A config that may ask loopback."""
    config.write_text(config.read_text() + "[federation]\nallow_private_addresses = true\n")
    return config


@pytest.fixture
def store(reachable):
    opened = Store.open(load_config(reachable).database.url)
    yield opened
    opened.close()


@pytest.fixture
def held(run, reachable, store, peer):
    """The clean feed of the peer is followed, and two of its rows are held here."""
    done = run("peers", "follow", f"clean@127.0.0.1:{peer.port}", "--yes", config=reachable)
    assert done.code == 0, done.err
    store.write_now(lambda conn: conn.execute(follows.update().values(state="accepted")))
    [follow] = rows(store, follows)
    for number, data in enumerate((b"one", png(GREEN)), 1):
        paged(store, follow.issuer_id, replace(verdict(data, seq=number), epoch=EPOCH))
    store.write_now(lambda conn: conn.execute(deliveries.delete()))
    return peer


def rows(store, table):
    return store.read_now(lambda conn: conn.execute(select(table)).all())


def sent(store):
    return [json.loads(row.body) for row in rows(store, deliveries)]


def name(peer, seq=1, feed=Feed.CLEAN):
    return attestation_url(peer.base, feed, EPOCH, seq)


@pytest.mark.parametrize("how", ["attestation", "sha256", "SHA256", "file"])
def test_an_attestation_is_disputed_by_its_id_or_its_picture(
    run, reachable, store, held, tmp_path, how
):
    (tmp_path / "one.png").write_bytes(b"one")
    digest = sha256_of(b"one").hex()
    what = {
        "attestation": name(held), "sha256": digest, "SHA256": digest.upper(),
        "file": tmp_path / "one.png",
    }[how]  # fmt: skip
    done = run("peers", "dispute", held.base, what, "--text", "a\tcomic", config=reachable)
    assert (done.code, done.out) == (0, f"disputed {name(held)}\n"), done.err
    [flag] = sent(store)
    assert (flag["type"], flag["object"], flag["content"]) == ("Flag", [name(held)], "a comic")
    assert (flag["actor"].endswith("/actor"), flag["to"]) == (True, [held.feed_id()])
    [row] = rows(store, disputes)
    assert (row.is_ours, row.sha256, row.text) == (1, sha256_of(b"one"), "a comic")


@pytest.mark.parametrize(
    "what",
    ["https://elsewhere.example/attestations/clean/1", "0" * 64, "no-such-file.png", "{unheld}"],
)
def test_what_the_peer_does_not_say_cannot_be_disputed(run, reachable, store, held, what):
    what = what.format(unheld=name(held, 99))
    done = run("peers", "dispute", held.base, what, config=reachable)
    assert done.code == 2
    assert sent(store) == [] == rows(store, disputes)


def test_a_feed_that_is_not_followed_would_not_listen(run, reachable, store, held):
    store.write_now(lambda conn: conn.execute(follows.update().values(state="pending")))
    done = run("peers", "dispute", held.base, name(held), config=reachable)
    assert (done.code, "is not followed" in done.err) == (3, True)
    assert sent(store) == []


def test_no_more_is_sent_a_day_than_a_peer_takes(run, reachable, store, held):
    for number in range(20):
        dispute = ("peers", "dispute", held.base, name(held), "--text", str(number))
        assert run(*dispute, config=reachable).code == 0
    done = run("peers", "dispute", held.base, name(held), config=reachable)
    assert (done.code, "20 disputes within a day" in done.err) == (3, True)
    assert len(sent(store)) == 20


def test_the_same_words_about_the_same_row_are_sent_once(run, reachable, store, held):
    dispute = ("peers", "dispute", held.base, name(held), "--text", "a comic")
    first, again = (run(*dispute, "--json", config=reachable) for _ in range(2))
    assert json.loads(first.out) == {"disputed": [name(held)], "left": []}
    assert json.loads(again.out) == {"disputed": [], "left": [name(held)]}
    said = run(*dispute, config=reachable)
    assert (said.code, said.out.startswith(f"not sent: {name(held)} was disputed")) == (0, True)
    assert len(sent(store)) == 1 == len(rows(store, disputes))


@pytest.mark.parametrize(("size", "code"), [(2_048, 0), (2_049, 2)])
def test_the_text_has_2_kib_at_most(run, reachable, held, size, code):
    words = ("--text", "x" * size)
    assert run("peers", "dispute", held.base, name(held), *words, config=reachable).code == code


def test_both_directions_are_listed_with_their_state(run, reachable, store, held):
    assert "nobody disputes" in run("peers", "disputes", config=reachable).out
    run("peers", "dispute", held.base, name(held), "--text", "no", config=reachable)
    received(store)
    theirs, ours = json.loads(run("peers", "disputes", "--json", config=reachable).out)
    assert (ours["direction"], ours["state"], ours["attestation"]) == ("sent", "open", name(held))
    assert (theirs["direction"], theirs["state"], theirs["case"]) == ("received", "open", 1)
    assert theirs["text"] == "\u202eno"
    [first] = json.loads(run("peers", "disputes", "--json", "--limit", 1, config=reachable).out)
    assert first == theirs
    listed = run("peers", "disputes", config=reachable).out
    assert "\u202e" not in listed
    assert OTHER in listed


def test_the_state_follows_what_comes_of_a_dispute(run, reachable, store, held):
    run("peers", "dispute", held.base, name(held), config=reachable)
    received(store)
    run("peers", "unfollow", held.feed_id(), config=reachable)  # its rows are held no more
    store.write_now(lambda conn: conn.execute(cases.update().values(embargo=True)))
    assert states(run, reachable) == ["embargo", "withdrawn"]
    answered = disputes.update().where(disputes.c.is_ours == 0).values(answered=1)
    store.write_now(lambda conn: conn.execute(answered))
    assert states(run, reachable) == ["answered", "withdrawn"]


def test_a_case_shows_what_is_disputed(run, reachable, store):
    received(store)
    shown = run("cases", "show", 1, config=reachable).out
    assert f"{OTHER} disputes what we say of {'07' * 8}..." in shown
    assert "\u202e" not in shown
    told = json.loads(run("cases", "show", 1, "--json", config=reachable).out)
    assert [one["peer"] for one in told["disputes"]] == [OTHER]


def received(store):
    """Let a peer have disputed something of ours; its text would turn the direction of writing."""

    def write(conn):
        conn.execute(
            cases.insert().values(id=1, state="open", rules="", reason="x", opened=1, changed=1)
        )
        conn.execute(
            disputes.insert().values(
                is_ours=0, activity_id="x", origin=OTHER, actor_id=f"{OTHER}/actor",
                feed=int(Feed.CLEAN), epoch=EPOCH, seq=1, sha256=b"\x07" * 32, case_id=1,
                text="\u202eno", created=1,
            )
        )  # fmt: skip

    store.write_now(write)


def states(run, config):
    listed = json.loads(run("peers", "disputes", "--json", config=config).out)
    return [one["state"] for one in listed]
