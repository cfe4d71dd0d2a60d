"""Snapshots of our feeds through the served routes, and fronts that are dropped after them."""

import pytest
from sqlalchemy import update

from cache.storage.feed_tables import (
    feed_pages,
    feed_rows,
    feed_snapshot_parts,
    feed_snapshots,
)
from cache.verdict import Basis, Feed
from federation.addresses import page_url, snapshot_url
from federation.publishing import runs, snapshots
from federation.publishing.snapshots import MIN_PAGES
from federation.wire.snapshot import parse_part, verify_manifest
from tests.fakes.instance import Ours
from tests.federation.publishing.feeding import (
    actor_of,
    approve,
    epoch_of,
    fill,
    new_epoch,
    read,
)
from tests.federation.samples import picture

DAY = 86_400
BLOCK_PAGES = 4


async def taken(ours, peer, feed=Feed.CLEAN):
    """Return the verified manifest and parts of the newest snapshot."""
    document = await read(peer, snapshot_url(ours.feed_id(feed)))
    manifest = verify_manifest(document, actor_of(ours, feed), ours.clock())
    parts = [
        parse_part(await read(peer, part.id), manifest, number)
        for number, part in enumerate(manifest.snapshot.parts, start=1)
    ]
    return manifest, parts


def complete(ours):
    return [row.through_page for row in ours.rows(feed_snapshots) if row.manifest is not None]


async def test_a_snapshot_has_the_rows_that_stand_and_says_where_the_feed_goes_on(
    store, clock, tmp_path, peer
):
    ours = await Ours(store, clock, tmp_path / "state").start()
    try:
        await approve(ours, peer)
        fill(ours, MIN_PAGES + 1)
        last = ours.rows(feed_pages)[-1]
        await ours.federation.upkeep.run_once()
        manifest, (part,) = await taken(ours, peer)
        snapshot = manifest.snapshot
        assert (snapshot.through_page, snapshot.digest) == (MIN_PAGES + 1, last.digest)
        assert snapshot.next_seq == last.first_seq + last.count
        epoch = epoch_of(ours)
        assert part.places == tuple((epoch, n) for n in range(1, MIN_PAGES + 2))
        assert [row.sha256 for row in part.rows] == [picture(str(n)) for n in range(MIN_PAGES + 1)]
        assert (await read(peer, f"{ours.feed_id()}/outbox"))["snapshot"] == snapshot_url(
            ours.feed_id()
        )
    finally:
        await ours.stop()


async def test_a_feed_of_64_pages_has_none(ours, peer):
    await approve(ours, peer)
    fill(ours, MIN_PAGES)
    await ours.federation.upkeep.run_once()
    assert (await peer.get(snapshot_url(ours.feed_id())))[0] == 404
    assert "snapshot" not in await read(peer, f"{ours.feed_id()}/outbox")


@pytest.fixture
async def small(ours, peer, monkeypatch):
    """Our feed as if it were large: three rows a part, four pages a block, always a snapshot."""
    monkeypatch.setattr(snapshots, "MIN_PAGES", 0)
    monkeypatch.setattr(snapshots, "MAX_PART_ROWS", 3)
    monkeypatch.setattr(runs, "BLOCK_PAGES", BLOCK_PAGES)
    await approve(ours, peer)
    await approve(ours, peer, Feed.FLAGGED)
    return ours


async def test_what_is_retracted_replaced_expired_or_later_is_left_out(small, peer, clock):
    kept = small.add_row("kept")
    for name, changes in (("gone", {"live": False}), ("old", {"expires": clock.now + 5})):
        small.add_row(name, **changes)
    await small.settle()
    clock.now += 5
    small.add_row("gone", op=1, target_id=kept)
    await small.settle()
    small.add_row("later")
    await small.federation.upkeep.run_once()
    _, (part,) = await taken(small, peer)
    assert [row.sha256 for row in part.rows] == [picture("kept")]


async def test_rows_of_earlier_epochs_come_first_and_name_theirs(small, peer):
    fill(small, 2)
    old = epoch_of(small)
    await new_epoch(small)
    fill(small, 2, start=2)
    await small.federation.upkeep.run_once()
    manifest, parts = await taken(small, peer)
    new = epoch_of(small)
    assert [(end.epoch, end.page) for end in manifest.snapshot.previous_epochs] == [(old, 2)]
    assert [part.places for part in parts] == [((old, 1), (old, 2), (new, 1)), ((new, 2),)]


