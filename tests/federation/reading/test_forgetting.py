"""Pages of which no row can stand any more are forgotten, and the feed goes on."""

import pytest

from cache.storage.feed_tables import remote_pages
from cache.storage.tables import verdicts
from federation import service
from federation.reading.forgetting import PAGE_SECONDS, forget_pages, old_pages
from federation.wire.members import PUBLISHED_AHEAD_SECONDS
from federation.wire.page_rows import ISSUED_AFTER_PAGE_SECONDS, MAX_LIFETIME_SECONDS
from tests.fakes.instance import pictures


@pytest.fixture
async def followed(ours, peer):
    await ours.follow(peer)
    return ours


def pages(ours):
    return sorted(row.page for row in ours.rows(remote_pages))


async def read(ours, peer, clock, *names):
    for name in names:
        peer.publish([peer.row(name)])
    clock.now += 50_000
    await ours.settle()


async def test_old_pages_are_forgotten_but_for_the_one_the_feed_stands_at(
    followed, peer, clock, monkeypatch
):
    monkeypatch.setattr(service, "_TIDY_ROWS", 2)  # more than one round
    await read(followed, peer, clock, *"abcdef")
    clock.now += PAGE_SECONDS
    await followed.federation._tidy()
    assert pages(followed) == [1, 2, 3, 4, 5, 6]
    clock.now += 1
    await followed.federation._tidy()
    assert pages(followed) == [6]
    await read(followed, peer, clock, "g")
    assert (followed.follow_row().page, followed.follow_row().error) == (7, None)
    assert pictures("g")[0] in followed.pictures()
    await followed.federation._tidy()
    assert pages(followed) == [7]


async def test_a_page_that_became_a_cursor_or_was_read_anew_meanwhile_stays(followed, peer, clock):
    await read(followed, peer, clock, *"ab")
    clock.now += PAGE_SECONDS + 1
    store, now = followed.store, clock.now
    (key,) = await store.read(old_pages, now, 10)
    (follow_id, epoch, page) = key
    assert page == 1
    current = (follow_id, epoch, 2)
    await store.write(forget_pages, [current, (follow_id, epoch, 9)], now)
    assert pages(followed) == [1, 2]
    await store.write(forget_pages, [key], now - 1)
    assert pages(followed) == [1, 2]
    await store.write(forget_pages, [key], now)
    assert pages(followed) == [2]


async def test_a_page_outlives_each_of_its_rows(followed, peer, clock):
    """The latest row a page may hold is issued a while after it, and lives 366 days."""
    clock.now += 50_000
    late = clock.now + ISSUED_AFTER_PAGE_SECONDS
    peer.publish([peer.row("a", issued=late, expires=late + 10 * MAX_LIFETIME_SECONDS)])
    await followed.settle()
    ((verdict,), (page,)) = followed.rows(verdicts), followed.rows(remote_pages)
    assert late + MAX_LIFETIME_SECONDS - 86_400 < verdict.expires <= late + MAX_LIFETIME_SECONDS
    assert page.received + PAGE_SECONDS > verdict.expires + PUBLISHED_AHEAD_SECONDS
