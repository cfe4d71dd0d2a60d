"""Pulling from a fake peer: catching up, chains that break, epochs, crashes in the middle."""

import copy

import pytest
from aiohttp import web

from cache.storage.feed_tables import follows
from cache.verdict import Feed
from federation.errors import BadPage
from federation.reading import applying
from federation.reading.catching_up import _halts
from federation.receiving import queue
from federation.signing.verifying import Verifier
from federation.wire import proof
from federation.wire.chain import Step
from federation.wire.row import Retraction
from tests.fakes.instance import pictures
from tests.fakes.peer import reply
from tests.federation.samples import proof_key


@pytest.fixture
async def followed(ours, peer):
    await ours.follow(peer)
    return ours


async def pull(ours, clock):
    """Let enough time pass that every followed feed is due, and settle."""
    clock.now += 50_000
    await ours.settle()


async def test_pages_missed_are_pulled_in_order(followed, peer, clock):
    for name in "abc":
        peer.publish([peer.row(name)])
    await pull(followed, clock)
    assert followed.pictures() == pictures(*"abc")
    assert followed.follow_row().page == 3
    peer.requests.clear()
    clock.now += 1_000
    await followed.settle()
    assert peer.requests == [("GET", "/feeds/clean/outbox")]


async def test_a_feed_without_end_lets_the_others_have_their_turn(
    followed, peer, clock, monkeypatch
):
    monkeypatch.setattr("federation.reading.pull._TURN_SECONDS", 0)
    for name in "abc":
        peer.publish([peer.row(name)])
    clock.now += 50_000
    for page in (1, 2, 3):
        assert await followed.federation.puller.run_once() == 1
        assert followed.follow_row().page == page
    assert followed.follow_row().next_try <= clock.now
    assert followed.pictures() == pictures(*"abc")


async def test_a_blocked_domain_is_not_pulled_from(followed, peer, clock):
    peer.publish([peer.row("a")])
    await followed.stop()
    followed.change(blocked_domains=("127.0.0.1",))
    await followed.start()
    peer.requests.clear()
    await pull(followed, clock)
    assert peer.requests == []
    assert "blocked" in followed.follow_row().error


async def test_a_page_is_not_applied_to_the_feed_that_took_its_row(followed, peer, third, clock):
    """SQLite gives the id of a deleted row to the next one."""
    verifier = Verifier(followed.federation.actors, followed.federation._instance)
    actor = await followed.federation.actors.get(peer.feed_id())
    page = await verifier.page_of(peer.publish([peer.row("a")], keep=False), actor)
    row_id = followed.follow_row().id
    await followed.federation.unfollow(peer.feed_id())
    await followed.follow(third)
    assert followed.follow_row().id == row_id
    await followed.store.write(applying.apply_page, row_id, page, clock())
    assert followed.pictures() == []


async def test_a_create_past_a_gap_pulls_what_is_missing(followed, peer):
    peer.publish([peer.row("a")])
    peer.publish([peer.row("b")])
    assert await peer.create(followed, peer.publish([peer.row("c")])) == 202
    await followed.settle()
    assert followed.pictures() == pictures(*"abc")


async def test_an_announcement_is_fetched(followed, peer):
    rows = [peer.row(f"picture {number}") for number in range(600)]
    assert await peer.create(followed, peer.publish(rows)) == 202
    await followed.settle()
    assert len(followed.pictures()) == 600


async def test_what_expired_meanwhile_is_not_stored(followed, peer, clock):
    peer.publish([peer.row("short", expires=clock.now + 10), peer.row("long")])
    clock.now += 1_000
    await followed.settle()
    assert followed.pictures() == pictures("long")


@pytest.mark.parametrize("fault", ["byte", "key", "actor", "digest", "seq", "number", "proofless"])
async def test_a_false_page_stops_the_pull_and_nothing_of_it_is_stored(
    followed, peer, third, clock, fault
):
    peer.publish([peer.row("a")])
    await pull(followed, clock)
    good = peer.publish([peer.row("b")])
    pages = peer.pages[Feed.CLEAN, peer.epochs[Feed.CLEAN]]
    pages[1] = _spoilt(good, fault, peer, third)
    await pull(followed, clock)
    assert followed.pictures() == pictures("a")
    assert followed.follow_row().error
    pages[1] = good
    clock.now += 50_000
    await pull(followed, clock)
    assert followed.pictures() == pictures("a", "b")
    assert followed.follow_row().error is None


def _spoilt(page, fault, peer, third):
    page = copy.deepcopy(page)
    match fault:
        case "byte":
            page["rows"][0][-2] += 1
        case "proofless":
            del page["proof"]
        case "actor":
            page["attributedTo"] = third.feed_id()
        case "key":
            return _resigned(page, proof_key("stranger"), peer)
        case "digest":
            return _resigned(page | {"previousDigest": "zQm" + "1" * 43}, None, peer)
        case "seq":
            return _resigned(page | {"firstSeq": 5}, None, peer)
        case "number":
            number = {"page": 3, "id": page["id"].replace("/pages/2", "/pages/3")}
            return _resigned(page | number, None, peer)
    return page


def _resigned(page, key, peer):
    old = page.pop("proof")
    private = key or peer.proof[Feed.CLEAN]
    return proof.sign(page, private, old["verificationMethod"], peer.clock())


async def test_a_page_under_another_content_type_is_not_taken(followed, peer, clock):
    page = peer.publish([peer.row("a")])

    async def as_json(_request):
        return reply(page, "application/json")

    peer.answers[page["id"].removeprefix(peer.base)] = as_json
    await pull(followed, clock)
    assert followed.pictures() == []
    assert "content type" in followed.follow_row().error