async def test_a_snapshot_goes_on_after_the_last_part_that_was_written(small, peer, monkeypatch):
    """Killed at any step, in the end the snapshot is the one that nothing disturbed."""
    fill(small, 8)
    store, write, left = small.store, small.store.write, [0]

    async def killed(fn, *args):
        if fn in (snapshots.store_part, snapshots.finish):
            left[0] += 1
            if left[0] % 2:
                raise RuntimeError("killed")
        return await write(fn, *args)

    monkeypatch.setattr(store, "write", killed)
    for _ in range(4):
        with pytest.raises(RuntimeError):
            await small.federation.upkeep.run_once()
        assert (await peer.get(snapshot_url(small.feed_id())))[0] == 404
    await small.federation.upkeep.run_once()
    _, parts = await taken(small, peer)
    assert [len(part.rows) for part in parts] == [3, 3, 2]
    seqs = [seq for part in parts for _, seq in part.places]
    assert seqs == list(range(1, 9))


async def test_snapshots_are_daily_for_new_pages_and_two_are_kept(small, clock):
    for number in range(4):
        fill(small, 1, start=number)
        await small.federation.upkeep.run_once()
        clock.now += DAY - 1
        fill(small, 1, start=100 + number)
        await small.federation.upkeep.run_once()
        clock.now += 1
    assert complete(small) == [5, 7]
    assert len(small.rows(feed_snapshot_parts)) == 2 + 3
    await small.federation.upkeep.run_once()
    clock.now += DAY
    await small.federation.upkeep.run_once()
    assert complete(small) == [7, 8]  # nothing new came after page 8


async def test_a_snapshot_of_a_feed_whose_rows_all_expired_has_no_parts(small, peer, clock):
    small.add_row("a", expires=clock.now + 10)
    await small.settle()
    clock.now += 10
    await small.federation.upkeep.run_once()
    manifest, parts = await taken(small, peer)
    assert (manifest.snapshot.count, parts) == (0, [])


async def test_a_part_of_findings_gives_their_rules_as_their_page_did(small, peer):
    """Also where the rule has changed since; one part holds no two expressions of it."""
    finding = {"basis": int(Basis.HUMAN), "rule": "patterns", "finding": "upheld", "scores": None}
    small.federation.feeds.rules = {"patterns": "test-pattern"}
    fill(small, 1, Feed.FLAGGED, **finding)
    small.federation.feeds.rules = {"patterns": "test-pattern and sexual"}
    fill(small, 1, Feed.FLAGGED, start=1, **finding)
    small.federation.feeds.rules = {}
    fill(small, 1, Feed.FLAGGED, start=2, **finding)
    await small.federation.upkeep.run_once()
    _, parts = await taken(small, peer, Feed.FLAGGED)
    assert [part.rules["patterns"] for part in parts] == [
        "test-pattern",
        "test-pattern and sexual",
        "",
    ]


async def test_a_part_stays_below_the_bytes_of_a_page(small, peer, monkeypatch):
    monkeypatch.setattr(snapshots, "MAX_PAGE_BYTES", 3_500)
    fill(small, 4)
    await small.federation.upkeep.run_once()
    _, parts = await taken(small, peer)
    assert [len(part.rows) for part in parts] == [3, 1]
    monkeypatch.setattr(snapshots, "MAX_PAGE_BYTES", 1_500)
    small.clock.now += DAY
    fill(small, 1, start=4)
    await small.federation.upkeep.run_once()
    _, parts = await taken(small, peer)
    assert [len(part.rows) for part in parts] == [1, 1, 1, 1, 1]


async def test_everyone_else_gets_the_very_404_of_a_snapshot_that_does_not_exist(
    small, peer, third
):
    def plain(answer):
        status, headers, body = answer
        return status, {name: value for name, value in headers.items() if name != "Date"}, body

    url = snapshot_url(small.feed_id())
    missing = plain(await peer.get(url))
    assert missing[0] == 404
    fill(small, 1)
    await small.federation.upkeep.run_once()
    part = (await read(peer, url))["parts"][0]["id"]
    await third.follow(small)
    await small.settle()
    await small.federation.reject(peer.id, Feed.FLAGGED)
    for who, asked in (
        (third, url),
        (third, part),
        (peer, part[:-1] + "2"),
        (peer, part.replace("/clean/", "/flagged/")),
        (peer, part[:-1] + "x"),
        (peer, part.replace(epoch_of(small), "0" * 32)),
    ):
        assert plain(await who.get(asked)) == missing
        assert plain(await third.get(asked, sign=False)) == missing


