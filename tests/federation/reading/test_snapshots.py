"""Reading a snapshot: by newcomers, after a dropped front, over what is here, after crashes."""

import copy

import pytest
from aiohttp import web

from cache.settings import PeerDefaults
from cache.storage.feed_tables import early_retractions, follow_snapshots, remote_pages
from cache.storage.peer_tables import evidence
from cache.storage.tables import verdicts
from federation.reading import snapshots
from federation.wire.page import digest
from federation.wire.page_head import EpochEnd
from federation.wire.row import Retraction
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import (
    CLEAN,
    head_of,
    pages_of,
    path_of,
    resigned,
    show,
    snapshot,
)

NAMES = "abcdef"


@pytest.fixture
def feed(ours, peer):
    """Six pages of a row each; page 3 takes back b. Over two pages, the snapshot is taken."""
    ours.change(snapshot_pages=2)
    epoch = peer.epochs[CLEAN]
    for name in "ab":
        peer.publish([peer.row(name)])
    peer.publish([Retraction(epoch, 2), peer.row("c")])
    for name in "def":
        peer.publish([peer.row(name)])
    peer.live = [
        ((epoch, seq), peer.row(name)) for seq, name in zip((1, 4, 5, 6), "acde", strict=True)
    ]
    return peer


@pytest.fixture
async def restarted(ours, feed):
    """The settings count from a restart on."""
    await ours.stop()
    await ours.start()
    return ours


async def pull(ours):
    ours.clock.now += 50_000
    await ours.settle()


def asked(peer):
    return [
        path.rpartition("/feeds/clean/")[2] for method, path in peer.requests if method == "GET"
    ]


def parts_of(epoch, through, *numbers):
    return [f"snapshot/{epoch}-{through}/{number}" for number in numbers]


async def test_a_newcomer_reads_the_snapshot_and_then_the_pages_after_it(restarted, feed):
    epoch = feed.epochs[CLEAN]
    snapshot(feed, 5, feed.live)
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures(*"acdef")
    assert restarted.follow_row().page == 6
    assert restarted.rows(follow_snapshots) == []
    pages = [path for path in asked(feed) if "/pages/" in path]
    assert pages == [f"{epoch}/pages/6"]
    places = {(row.epoch, row.seq) for row in restarted.rows(verdicts)}
    assert places == {(epoch, seq) for seq in (1, 4, 5, 6, 7)}


@pytest.mark.parametrize(("pages", "takes"), [(6, False), (5, True)])
async def test_a_snapshot_is_read_only_where_there_are_more_pages_than_the_limit(
    ours, feed, pages, takes
):
    ours.change(snapshot_pages=pages)
    await ours.stop()
    await ours.start()
    snapshot(feed, 5, feed.live)
    show(feed, has_snapshot=True)
    await ours.follow(feed)
    assert ("snapshot" in asked(feed)) is takes
    assert ours.pictures() == pictures(*"acdef")


async def test_a_newcomer_reads_pages_where_the_snapshot_is_not_there(restarted, feed):
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures(*"acdef")


async def test_a_dropped_front_without_a_snapshot_is_an_error(restarted, feed):
    show(feed, first_page=3)
    await restarted.follow(feed)
    assert restarted.pictures() == []
    assert "snapshot answered 404" in restarted.follow_row().error


async def test_whoever_needs_a_dropped_page_takes_the_snapshot(ours, peer):
    epoch = peer.epochs[CLEAN]
    for name in "ab":
        peer.publish([peer.row(name)])
    await ours.follow(peer)
    assert ours.pictures() == pictures("a", "b")
    for name in "cdef":
        peer.publish([peer.row(name)])
    snapshot(peer, 5, [((epoch, 2), peer.row("b")), ((epoch, 5), peer.row("e"))])
    show(peer, first_page=5, has_snapshot=True)
    await pull(ours)
    assert ours.pictures() == pictures(*"bef")
    assert ours.follow_row().page == 6


async def test_a_page_that_answers_410_makes_us_take_the_snapshot(ours, peer):
    """The outbox was told before the front was dropped."""
    epoch = peer.epochs[CLEAN]
    peer.publish([peer.row("a")])
    await ours.follow(peer)
    for name in "bcd":
        peer.publish([peer.row(name)])

    async def gone(_request):
        return web.Response(status=410)

    peer.answers[f"/feeds/clean/{epoch}/pages/2"] = gone
    peer.answers[f"/feeds/clean/{epoch}/pages/3"] = gone
    snapshot(peer, 3, [((epoch, 3), peer.row("c"))])
    show(peer, has_snapshot=True)
    await pull(ours)
    assert ours.pictures() == pictures("c", "d")


