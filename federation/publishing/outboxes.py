"""What the outboxes of our feeds tell: how far each is, its signed head, and how much it says.

Anybody may ask, so it is made anew only when something changed, or once a minute; of pages it reads
nothing but their numbers and tables.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from cache.storage.database import Store
from cache.storage.feed_tables import feed_pages
from cache.verdict import Feed
from federation.context import LABEL_PREFIX
from federation.instance import Instance
from federation.origin import Url
from federation.publishing import feed_log, runs
from federation.publishing.feed_log import ServedEnd
from federation.publishing.snapshots import newest_id
from federation.signing.keys import proof_key_id
from federation.signing.keystore import proof_key_in_use
from federation.wire.feed_head import PageName, seal_head
from federation.wire.outbox import OutboxHead, Volume
from federation.wire.page_head import EpochEnd
from federation.wire.page_tables import MAX_LABELS, MAX_PIPELINES
from federation.wire.pipeline import Pipeline, parse_pipeline
from federation.wire.strictjson import JsonObject

FRESH_SECONDS: Final = 60
WEEK_SECONDS: Final = 7 * 86_400
NEWEST_PAGES: Final = 16
"""Pages whose labels and pipelines are told."""


@dataclass(frozen=True, slots=True)
class _State:
    """What an outbox is made anew for."""

    end: ServedEnd
    merged_through: int
    snapshot_id: int | None


@dataclass(frozen=True, slots=True)
class _Told:
    state: _State
    time: int
    head: OutboxHead


class Outboxes:
    """The outboxes of the two feeds of this instance."""

    def __init__(self, store: Store, instance: Instance) -> None:
        self._store, self._instance = store, instance
        self._told: dict[Feed, _Told] = {}

    async def head(self, feed: Feed) -> OutboxHead | None:
        """Return what the outbox of a feed says, or None while nothing was ever sealed."""
        state, now = await self._store.read(_state, feed), self._instance.clock()
        if state is None:
            return None
        told = self._told.get(feed)
        if told is None or told.state != state or not 0 <= now - told.time < FRESH_SECONDS:
            head = await asyncio.to_thread(
                self._store.read_now, _head, self._instance.feed_id(feed), feed, state, now
            )
            told = self._told[feed] = _Told(state, now, head)
        return told.head


def _state(conn: Connection, feed: Feed) -> _State | None:
    end = feed_log.served_end(conn, feed)
    if end is None:
        return None
    return _State(end, runs.merged_through(conn, feed, end.epoch), newest_id(conn, feed))


def _head(conn: Connection, feed_id: Url, feed: Feed, state: _State, now: int) -> OutboxHead:
    end = state.end
    return OutboxHead(
        end.epoch,
        end.first_page,
        end.last_page,
        end.digest,
        _volume(conn, feed, end, now),
        state.merged_through,
        state.snapshot_id is not None,
        _signed_head(conn, feed_id, feed, end),
    )


def _signed_head(conn: Connection, feed_id: Url, feed: Feed, end: ServedEnd) -> JsonObject:
    private = proof_key_in_use(conn, feed)
    name = PageName(feed_id, end.epoch, end.last_page, end.digest, end.published)
    return seal_head(name, private, proof_key_id(feed_id, private.public_key()))


def _volume(conn: Connection, feed: Feed, end: ServedEnd, now: int) -> Volume:
    c = feed_pages.c
    week = select(func.sum(c.count)).where(c.feed == int(feed), c.published > now - WEEK_SECONDS)
    newest = (
        select(c.tables)
        .where(c.feed == int(feed), c.epoch == end.epoch)
        .order_by(c.page.desc())
        .limit(NEWEST_PAGES)
    )
    tables = [json.loads(text) for text in conn.execute(newest).scalars()]
    return Volume(
        sum(_rows(conn, feed, one) for one in feed_log.history(conn, feed)),
        int(conn.scalar(week) or 0),
        end.published,
        _labels(tables),
        _pipelines(tables),
    )


def _rows(conn: Connection, feed: Feed, end: EpochEnd) -> int:
    """Return how many rows an epoch has through its last page: the seq of its last row."""
    c = feed_pages.c
    page = conn.execute(
        select(c.first_seq, c.count).where(
            c.feed == int(feed), c.epoch == end.epoch, c.page == end.page
        )
    ).one()
    return int(page.first_seq + page.count - 1)


def _labels(tables: list[JsonObject]) -> tuple[str, ...]:
    found = {label.removeprefix(LABEL_PREFIX) for one in tables for label in one["labels"]}
    return tuple(sorted(found))[:MAX_LABELS]


def _pipelines(tables: list[JsonObject]) -> tuple[Pipeline, ...]:
    found = [parse_pipeline(text) for one in tables for text in one["pipelines"]]
    return tuple({pipeline.id: pipeline for pipeline in found}.values())[:MAX_PIPELINES]