# --- dropped fronts --------------------------------------------------------------------------
async def expired_block(ours, clock, lasting=()):
    """Seal a block of pages whose rows expire, but for those of `lasting`, and one page more."""
    fill(ours, BLOCK_PAGES, expires=clock.now + 10)
    fill(ours, 1, start=10_000)
    late = update(feed_rows).where(feed_rows.c.seq.in_(lasting))
    ours.store.write_now(lambda conn: conn.execute(late.values(expires=clock.now + 11)))
    clock.now += 10


async def test_a_block_whose_every_row_expired_is_dropped_and_answers_410_to_followers(
    small, peer, third, clock
):
    await expired_block(small, clock)
    await small.federation.upkeep.run_once()
    epoch, feed_id = epoch_of(small), small.feed_id()
    outbox = await read(peer, f"{feed_id}/outbox")
    assert (outbox["firstPage"], outbox["lastPage"]) == (BLOCK_PAGES + 1, BLOCK_PAGES + 1)
    for name in ("1", str(BLOCK_PAGES), "1-5"):
        status, headers, body = await peer.get(f"{feed_id}/{epoch}/pages/{name}")
        assert (status, headers["Cache-Control"]) == (410, "private, no-store")
        assert b"expired" not in body
        assert (await third.get(f"{feed_id}/{epoch}/pages/{name}"))[0] == 404
    assert (await peer.get(page_url(feed_id, epoch, BLOCK_PAGES + 1)))[0] == 200
    assert (await peer.get(page_url(feed_id, epoch, BLOCK_PAGES + 2)))[0] == 404
    manifest, parts = await taken(small, peer)
    assert manifest.snapshot.through_page >= BLOCK_PAGES
    assert [part.places for part in parts] == [((epoch, BLOCK_PAGES + 1),)]


async def test_a_block_with_one_row_that_stands_is_kept_until_that_expires(small, peer, clock):
    await expired_block(small, clock, lasting=[BLOCK_PAGES])
    await small.federation.upkeep.run_once()
    assert len(small.rows(feed_pages)) == BLOCK_PAGES + 1
    clock.now += 3_600
    await small.federation.upkeep.run_once()
    assert len(small.rows(feed_pages)) == 1


async def test_the_last_block_is_never_dropped(small, clock):
    fill(small, BLOCK_PAGES, expires=clock.now + 10)
    clock.now += 10
    await small.federation.upkeep.run_once()
    assert complete(small) == [BLOCK_PAGES]
    assert len(small.rows(feed_pages)) == BLOCK_PAGES


async def test_a_retraction_of_a_row_whose_page_was_dropped_still_names_its_place(
    small, peer, clock
):
    await expired_block(small, clock)
    await small.federation.upkeep.run_once()
    target = small.rows(feed_rows)[0]
    small.add_row("0", op=1, target_id=target.id)
    await small.settle()
    page = await read(peer, page_url(small.feed_id(), epoch_of(small), BLOCK_PAGES + 2))
    assert page["rows"][0][page["columns"].index("target")] == target.seq


async def test_runs_are_signed_and_fronts_dropped_on_both_databases(
    store, clock, tmp_path, peer, monkeypatch
):
    monkeypatch.setattr(snapshots, "MIN_PAGES", 0)
    monkeypatch.setattr(runs, "BLOCK_PAGES", BLOCK_PAGES)
    ours = await Ours(store, clock, tmp_path / "state").start()
    try:
        await approve(ours, peer)
        fill(ours, BLOCK_PAGES, rows=2, expires=clock.now + 3 * DAY)
        fill(ours, 1, start=1_000)
        clock.now += DAY
        await ours.federation.upkeep.run_once()
        run = f"{ours.feed_id()}/{epoch_of(ours)}/pages/1-{BLOCK_PAGES}"
        assert (await peer.get(run))[0] == 200
        outbox = await read(peer, f"{ours.feed_id()}/outbox")
        assert (outbox["mergedThrough"], outbox["rows"]) == (BLOCK_PAGES, 2 * BLOCK_PAGES + 1)
        clock.now += 2 * DAY
        await ours.federation.upkeep.run_once()
        assert (await peer.get(run))[0] == 410
        assert len(ours.rows(feed_pages)) == 1
    finally:
        await ours.stop()
