"""What one turn of one feed may cost, when it is asked again, and outboxes without end."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from cache.storage.feed_tables import follows
from federation.reading.planning import (
    MAX_EPOCHS,
    Segment,
    continues,
    tells_otherwise,
    wants_snapshot,
    what_shrank,
)
from federation.reading.pull import pull_all_soon
from federation.reading.states import feed_states
from federation.wire.chain import Cursor
from federation.wire.epoch import MAX_PAGE
from federation.wire.outbox import OutboxHead
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import CLEAN, head_of, pages_of, resigned, show

E1, E2 = "1" * 32, "2" * 32


@pytest.fixture
async def followed(ours, peer):
    await ours.follow(peer)
    return ours


async def again(ours, **changes):
    """Begin anew with other settings."""
    await ours.stop()
    ours.change(**changes)
    await ours.start()
    ours.store.write_now(pull_all_soon)


def state(ours):
    (one,) = ours.store.read_now(feed_states, ours.clock())
    return one


# --- one turn --------------------------------------------------------------------------------
@pytest.mark.parametrize(("documents", "page"), [(2, 1), (3, 2), (4, 3), (5, 3)])
async def test_a_turn_fetches_so_many_documents_and_no_more(followed, peer, documents, page):
    """The outbox and the pages; the first page of the epoch is fetched once."""
    for name in "abc":
        peer.publish([peer.row(name)])
    await again(followed, pull_documents=documents)
    peer.requests.clear()
    await followed.federation.puller.run_once()
    assert followed.follow_row().page == page
    assert len(peer.requests) == min(documents, 4)


async def test_a_turn_reads_so_many_bytes_and_the_next_goes_on(followed, peer):
    for name in "abc":
        peer.publish([peer.row(name)])
    await again(followed, pull_bytes=1_024)
    for page in (1, 2, 3):
        await followed.federation.puller.run_once()
        assert followed.follow_row().page == page
    assert followed.pictures() == pictures(*"abc")


async def test_an_outbox_without_end_ends_at_the_pages_that_are_there(followed, peer):
    for name in "abc":
        peer.publish([peer.row(name)])
    show(peer, last_page=MAX_PAGE)
    await again(followed)
    peer.requests.clear()
    await followed.settle()
    assert followed.pictures() == pictures(*"abc")
    assert "pages/4 answered 404" in followed.follow_row().error
    assert len(peer.requests) == 5


async def test_pages_without_end_let_other_feeds_have_their_turn(followed, peer, third, clock):
    """Every page that is asked for is there, and chains."""
    await followed.follow(third)
    await again(followed, pull_documents=4)
    peer.publish([peer.row("first")])

    async def outbox(_request):
        peer.publish([peer.row(f"{len(pages_of(peer))}")])
        peer.publish([peer.row(f"more {len(pages_of(peer))}")])
        document = show(peer, last_page=MAX_PAGE)
        del peer.documents["/feeds/clean/outbox"]
        return web.json_response(document, content_type="application/activity+json")

    peer.answers["/feeds/clean/outbox"] = outbox
    third.publish([third.row("a")])
    for _ in range(2):
        await followed.federation.puller.run_once()
    assert followed.store.read_now(feed_states, clock())[1].page == 1


async def test_epochs_that_name_each_other_in_a_circle_end(followed, peer):
    first = peer.epochs[CLEAN]
    peer.publish([peer.row("a")])
    peer.new_epoch()
    peer.publish([peer.row("b")])
    second = peer.epochs[CLEAN]
    pages_of(peer, first)[0] = resigned(
        peer, pages_of(peer, first)[0], previousEpoch={"epoch": second, "page": 1}
    )
    await again(followed)
    await followed.settle()
    assert followed.pictures() == pictures("a", "b")


@pytest.mark.parametrize(("epochs", "walked"), [(MAX_EPOCHS, MAX_EPOCHS), (MAX_EPOCHS + 1, 16)])
async def test_so_many_epochs_are_walked_back_and_no_more(followed, peer, epochs, walked):
    for number in range(epochs):
        if number:
            peer.new_epoch()
        peer.publish([peer.row(f"{number}")])
    await again(followed)
    peer.requests.clear()
    await followed.settle()
    assert len(followed.pictures()) == walked
    assert len(peer.requests) == 1 + walked


async def test_an_epoch_whose_last_pages_are_gone_is_read_as_far_as_it_goes(followed, peer):
    peer.publish([peer.row("a")])
    await again(followed)
    await followed.settle()
    for name in "bc":
        peer.publish([peer.row(name)])
    before = peer.epochs[CLEAN]
    peer.new_epoch()
    del pages_of(peer, before)[2:]
    peer.publish([peer.row("d")])
    await again(followed)
    await followed.settle()
    assert followed.pictures() == pictures(*"abd")
    assert followed.follow_row().error is None


async def test_a_newcomer_reads_from_the_first_epoch_that_can_be_had(ours, peer):
    before = peer.epochs[CLEAN]
    peer.publish([peer.row("a")])
    peer.new_epoch()
    peer.publish([peer.row("b")])
    del peer.pages[CLEAN, before]
    await ours.follow(peer)
    assert ours.pictures() == pictures("b")


async def test_a_newest_epoch_that_cannot_be_had_is_an_error(followed, peer):
    peer.publish([peer.row("a")])
    show(peer)
    pages_of(peer).clear()
    await again(followed)
    await followed.settle()
    assert "answered 404" in followed.follow_row().error


# --- asking again ----------------------------------------------------------------------------
@pytest.mark.parametrize(("asked", "waits"), [("7200", 7_200), ("soon", 30), (str(10**8), 43_200)])
async def test_retry_after_is_heeded_up_to_the_longest_wait(followed, peer, clock, asked, waits):
    async def busy(_request):
        return web.Response(status=429, headers={"Retry-After": asked})

    peer.answers["/feeds/clean/outbox"] = busy
    await again(followed)
    await followed.settle()
    wait = followed.follow_row().next_try - clock()
    assert 0.75 * waits <= wait <= 1.25 * waits


async def test_an_origin_that_does_not_answer_rests_and_is_tried_again(followed, peer, clock):
    async def broken(_request):
        return web.Response(status=503)

    async def times_asked():
        followed.store.write_now(pull_all_soon)
        peer.requests.clear()
        await followed.federation.puller.run_once()
        return len(peer.requests)

    peer.answers["/feeds/clean/outbox"] = broken
    await again(followed, breaker_failures=3, breaker_seconds=60)
    assert [await times_asked() for _ in range(5)] == [1, 1, 1, 0, 0]
    clock.now += 59
    assert await times_asked() == 0
    clock.now += 1
    assert await times_asked() == 1
    assert followed.follow_row().tries == 4
    peer.answers.clear()
    clock.now += 120
    assert await times_asked() == 1
    assert followed.follow_row().tries == 0


async def test_answers_of_no_use_do_not_make_an_origin_rest(followed, peer):
    """What is wrong with one feed is not that its origin is away."""
    await again(followed, breaker_failures=1)
    peer.publish([peer.row("a")])
    show(peer)
    pages_of(peer).clear()
    for _ in range(3):
        followed.store.write_now(pull_all_soon)
        peer.requests.clear()
        await followed.federation.puller.run_once()
        assert len(peer.requests) == 2


async def test_a_pull_that_is_cut_off_leaves_its_origin_open(followed, peer):
    started = asyncio.Event()

    async def hanging(_request):
        started.set()
        await asyncio.sleep(60)

    await again(followed, breaker_failures=1)
    peer.answers["/feeds/clean/outbox"] = hanging
    pull = asyncio.create_task(followed.federation.puller.run_once())
    await started.wait()
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    peer.answers.clear()
    peer.publish([peer.row("a")])
    followed.store.write_now(pull_all_soon)
    await followed.settle()
    assert followed.pictures() == pictures("a")


# --- what an admin sees ----------------------------------------------------------------------
async def test_the_lag_is_told_in_pages_and_seconds(followed, peer, clock):
    assert (state(followed).lag_pages, state(followed).lag_seconds) == (None, None)
    peer.publish([peer.row("a")])
    sealed = clock()
    show(peer, signed_head=head_of(peer, pages_of(peer)[0]))
    await again(followed)
    await followed.settle()
    one = state(followed)
    assert (one.page, one.published, one.head_page) == (1, sealed, 1)
    assert (one.lag_pages, one.lag_seconds) == (0, 0)
    for name in "bcd":
        peer.publish([peer.row(name)])
    show(peer)
    pages_of(peer).pop(1)
    clock.now += 50_000
    await followed.settle()
    one = state(followed)
    assert (one.lag_pages, one.lag_seconds) == (3, 50_000)
    assert one.error is not None
    assert one.tries == 1
    assert one.next_try > clock()


async def test_the_lag_in_pages_is_not_known_across_epochs(followed, peer, clock):
    peer.publish([peer.row("a")])
    await again(followed)
    await followed.settle()
    peer.new_epoch()
    peer.publish([peer.row("b")])
    show(peer)
    pages_of(peer).clear()
    clock.now += 50_000
    await followed.settle()
    one = state(followed)
    assert (one.lag_pages, one.lag_seconds) == (None, 50_000)
    assert one.head_epoch == peer.epochs[CLEAN] != one.epoch


async def test_the_signed_head_kept_is_the_newest_told(followed, peer, clock):
    for name in "abc":
        peer.publish([peer.row(name)])
    told = [head_of(peer, page) for page in pages_of(peer)]
    for number, kept in ((2, 2), (1, 2), (3, 3)):
        show(peer, signed_head=told[number - 1])
        await again(followed)
        await followed.settle()
        assert f'"page":{kept}' in followed.follow_row().signed_head
    peer.new_epoch()
    clock.now += 10
    head = head_of(peer, peer.publish([peer.row("d")]))
    show(peer, signed_head=head)
    await again(followed)
    await followed.settle()
    assert peer.epochs[CLEAN] in followed.rows(follows)[0].signed_head


# --- what to fetch, alone --------------------------------------------------------------------
def head(**changes):
    known: dict[str, Any] = {"epoch": E1, "first_page": 1, "last_page": 100, "digest": "d"}
    return OutboxHead(**(known | changes))


@pytest.mark.parametrize(
    ("last", "has_snapshot", "wanted"),
    [(64, True, False), (65, True, True), (65, False, False)],
)
def test_a_newcomer_wants_the_snapshot_of_over_64_pages(last, has_snapshot, wanted):
    said = head(last_page=last, has_snapshot=has_snapshot)
    assert wants_snapshot(said, None, 64) is wanted


@pytest.mark.parametrize(("page", "wanted"), [(8, True), (9, False), (10, False)])
def test_whoever_lacks_a_dropped_page_wants_the_snapshot(page, wanted):
    at = Cursor(E1, page, "d", 1)
    assert wants_snapshot(head(first_page=10), at, 64) is wanted
    assert not wants_snapshot(head(first_page=10, epoch=E2), at, 64)


@pytest.mark.parametrize(("last", "shrank"), [(4, True), (5, False), (6, False)])
def test_an_outbox_that_ends_before_what_is_here_is_odd(last, shrank):
    at = Cursor(E1, 5, "d", 1)
    assert (what_shrank(head(last_page=last), at) is not None) is shrank
    assert what_shrank(head(last_page=last, epoch=E2), at) is None
    assert what_shrank(head(last_page=last), None) is None


def test_an_outbox_tells_otherwise_of_the_very_page_alone():
    at = Cursor(E1, 5, "d", 1)
    assert tells_otherwise(head(last_page=5, digest="x"), at)
    assert not tells_otherwise(head(last_page=5), at)
    assert not tells_otherwise(head(last_page=6, digest="x"), at)
    assert not tells_otherwise(head(last_page=5, digest="x", epoch=E2), at)
    assert not tells_otherwise(head(last_page=5, digest="x"), None)


def test_a_run_is_guessed_within_its_block_and_what_is_merged():
    assert Segment(E1, 1_000, 900).run_end(1, 5) == 5
    assert Segment(E1, 1_000, 900).run_end(254, 5) == 256
    assert Segment(E1, 1_000, 900).run_end(257, 5) == 261
    assert Segment(E1, 3, 3).run_end(2, 5) == 3
    assert Segment(E1, 3, 3).run_end(3, 5) is None
    assert Segment(E1, 1_000, 900).run_end(901, 5) is None


def test_what_is_here_continues_up_to_the_page_that_counts():
    at = Cursor(E1, 5, "d", 1)
    assert continues([Segment(E1, 5, 0), Segment(E2, 1, 0)], at)
    assert not continues([Segment(E1, 4, 0), Segment(E2, 1, 0)], at)
    assert continues([Segment(E1, 4, 0)], at)
    assert not continues([Segment(E2, 9, 0)], at)
