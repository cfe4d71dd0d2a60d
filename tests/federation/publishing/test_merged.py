"""Our pages merged, through the served routes: which make a run, who gets it, that it stays."""

import asyncio

import pytest

from cache.storage.feed_tables import feed_pages, feed_runs
from cache.verdict import Feed
from federation.addresses import page_url, run_url
from federation.publishing import runs, snapshots
from federation.signing import keystore
from federation.wire.merged import BLOCK_PAGES, verify_merged
from federation.wire.page import verify_page
from federation.wire.row import Attestation
from tests.federation.publishing.feeding import (
    actor_of,
    approve,
    epoch_of,
    fill,
    fill_wide,
    new_epoch,
    read,
)

DAY = 86_400


def cut(ours, feed=Feed.CLEAN):
    """Return the first and last page of every run, in order."""
    return sorted(
        (row.first_page, row.last_page) for row in ours.rows(feed_runs) if row.feed == feed
    )


def run_of(ours, first, last, feed=Feed.CLEAN, epoch=None):
    return run_url(ours.feed_id(feed), epoch or epoch_of(ours, feed), first, last)


@pytest.fixture
async def merged(ours, peer, clock):
    """Our feed with one run of five pages, of an epoch that has ended, and its URL."""
    await approve(ours, peer)
    fill(ours, 5, rows=2)
    clock.now += DAY
    await new_epoch(ours)
    await ours.federation.upkeep.run_once()
    return run_of(ours, 1, 5)


async def test_a_run_has_the_rows_and_digests_of_its_pages(ours, peer, clock, merged):
    run = verify_merged(await read(peer, merged), actor_of(ours), clock.now)
    epoch = epoch_of(ours)
    assert len(run.pages) == 5
    for page in run.pages:
        alone = await read(peer, page_url(ours.feed_id(), epoch, page.head.page))
        own = verify_page(alone, actor_of(ours), clock.now).page
        assert page.head == own.head
        assert page.rows == own.rows
        assert page.digest == own.digest


async def test_a_run_is_the_same_to_the_byte_whenever_and_whatever_key_is_in_use(
    ours, peer, clock, merged
):
    first = (await peer.get(merged))[2]
    ours.store.write_now(keystore.rotate, "clean", clock.now)
    ours.keys = ours.store.write_now(keystore.load_keys)
    await ours.stop()
    await ours.start()
    clock.now += DAY
    assert (await peer.get(merged))[2] == first


async def test_a_run_is_as_old_as_its_last_page(peer, merged):
    document = await read(peer, merged)
    assert document["proof"]["created"] == document["published"]


async def test_what_is_no_exact_run_leads_to_the_run_that_holds_its_first_page(ours, peer, merged):
    for first, last in ((1, 4), (2, 5), (3, 3), (5, 9), (1, 999_999_999)):
        status, headers, _ = await peer.get(run_of(ours, first, last))
        assert (status, headers["Location"]) == (303, merged)
        assert headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("name", ["6-9", "0-0", "x-1", "1-", "-1", "1-2-3", "9999999999-1"])
async def test_pages_that_no_run_holds_are_not_there(peer, merged, name):
    assert (await peer.get(merged.replace("1-5", name)))[0] == 404


async def test_everyone_else_gets_the_very_404_of_a_run_that_does_not_exist(
    ours, peer, third, merged
):
    def plain(answer):
        status, headers, body = answer
        return status, {name: value for name, value in headers.items() if name != "Date"}, body

    missing = plain(await peer.get(run_of(ours, 6, 7)))
    assert missing[0] == 404
    await third.follow(ours)
    await ours.settle()
    assert plain(await third.get(merged)) == missing
    assert plain(await third.get(merged, sign=False)) == missing
    assert plain(await peer.get(merged.replace("/clean/", "/flagged/"))) == missing
    await ours.federation.reject(peer.id, Feed.CLEAN)
    assert plain(await peer.get(merged)) == missing


async def test_a_run_waits_until_its_last_page_is_a_day_old(ours, clock):
    fill(ours, 2)
    clock.now += 10
    fill(ours, 1, start=2)
    await new_epoch(ours)
    clock.now += DAY - 1
    await ours.federation.upkeep.run_once()
    assert cut(ours) == []
    clock.now += 1
    await ours.federation.upkeep.run_once()
    assert cut(ours) == [(1, 3)]


