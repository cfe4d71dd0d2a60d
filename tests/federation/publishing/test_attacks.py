"""A stolen key while the upkeep works, and after: nothing void is signed, served or stuck."""

import pytest
from sqlalchemy import update

from cache.storage.feed_tables import feed_pages, feed_rows, feed_runs
from cache.verdict import Feed
from federation.addresses import snapshot_url
from federation.publishing import runs, snapshots
from federation.publishing.revoking import revoke
from federation.signing.keystore import list_keys
from federation.wire.page import EpochEnd
from federation.wire.snapshot import parse_part, verify_manifest
from tests.fakes.instance import Ours
from tests.federation.publishing.feeding import actor_of, approve, epoch_of, fill, read

DAY = 86_400
BLOCK_PAGES = 4


@pytest.fixture
async def small(store, clock, tmp_path, monkeypatch):
    """Ours with small blocks, and snapshots of any feed, on both databases."""
    monkeypatch.setattr(snapshots, "MIN_PAGES", 0)
    monkeypatch.setattr(runs, "BLOCK_PAGES", BLOCK_PAGES)
    started = await Ours(store, clock, tmp_path / "state").start()
    yield started
    await started.stop()


def revoke_from(ours, page):
    (key,) = [key for key in ours.store.read_now(list_keys) if key.purpose == "clean"]
    first = EpochEnd(epoch_of(ours), page)
    return ours.store.write_now(revoke, Feed.CLEAN, key, first, ours.clock())


async def test_a_run_that_was_chosen_before_a_revocation_is_not_signed_after_it(small, clock):
    fill(small, BLOCK_PAGES)
    clock.now += 2 * DAY
    run = small.store.read_now(runs.next_run, Feed.CLEAN, clock())
    document = runs.merged(small.store.read_now(runs.page_texts, run))
    revoke_from(small, 3)
    small.store.write_now(runs.sign_run, run, document)
    assert small.rows(feed_runs) == []
    await small.federation.upkeep.run_once()
    assert [(row.first_page, row.last_page) for row in small.rows(feed_runs)] == [(1, 2)]


async def test_a_key_can_be_revoked_from_a_page_that_was_dropped_since(small, clock, peer):
    await approve(small, peer)
    fill(small, BLOCK_PAGES, expires=clock.now + 10)
    fill(small, 1, start=BLOCK_PAGES)
    clock.now += DAY
    await small.federation.upkeep.run_once()
    assert [row.page for row in small.rows(feed_pages)] == [BLOCK_PAGES + 1]
    done = revoke_from(small, 3)
    assert done.kept is None
    outbox = await read(peer, f"{small.feed_id()}/outbox")
    assert outbox["totalItems"] == 0
    await small.settle()
    outbox = await read(peer, f"{small.feed_id()}/outbox")
    assert (outbox["firstPage"], outbox["lastPage"]) == (1, 1)
    await small.federation.upkeep.run_once()


async def test_a_snapshot_made_anew_of_the_same_page_is_served_with_its_own_parts(
    small, clock, peer
):
    await approve(small, peer)
    fill(small, BLOCK_PAGES)
    await small.federation.upkeep.run_once()
    await taken(small, peer)
    revoke_from(small, BLOCK_PAGES + 1)
    gone = update(feed_rows).where(feed_rows.c.seq == 2).values(live=False)
    small.store.write_now(lambda conn: conn.execute(gone))
    await small.settle()
    await small.federation.upkeep.run_once()
    manifest, (part,) = await taken(small, peer)
    assert manifest.snapshot.through_page == BLOCK_PAGES
    assert [seq for _, seq in part.places] == [1, 3, 4]


async def taken(ours, peer):
    document = await read(peer, snapshot_url(ours.feed_id()))
    manifest = verify_manifest(document, actor_of(ours), ours.clock())
    return manifest, [
        parse_part(await read(peer, part.id), manifest, number)
        for number, part in enumerate(manifest.snapshot.parts, start=1)
    ]
