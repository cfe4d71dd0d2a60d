"""Fills our feeds with many pages at once, and reads them as an approved follower does."""

import gzip
import json

from cache.storage.feed_tables import feed_rows
from cache.verdict import Feed
from federation.actors.remote_actor import parse_actor
from federation.addresses import FEED_NAMES
from federation.publishing import feed_log, sealing
from federation.settings import FeedSettings
from tests.fakes.instance import _add_row
from tests.federation.samples import picture


def fill(ours, pages, feed=Feed.CLEAN, rows=1, start=0, **changes):
    """Seal pages of made-up pictures `start`, `start + 1`, … in one transaction."""
    settings = FeedSettings(seal_seconds=0, seal_flagged_seconds=0, page_rows=rows)
    names = iter(range(start, start + pages * rows))

    def seal(conn):
        for _ in range(pages):
            for _ in range(rows):
                _add_row(conn, picture(str(next(names))), feed, ours.clock(), changes)
            parts = ours.federation
            assert sealing.seal_next(conn, parts._instance, feed, settings, parts.feeds.rules)

    ours.store.write_now(seal)


def fill_wide(ours, pages, rows, feed=Feed.CLEAN, **changes):
    """Do as `fill`, with rows that are all alike but for their picture: much faster."""
    first = ours.add_row("first", feed, **changes)
    settings = FeedSettings(seal_seconds=0, seal_flagged_seconds=0, page_rows=rows)

    def seal(conn):
        row = dict(conn.execute(feed_rows.select().where(feed_rows.c.id == first)).one()._mapping)
        del row["id"]
        many = [row | {"sha256": picture(str(n))} for n in range(1, pages * rows)]
        conn.execute(feed_rows.insert(), many)
        parts = ours.federation
        while sealing.seal_next(conn, parts._instance, feed, settings, parts.feeds.rules):
            pass

    ours.store.write_now(seal)


def epoch_of(ours, feed=Feed.CLEAN):
    """Return the epoch whose pages are served."""
    return ours.store.read_now(feed_log.served_end, feed).epoch


async def new_epoch(ours):
    """Restart as after a restored backup."""
    await ours.federation.feeds.note_heads()
    await ours.stop()
    (ours.state_dir / "feed-head.json").unlink()
    await ours.start()


async def approve(ours, peer, feed=Feed.CLEAN):
    """Let the peer follow a feed of ours."""
    await peer.follow(ours, feed)
    await ours.settle()
    await ours.federation.approve(peer.id, feed)
    await ours.settle()


def actor_of(ours, feed=Feed.CLEAN):
    """Return the feed as a peer knows it."""
    document = json.loads(json.dumps(ours.federation._instance.document(FEED_NAMES[feed])))
    return parse_actor(document, ours.feed_id(feed), allow_http=True)


async def read(peer, url, **more):
    """Return the document at a URL."""
    status, headers, body = await peer.get(url, **more)
    assert status == 200, (status, body)
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    return json.loads(body)
