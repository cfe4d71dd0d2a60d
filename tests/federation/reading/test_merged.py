"""Merged pages: the same rows as page by page, in fewer requests; what lies is not believed."""

import copy

import pytest
from aiohttp import web

from cache.storage.feed_tables import early_retractions, remote_pages
from cache.storage.tables import verdicts
from cache.verdict import Feed
from federation.wire.row import Retraction
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import CLEAN, merge, pages_of, path_of, resigned, show


def asked(peer):
    return [path.rpartition("/pages/")[2] for _, path in peer.requests if "/pages/" in path]


async def pull(ours):
    ours.clock.now += 50_000
    await ours.settle()


async def redirecting(peer, first, last, to):
    async def redirect(_request):
        raise web.HTTPSeeOther(to)

    peer.answers[f"/feeds/clean/{peer.epochs[CLEAN]}/pages/{first}-{last}"] = redirect


async def test_runs_are_read_as_far_as_they_reach_and_single_pages_after(ours, peer):
    for name in "abcdefgh":
        peer.publish([peer.row(name)])
    for first, last in ((1, 5), (6, 7)):
        merge(peer, first, last)
    await redirecting(peer, 6, 8, f"{peer.feed_id()}/{peer.epochs[CLEAN]}/pages/6-7")
    show(peer, merged_through=7)
    await ours.follow(peer)
    assert ours.pictures() == pictures(*"abcdefgh")
    assert asked(peer) == ["1", "1-5", "6-8", "6-7", "8"]
    assert [row.page for row in ours.rows(remote_pages)] == list(range(1, 9))
    assert ours.follow_row().page == 8


async def test_of_a_run_that_begins_earlier_only_what_is_missing_is_applied(ours, peer):
    for name in "ab":
        peer.publish([peer.row(name)])
    await ours.follow(peer)
    for name in "cde":
        peer.publish([peer.row(name)])
    run = merge(peer, 1, 5)
    await redirecting(peer, 3, 5, run["id"])
    show(peer, merged_through=5)
    await pull(ours)
    assert ours.pictures() == pictures(*"abcde")
    assert ours.follow_row().page == 5


async def test_pages_are_read_one_by_one_where_no_run_is_served(ours, peer):
    for name in "abcd":
        peer.publish([peer.row(name)])
    show(peer, merged_through=4)
    await ours.follow(peer)
    assert ours.pictures() == pictures(*"abcd")
    assert asked(peer) == ["1", "1-4", "2", "3", "4"]


async def test_a_run_of_an_ended_epoch_past_the_page_that_counts_is_left(ours, peer):
    """The peer restored page 2, and another copy of it still serves three."""
    before = peer.epochs[CLEAN]
    for name in "abc":
        peer.publish([peer.row(name)])
    run = merge(peer, 1, 3)
    peer.new_epoch(keep=2)
    peer.publish([peer.row("d")])

    async def redirect(_request):
        raise web.HTTPSeeOther(run["id"])

    peer.answers[f"/feeds/clean/{before}/pages/1-2"] = redirect
    await ours.follow(peer)
    assert ours.pictures() == pictures(*"abd")
    assert ours.follow_row().error is None


PAGES = {
    "taken back and said anew": lambda peer, epoch: [
        [peer.row("a")],
        [Retraction(epoch, 1)],
        [peer.row("a")],
    ],
    "said, replaced, taken back": lambda peer, epoch: [
        [peer.row("a")],
        [peer.row("a", expires=peer.clock() + 9_000_000)],
        [Retraction(epoch, 2)],
    ],
    "issued earlier than what was taken back": lambda peer, epoch: [
        [peer.row("a", issued=peer.clock() - 100)],
        [Retraction(epoch, 1)],
        [peer.row("a", issued=peer.clock() - 90_000)],
    ],
    "within one page": lambda peer, epoch: [
        [peer.row("a"), Retraction(epoch, 1), peer.row("a"), peer.row("b")],
        [Retraction(epoch, 4)],
    ],
    "a target that comes later": lambda peer, epoch: [
        [Retraction(epoch, 3), peer.row("a")],
        [peer.row("b")],
    ],
}


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("is_merged", [False, True])
async def test_what_is_taken_back_among_them_is_as_page_by_page(ours, peer, kind, is_merged):
    for rows in PAGES[kind](peer, peer.epochs[CLEAN]):
        peer.publish(rows)
    if is_merged:
        merge(peer, 1, len(pages_of(peer)))
        show(peer, merged_through=len(pages_of(peer)))
    await ours.follow(peer)
    standing = {
        "taken back and said anew": [3],
        "said, replaced, taken back": [],
        "issued earlier than what was taken back": [3],
        "within one page": [3],
        "a target that comes later": [2],
    }
    assert sorted(row.seq for row in ours.rows(verdicts)) == standing[kind]
    remembered = [row.seq for row in ours.rows(early_retractions)]
    assert remembered in ([], [3] if kind == "a target that comes later" else [])


async def test_a_flagged_feed_is_read_in_runs_too(ours, peer):
    for name in "abc":
        peer.publish([peer.row(name)], Feed.FLAGGED)
    merge(peer, 1, 3, feed=Feed.FLAGGED)
    show(peer, Feed.FLAGGED, merged_through=3)
    await ours.follow(peer, Feed.FLAGGED)
    assert ours.pictures() == pictures(*"abc")


# --- what lies -------------------------------------------------------------------------------
def _of_another_epoch(peer, run):
    return resigned(peer, run, epoch="e" * 32, id=run["id"].replace(run["epoch"], "e" * 32))


def _without_the_page_asked_for(peer, _run):
    return merge(peer, 3, 4)


def _with_another_row(_peer, run):
    changed = copy.deepcopy(run)
    changed["rows"][0][changed["columns"].index("expires")] += 1
    return changed


LIES = {
    "another epoch": (_of_another_epoch, "other pages than page 1"),
    "other pages": (_without_the_page_asked_for, "other pages than page 1"),
    "another row": (_with_another_row, "proof does not fit"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_run_that_lies_stops_the_pull_and_nothing_of_it_is_stored(ours, peer, lie):
    for name in "abcd":
        peer.publish([peer.row(name)])
    run = merge(peer, 1, 4)
    told, error = LIES[lie][0](peer, run), LIES[lie][1]
    peer.documents[path_of(peer, run["id"])] = told
    show(peer, merged_through=4)
    await ours.follow(peer)
    assert ours.pictures() == []
    assert error in ours.follow_row().error


async def test_a_run_that_does_not_chain_to_what_is_here_is_not_applied(ours, peer):
    for name in "ab":
        peer.publish([peer.row(name)])
    await ours.follow(peer)
    for name in "cd":
        peer.publish([peer.row(name)])
    other = [resigned(peer, pages_of(peer)[2], firstSeq=4), pages_of(peer)[3]]
    merge(peer, 3, 4, pages=other)
    show(peer, merged_through=4)
    await pull(ours)
    assert ours.pictures() == pictures("a", "b")
    assert "does not continue" in ours.follow_row().error