async def test_a_feed_that_tells_two_stories_is_noticed(followed, peer, clock):
    peer.publish([peer.row("a")])
    await pull(followed, clock)
    peer.pages[Feed.CLEAN, peer.epochs[Feed.CLEAN]].clear()
    peer.publish([peer.row("b")])
    await pull(followed, clock)
    assert followed.pictures() == pictures("a")
    assert "told in two ways" in followed.follow_row().error


async def test_a_feed_that_is_down_is_asked_less_and_less_and_then_caught_up_with(
    followed, peer, clock
):
    async def broken(_request):
        return web.Response(status=503)

    peer.publish([peer.row("a")])
    peer.answers["/feeds/clean/outbox"] = broken
    waits = []
    for _ in range(4):
        clock.now = max(clock.now, followed.follow_row().next_try)
        await followed.settle()
        waits.append(followed.follow_row().next_try - clock.now)
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]
    peer.answers.clear()
    await pull(followed, clock)
    assert followed.pictures() == pictures("a")


# --- epochs ----------------------------------------------------------------------------------
async def test_a_new_epoch_keeps_the_old_rows_through_the_page_it_names(followed, peer, clock):
    for name in "abc":
        peer.publish([peer.row(name)])
    await pull(followed, clock)
    peer.new_epoch(keep=2)
    peer.publish([peer.row("d")])
    await pull(followed, clock)
    assert followed.pictures() == pictures(*"abd")


async def test_a_new_epoch_that_is_pushed_withdraws_the_later_rows_too(followed, peer, clock):
    for name in "ab":
        peer.publish([peer.row(name)])
    await pull(followed, clock)
    peer.new_epoch(keep=1)
    assert await peer.create(followed, peer.publish([peer.row("c")])) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a", "c")


async def test_what_a_withdrawn_page_had_replaced_or_freed_stands_again(followed, peer, clock):
    """The peer restored a backup of page 1."""
    peer.publish([peer.row("a"), peer.row("b")])
    peer.publish([peer.row("a"), Retraction(peer.epochs[Feed.CLEAN], 2)])
    await pull(followed, clock)
    assert followed.pictures() == pictures("a")
    peer.new_epoch(keep=1)
    peer.publish([peer.row("c")])
    await pull(followed, clock)
    assert followed.pictures() == pictures(*"abc")


async def test_pages_of_the_old_epoch_that_were_missed_are_read_first(followed, peer, clock):
    peer.publish([peer.row("a")])
    await pull(followed, clock)
    peer.publish([peer.row("b")])
    peer.new_epoch()
    peer.publish([peer.row("c")])
    peer.new_epoch()
    assert await peer.create(followed, peer.publish([peer.row("d")])) == 202
    await followed.settle()
    assert followed.pictures() == pictures(*"abcd")


async def test_a_newcomer_reads_all_epochs(ours, peer):
    peer.publish([peer.row("a")])
    peer.new_epoch()
    peer.publish([peer.row("b")])
    await ours.follow(peer)
    assert ours.pictures() == pictures("a", "b")


async def test_a_history_that_breaks_off_is_withdrawn_and_read_anew(followed, peer, clock):
    peer.publish([peer.row("a")])
    await pull(followed, clock)
    peer.new_epoch()
    peer.ends.clear()  # the new epoch names nothing before it
    peer.publish([peer.row("b")])
    await pull(followed, clock)
    assert followed.pictures() == pictures("b")
    assert followed.follow_row().error is None


# --- crashes ---------------------------------------------------------------------------------
class Crash(Exception):
    """Stands for kill -9 at one point."""


@pytest.mark.parametrize("where", ["_record", "move", "pipeline_row", "record_attestations"])
async def test_a_crash_while_applying_loses_and_doubles_nothing(
    followed, peer, clock, monkeypatch, where
):
    real = getattr(applying, where)

    def crash(*args, **kwargs):
        real(*args, **kwargs)
        raise Crash

    peer.publish([peer.row("a")])
    clock.now += 50_000
    with monkeypatch.context() as patched:
        patched.setattr(applying, where, crash)
        with pytest.raises(Crash):
            await followed.settle()
    assert followed.pictures() == []
    assert followed.follow_row().page == 0
    await pull(followed, clock)
    assert followed.pictures() == pictures("a")


async def test_a_crash_while_acting_on_a_create_acts_again(followed, peer, clock, monkeypatch):
    def crash(*_args):
        raise Crash

    assert await peer.create(followed, peer.publish([peer.row("a")])) == 202
    with monkeypatch.context() as patched:
        patched.setattr(queue, "_end", crash)
        await followed.federation.queue.run_once()
    assert followed.pictures() == []
    await followed.stop()
    await followed.start()
    clock.now += 50_000
    await followed.federation.queue.run_once()
    assert followed.pictures() == pictures("a")
    assert len(followed.rows(follows)) == 1


def test_of_documents_stored_together_the_first_that_is_odd_says_what_the_turn_was():
    assert not _halts([(Step.NEXT, 1), (Step.KNOWN, 2), (Step.NEW_EPOCH, 1)])
    assert _halts([(Step.NEXT, 1), (Step.FORKED, 2), (Step.KNOWN, 3)])
    with pytest.raises(BadPage, match="page 2 does not continue"):
        _halts([(Step.NEXT, 1), (Step.GAP, 2), (Step.FORKED, 3)])
