"""Notices: told once, kept in bounds, read when somebody says so."""

import logging

from cache.settings import PeerDefaults
from cache.trust.notices import MAX_NOTICES, MAX_TEXT_CHARACTERS, mark_read, tell, told, unread
from cache.trust.trust import add_peer

NOW = 1_800_000_000
A = "https://a.example"


def test_a_notice_is_unread_until_it_is_marked_and_then_still_there(store):
    peer = store.write_now(add_peer, A, PeerDefaults(), now=NOW)
    store.write_now(tell, "demoted", "a fell", peer, now=NOW)
    store.write_now(tell, "hot-hash", "a code is held", now=NOW + 1)
    first, second = store.read_now(unread)
    assert (first.kind, first.origin, first.text, first.created) == ("demoted", A, "a fell", NOW)
    assert (second.origin, second.read) == (None, None)
    assert [n.kind for n in store.read_now(unread, peer)] == ["demoted"]
    assert store.write_now(mark_read, [first.notice_id], now=NOW + 5) == 1
    assert store.write_now(mark_read, [first.notice_id], now=NOW + 9) == 0
    assert [n.kind for n in store.read_now(unread)] == ["hot-hash"]
    assert [(n.text, n.read) for n in store.read_now(told, peer)] == [("a fell", NOW + 5)]


def test_a_notice_is_logged_with_its_kind(store, caplog):
    with caplog.at_level(logging.WARNING):
        store.write_now(tell, "false-clean", "a was wrong", now=NOW)
    assert [(r.message, r.action) for r in caplog.records] == [("a was wrong", "false-clean")]


def test_of_one_kind_about_one_issuer_the_newest_are_kept(sqlite_store):
    peer = sqlite_store.write_now(add_peer, A, PeerDefaults(), now=NOW)

    def tell_many(connection):
        tell(connection, "false-clean", "of nobody", now=NOW)
        tell(connection, "demoted", "another kind", peer, now=NOW)
        for i in range(MAX_NOTICES):
            tell(connection, "false-clean", f"number {i}", peer, now=NOW)

    sqlite_store.write_now(tell_many)
    assert len(sqlite_store.read_now(unread)) == MAX_NOTICES + 2
    sqlite_store.write_now(tell, "false-clean", "one past it", peer, now=NOW)
    texts = [notice.text for notice in sqlite_store.read_now(unread)]
    assert len(texts) == MAX_NOTICES + 2
    assert {"of nobody", "another kind", "number 1", "one past it"} <= set(texts)
    assert "number 0" not in texts


def test_a_text_is_kept_up_to_its_limit(store):
    store.write_now(tell, "demoted", "x" * MAX_TEXT_CHARACTERS, now=NOW)
    store.write_now(tell, "demoted", "y" * (MAX_TEXT_CHARACTERS + 1), now=NOW)
    assert [len(n.text) for n in store.read_now(unread)] == [MAX_TEXT_CHARACTERS] * 2
