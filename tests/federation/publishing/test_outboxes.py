"""What the outboxes of our feeds tell to whoever asks, and that it costs little."""

import pytest

from cache.verdict import Feed
from federation.addresses import FEED_NAMES
from federation.origin import Url
from federation.publishing import outboxes
from federation.wire.feed_head import verify_head
from federation.wire.outbox import parse_outbox
from tests.federation.publishing.feeding import actor_of, fill, new_epoch, read
from tests.federation.samples import PIPELINE

DAY = 86_400


async def outbox_of(ours, third, feed=Feed.CLEAN):
    """Return what a stranger reads of an outbox."""
    url = Url(f"{ours.feed_id(feed)}/outbox")
    return parse_outbox(await read(third, url, sign=False), ours.feed_id(feed), url)


async def test_the_outbox_of_a_feed_without_pages_says_so(ours, third):
    assert await outbox_of(ours, third) is None


async def test_the_outbox_has_the_signed_head_of_the_last_page(ours, third, clock):
    fill(ours, 2)
    told = await outbox_of(ours, third)
    head = verify_head(told.signed_head, actor_of(ours), clock.now).name
    assert (head.epoch, head.page, head.digest) == (told.epoch, 2, told.digest)


async def test_the_outbox_tells_how_much_the_feed_says(ours, third, clock):
    fill(ours, 2, rows=3)
    clock.now += 7 * DAY
    await new_epoch(ours)
    fill(ours, 1, rows=2, start=6, scores='{"gore":1}')
    told = (await outbox_of(ours, third)).volume
    assert (told.rows, told.week_rows, told.sealed) == (8, 2, clock.now)
    assert told.labels == ("gore",)
    assert [pipeline.id for pipeline in told.pipelines] == [PIPELINE]


async def test_labels_and_pipelines_are_those_of_the_newest_16_pages(ours, third):
    fill(ours, 1, scores='{"gore":1}')
    fill(ours, outboxes.NEWEST_PAGES - 1, start=1)
    assert (await outbox_of(ours, third)).volume.labels == ("gore", "sexual")
    fill(ours, 1, start=100)
    assert (await outbox_of(ours, third)).volume.labels == ("sexual",)


async def test_a_flood_of_strangers_is_answered_from_memory(ours, third, clock, monkeypatch):
    made, head = [], outboxes._head

    def counted(*args):
        made.append(args)
        return head(*args)

    monkeypatch.setattr(outboxes, "_head", counted)
    fill(ours, 1)
    for _ in range(20):
        assert await outbox_of(ours, third)
    assert len(made) == 1
    fill(ours, 1, start=1)
    assert (await outbox_of(ours, third)).last_page == 2
    clock.now += outboxes.FRESH_SECONDS
    await outbox_of(ours, third)
    assert len(made) == 3


@pytest.mark.parametrize("feed", sorted(FEED_NAMES))
async def test_the_two_feeds_are_told_apart(ours, third, feed):
    fill(ours, 3, feed)
    other = Feed.FLAGGED if feed is Feed.CLEAN else Feed.CLEAN
    assert (await outbox_of(ours, third, feed)).last_page == 3
    assert await outbox_of(ours, third, other) is None
