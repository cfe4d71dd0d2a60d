"""Pages of which no row can stand any more are forgotten, and the feed goes on."""

from dataclasses import replace

import pytest

from cache.storage.feed_tables import ahead_pages, follows, remote_pages
from cache.storage.tables import verdicts
from federation import service
from federation.reading.forgetting import PAGE_SECONDS, forget_pages, old_pages
from federation.reading.heads import _note_all
from federation.reading.place import restart
from federation.reading.states import is_ahead
from federation.wire.feed_head import verify_head
from federation.wire.members import PUBLISHED_AHEAD_SECONDS
from federation.wire.page_rows import ISSUED_AFTER_PAGE_SECONDS, MAX_LIFETIME_SECONDS
from tests.fakes.instance import pictures
from tests.federation.reading.feeds import head_of


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


async def test_a_page_that_became_a_cursor_meanwhile_stays(followed, peer, clock):
    await read(followed, peer, clock, *"ab")
    clock.now += PAGE_SECONDS + 1
    store, now = followed.store, clock.now
    (key,) = await store.read(old_pages, now, 10)
    follow_id, epoch, page = key
    assert page == 1
    await store.write(forget_pages, [(follow_id, epoch, 2), (follow_id, epoch, 9)])
    assert pages(followed) == [1, 2]
    await store.write(forget_pages, [key])
    assert pages(followed) == [2]


async def test_each_feed_keeps_the_page_where_it_stands_itself(followed, peer, third, clock):
    """One that is read anew stands nowhere, and keeps none."""
    await followed.follow(third)
    third.publish([third.row(name) for name in "xyz"])
    await read(followed, peer, clock, *"ab")
    stands = {(row.follow_id, row.page) for row in followed.rows(remote_pages)}
    clock.now += PAGE_SECONDS + 1
    await followed.federation._tidy()
    assert len(stands) == 3
    (first, second) = [row.id for row in followed.rows(follows)]
    assert {(row.follow_id, row.page) for row in followed.rows(remote_pages)} == {
        (first, 2),
        (second, 1),
    }
    followed.store.write_now(restart, first)
    await followed.federation._tidy()
    assert [row.follow_id for row in followed.rows(remote_pages)] == [second]
    await read(followed, peer, clock, "c")
    assert {row.error for row in followed.rows(follows)} == {None}
    assert pictures("c")[0] in followed.pictures()


async def test_a_head_of_a_forgotten_page_is_nothing_new(followed, peer, clock):
    """It would be kept as one that is to come, and pulled for at each telling."""
    heads = [head_of(peer, page) for page in [peer.publish([peer.row(n)]) for n in "ab"]]
    await read(followed, peer, clock)
    clock.now += PAGE_SECONDS + 1
    await followed.federation._tidy()
    actor = await followed.federation.actors.get(peer.feed_id())
    verified = [verify_head(head, actor, clock.now) for head in heads]
    due = followed.follow_row().next_try
    assert due > 0
    followed.store.write_now(_note_all, verified, clock.now)
    assert followed.rows(ahead_pages) == []
    assert followed.follow_row().next_try == due


async def test_a_head_of_another_epoch_is_news_unless_it_is_older(followed, peer, clock):
    head = head_of(peer, peer.publish([peer.row("a")]))
    await read(followed, peer, clock)
    actor = await followed.federation.actors.get(peer.feed_id())
    name, follow = verify_head(head, actor, clock.now).name, followed.follow_row()
    for seconds, is_news in ((-1, False), (0, True), (1, True)):
        other = replace(name, epoch="f" * 32, published=follow.published + seconds)
        assert followed.store.read_now(is_ahead, follow, other) is is_news


async def test_a_page_outlives_each_of_its_rows(followed, peer, clock):
    """The latest row a page may hold is issued a while after it, and lives 366 days."""
    clock.now += 50_000
    late = clock.now + ISSUED_AFTER_PAGE_SECONDS
    peer.publish([peer.row("a", issued=late, expires=late + 10 * MAX_LIFETIME_SECONDS)])
    await followed.settle()
    ((verdict,), (page,)) = followed.rows(verdicts), followed.rows(remote_pages)
    assert late + MAX_LIFETIME_SECONDS - 86_400 < verdict.expires <= late + MAX_LIFETIME_SECONDS
    assert page.received + PAGE_SECONDS > verdict.expires + PUBLISHED_AHEAD_SECONDS