async def test_rows_of_earlier_epochs_stand_where_the_snapshot_has_them(restarted, feed):
    before = feed.epochs[CLEAN]
    feed.new_epoch()
    epoch = feed.epochs[CLEAN]
    for name in "xyz":
        feed.publish([feed.row(name)])
    rows = [((before, 1), feed.row("a")), ((before, 4), feed.row("c")), ((epoch, 2), feed.row("y"))]
    snapshot(feed, 3, rows, previous=[EpochEnd(before, 6)])
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures(*"acy")
    feed.publish([Retraction(before, 4)])
    show(feed, has_snapshot=True)
    await pull(restarted)
    assert restarted.pictures() == pictures("a", "y")


async def test_what_is_here_and_not_in_the_snapshot_goes_stretch_by_stretch(ours, peer):
    """Before, between, within and past the parts, and an epoch that it does not name."""
    first = peer.epochs[CLEAN]
    peer.publish([peer.row(f"first {number}") for number in range(3)])
    peer.new_epoch()
    second = peer.epochs[CLEAN]
    peer.publish([peer.row(f"second {number}") for number in range(6)])
    await ours.follow(peer)
    assert len(ours.pictures()) == 9
    for name in "cdef":
        peer.publish([peer.row(name)])
    rows = [((second, seq), peer.row(f"second {seq - 1}")) for seq in (2, 3, 5)]
    rows.append(((second, 9), peer.row("e")))
    snapshot(peer, 5, rows)
    show(peer, first_page=5, has_snapshot=True)
    await pull(ours)
    kept = ["second 1", "second 2", "second 4", "e"]
    assert ours.pictures() == pictures(*kept)
    assert first != second


async def test_a_row_of_the_snapshot_stands_whatever_was_here_of_its_picture(ours, peer, clock):
    """The page that had replaced it does not count any more."""
    epoch = peer.epochs[CLEAN]
    peer.publish([peer.row("a"), peer.row("b")])
    peer.publish([peer.row("a", issued=clock() - 100)])
    await ours.follow(peer)
    for name in "cdef":
        peer.publish([peer.row(name)])
    snapshot(peer, 5, [((epoch, 1), peer.row("a"))])
    show(peer, first_page=5, has_snapshot=True)
    await pull(ours)
    (row,) = [row for row in ours.rows(verdicts) if row.seq <= 3]
    assert (row.seq, row.issued) == (1, clock() - 50_000 - (clock() - 50_000) % 86_400)


async def test_what_expired_meanwhile_is_not_stored(restarted, feed, clock):
    epoch = feed.epochs[CLEAN]
    short = feed.row("short", expires=clock.now + 10)
    snapshot(feed, 6, [((epoch, 1), short), ((epoch, 4), feed.row("c"))])
    show(feed, has_snapshot=True)
    clock.now += 1_000
    await restarted.follow(feed)
    assert restarted.pictures() == pictures("c")


async def test_a_snapshot_without_rows_ends_at_its_page(restarted, feed):
    snapshot(feed, 5, [])
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures("f")


# --- what lies -------------------------------------------------------------------------------
async def test_a_part_that_is_not_the_named_one_counts_for_nothing(restarted, feed):
    _, parts = snapshot(feed, 5, feed.live)
    changed = copy.deepcopy(parts[1])
    changed["rows"][0][changed["columns"].index("expires")] += 1
    feed.documents[path_of(feed, changed["id"])] = changed
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures("a", "c")
    assert "not the one that its manifest names" in restarted.follow_row().error
    feed.documents[path_of(feed, changed["id"])] = parts[1]
    await pull(restarted)
    assert restarted.pictures() == pictures(*"acdef")
    assert restarted.follow_row().error is None


async def test_parts_out_of_order_are_not_read_on(restarted, feed):
    snapshot(feed, 5, [*feed.live[2:], *feed.live[:2]])
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures("d", "e")
    assert "part 2 of the snapshot does not come after" in restarted.follow_row().error


async def test_a_manifest_that_another_signed_is_not_read(restarted, feed, third):
    manifest, _ = snapshot(feed, 5, feed.live)
    third.base, third.proof = feed.base, third.proof
    feed.documents["/feeds/clean/snapshot"] = resigned(third, manifest)
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == []
    assert "verificationMethod" in restarted.follow_row().error


async def test_a_page_after_the_snapshot_must_chain_to_it(restarted, feed):
    other = feed.publish([feed.row("other")], keep=False)
    snapshot(feed, 5, feed.live, digest=digest(other))
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.follow_row().page == 5
    assert [row.page for row in restarted.rows(evidence)] == [5]  # page 6 signs another one