async def test_a_run_ends_with_its_block_and_a_block_that_still_grows_waits(
    ours, clock, monkeypatch
):
    assert runs.last_of_block(1) == BLOCK_PAGES == runs.last_of_block(BLOCK_PAGES)
    monkeypatch.setattr(runs, "BLOCK_PAGES", 4)
    fill(ours, 3)
    clock.now += DAY
    await ours.federation.upkeep.run_once()
    assert cut(ours) == []
    fill(ours, 2, start=1_000)
    clock.now += DAY
    await ours.federation.upkeep.run_once()
    assert cut(ours) == [(1, 4)]


async def test_runs_and_parts_have_5000_rows_and_not_one_more(ours, clock, peer, monkeypatch):
    monkeypatch.setattr(snapshots, "MIN_PAGES", 0)
    await approve(ours, peer)
    fill_wide(ours, 6, 1_000)
    clock.now += DAY
    await ours.federation.upkeep.run_once()
    assert cut(ours) == [(1, 5)]
    run = verify_merged(await read(peer, run_of(ours, 1, 5)), actor_of(ours), clock.now)
    assert sum(len(page.rows) for page in run.pages) == 5_000
    manifest = await read(peer, f"{ours.feed_id()}/snapshot")
    assert [part["count"] for part in manifest["parts"]] == [5_000, 1_000]


async def test_a_rule_that_changed_ends_a_run(ours, clock):
    fill(ours, 2)
    ours.federation.feeds.rules = {"patterns": "test-pattern and sexual"}
    fill(ours, 2, start=2)
    clock.now += DAY
    await new_epoch(ours)
    await ours.federation.upkeep.run_once()
    assert cut(ours) == [(1, 2), (3, 4)]


async def test_a_run_stays_below_the_bytes_of_a_page(ours, clock, peer, monkeypatch):
    await approve(ours, peer)
    fill(ours, 3, rows=5)
    sizes = [row.size for row in ours.rows(feed_pages)]
    most = sizes[0] + sizes[1] + 10
    monkeypatch.setattr(runs, "MAX_PAGE_BYTES", most)
    clock.now += DAY
    await new_epoch(ours)
    await ours.federation.upkeep.run_once()
    assert cut(ours) == [(1, 2), (3, 3)]
    assert len((await peer.get(run_of(ours, 1, 2)))[2]) <= most


async def test_pages_with_other_labels_and_pipelines_are_joined(ours, clock, peer):
    await approve(ours, peer)
    fill(ours, 1, scores='{"sexual":12}')
    fill(ours, 1, start=1, scores='{"minor":3,"gore":4}')
    clock.now += DAY
    await new_epoch(ours)
    await ours.federation.upkeep.run_once()
    run = verify_merged(await read(peer, run_of(ours, 1, 2)), actor_of(ours), clock.now)
    told = [
        {label: score for label, score in row.scores.items() if score is not None}
        for page in run.pages
        for row in page.rows
        if isinstance(row, Attestation)
    ]
    assert told == [{"sexual": 12}, {"minor": 3, "gore": 4}]


async def test_many_who_ask_at_a_time_make_a_run_once(ours, peer, merged, monkeypatch):
    made = []
    build = runs.merged

    def counted(texts):
        made.append(texts)
        return build(texts)

    monkeypatch.setattr(runs, "merged", counted)
    bodies = await asyncio.gather(*(peer.get(merged) for _ in range(20)))
    assert len({body for _, _, body in bodies}) == 1
    assert len(made) == 1


async def test_a_follower_gets_its_number_of_runs_a_minute_and_not_one_more(ours, peer, clock):
    await approve(ours, peer)
    fill(ours, 2)
    clock.now += DAY
    await ours.stop()
    ours.change(merged_per_minute=3)
    await ours.start()
    await new_epoch(ours)
    await ours.federation.upkeep.run_once()
    answers = [(await peer.get(run_of(ours, 1, 2)))[:2] for _ in range(4)]
    assert [status for status, _ in answers] == [200, 200, 200, 429]
    assert answers[-1][1]["Retry-After"] == "60"
    clock.now += 60
    assert (await peer.get(run_of(ours, 1, 2)))[0] == 200


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("*", None),
        ("gzippy", None),
    ],
)
async def test_answers_are_compressed_where_asked(peer, merged, asked, given):
    status, headers, _ = await peer.get(merged, encoding=asked)
    assert (status, headers.get("Content-Encoding")) == (200, given)
    assert headers["Vary"] == "Accept-Encoding"
    plain = await read(peer, merged)
    assert await read(peer, merged, encoding=asked) == plain