async def test_a_snapshot_older_than_what_is_here_is_not_read(ours, peer):
    epoch = peer.epochs[CLEAN]
    for name in "abc":
        peer.publish([peer.row(name)])
    await ours.follow(peer)
    for name in "de":
        peer.publish([peer.row(name)])
    snapshot(peer, 2, [((epoch, 1), peer.row("a"))])
    show(peer, first_page=5, has_snapshot=True)
    await pull(ours)
    assert ours.pictures() == pictures(*"abc")
    assert "here already" in ours.follow_row().error


# --- crashes and pauses ----------------------------------------------------------------------
class Crash(Exception):
    """Stands for kill -9 at one point."""


@pytest.mark.parametrize("name", ["begin", "apply_part", "finish"])
@pytest.mark.parametrize("when", ["before", "within"])
async def test_a_crash_at_any_point_loses_and_doubles_nothing(
    restarted, feed, clock, monkeypatch, name, when
):
    real = getattr(snapshots, name)
    calls = []

    def crash(*args):
        calls.append(args)
        if name == "apply_part" and len(calls) == 1:
            return real(*args)
        if when == "within":
            real(*args)
        raise Crash

    snapshot(feed, 5, feed.live)
    show(feed, has_snapshot=True)
    with monkeypatch.context() as patched:
        patched.setattr(snapshots, name, crash)
        with pytest.raises(Crash):
            await restarted.follow(feed)
    await restarted.stop()
    await restarted.start()
    clock.now += 1_000
    feed.requests.clear()
    await restarted.settle()
    assert restarted.pictures() == pictures(*"acdef")
    read = [path for path in asked(feed) if path.startswith("snapshot/")]
    numbers = {"begin": (1, 2), "apply_part": (2,), "finish": ()}[name]
    assert read == parts_of(feed.epochs[CLEAN], 5, *numbers)


async def test_a_turn_ends_within_its_budget_and_the_next_goes_on(ours, feed):
    ours.change(snapshot_pages=2, pull_documents=2)
    await ours.stop()
    await ours.start()
    snapshot(feed, 5, feed.live, part_rows=1)
    show(feed, has_snapshot=True)
    await ours.federation.follow(f"clean@127.0.0.1:{feed.port}", PeerDefaults())
    await ours.federation.deliverer.run_once()
    await feed.accept(ours, [one for one in feed.received if one["type"] == "Follow"][-1])
    await ours.federation.queue.run_once()
    held = []
    for _ in range(5):
        await ours.federation.puller.run_once()
        held.append(len(ours.pictures()))
    assert held == [0, 1, 2, 3, 4]
    await ours.settle()
    assert ours.pictures() == pictures(*"acdef")


async def test_a_snapshot_that_is_gone_is_begun_anew_as_it_is_now(restarted, feed):
    epoch = feed.epochs[CLEAN]
    _, parts = snapshot(feed, 4, feed.live[:3])
    del feed.documents[path_of(feed, parts[1]["id"])]
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert restarted.pictures() == pictures("a", "c")
    snapshot(feed, 5, [((epoch, 4), feed.row("c")), ((epoch, 6), feed.row("e"))])
    await pull(restarted)
    assert restarted.pictures() == pictures(*"cef")


async def test_pages_that_are_pushed_meanwhile_wait(restarted, feed):
    """A page applied to what is half read would be lost to the parts that follow."""

    async def broken(_request):
        return web.Response(status=503)

    _, parts = snapshot(feed, 5, feed.live)
    feed.answers[path_of(feed, parts[1]["id"])] = broken
    show(feed, has_snapshot=True)
    await restarted.follow(feed)
    assert await feed.create(restarted, pages_of(feed)[0]) == 202
    assert await feed.create(restarted, pages_of(feed)[5]) == 202
    await restarted.federation.queue.run_once()
    assert restarted.pictures() == pictures("a", "c")
    assert [row.page for row in restarted.rows(remote_pages)] == []
    feed.answers.clear()
    await pull(restarted)
    await pull(restarted)
    assert restarted.pictures() == pictures(*"acdef")
    assert restarted.rows(evidence) == []


async def test_retractions_that_were_remembered_before_do_not_bar_rows_of_the_snapshot(
    restarted, feed
):
    epoch = feed.epochs[CLEAN]
    snapshot(feed, 5, feed.live)
    show(feed, has_snapshot=True, signed_head=head_of(feed, pages_of(feed)[5]))
    await restarted.follow(feed)
    feed.publish([Retraction(epoch, 999)])
    show(feed, has_snapshot=True)
    await pull(restarted)
    assert [row.seq for row in restarted.rows(early_retractions)] == [999]
    assert restarted.pictures() == pictures(*"acdef")
