"""Answers an approved follower what a feed of ours says of one picture, before its page is sealed.

Decides which row that is: live and unexpired, the newest on the picture, and under an embargo only
one that a page holds already; and how often one follower may ask. Who asks was verified by the
caller. A place is told only after its page was noted (`feeds`): else a restored database could give
it away twice.
"""

import asyncio
import binascii
import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from cache.feeds.publish import is_held_back
from cache.storage.database import Store
from cache.storage.feed_tables import feed_pages, feed_rows
from cache.verdict import Feed
from federation.errors import NotFound
from federation.instance import Instance
from federation.origin import Url
from federation.publishing import feed_log
from federation.publishing.feeds import Feeds
from federation.publishing.limits import MinuteLimit
from federation.publishing.sealing import attestation_of
from federation.signing.keys import proof_key_id
from federation.wire.attestation import AttestationHead, Place, seal_attestation
from federation.wire.epoch import is_epoch
from federation.wire.pipeline import pipeline_id
from federation.wire.strictjson import JsonObject

_MAX_SEQ_DIGITS: Final = 15  # 2^53 has 16
_SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Question:
    """What stands in the URL: a seq, perhaps with its epoch (else the newest), or a sha256."""

    seq: str | None = None
    epoch: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a question comes to: a picture, and the place of its row if that was asked for."""

    sha256: bytes
    place: Place | None = None


class Answers:
    """Answers for the two feeds of this instance."""

    def __init__(
        self, store: Store, instance: Instance, feeds: Feeds, answers_per_minute: int
    ) -> None:
        self._store, self._instance, self._feeds = store, instance, feeds
        self._limit = MinuteLimit(answers_per_minute, "attestations")

    async def answer(self, feed: Feed, question: Question, reader: Url) -> JsonObject:
        """Return the signed attestation; raises `NotFound` and `TooManyQuestions`."""
        now = self._instance.clock()
        self._limit.count(reader, now)
        wanted = await self._wanted(feed, question)
        found = None
        if wanted is not None:
            found = await self._store.read(_live_row, feed, wanted, now)
        if found is None:
            raise NotFound("the feed says nothing of that")
        await self._feeds.note_heads()
        return await self._sealed(feed, found, now)

    async def _sealed(self, feed: Feed, row: Row[Any], now: int) -> JsonObject:
        described = await self._store.read(feed_log.descriptions, [row.pipeline_id])
        ids = {row_id: pipeline_id(text) for row_id, text in described.items()}
        place = None if row.seq is None else (row.epoch, row.seq)
        private = self._instance.keys.proof[feed]
        return seal_attestation(
            AttestationHead(self._instance.base, feed, now, place),
            attestation_of(row, ids),
            {ids[row_id]: text for row_id, text in described.items()},
            self._feeds.rules,
            private,
            proof_key_id(self._instance.feed_id(feed), private.public_key()),
        )

    async def _wanted(self, feed: Feed, question: Question) -> _Wanted | None:
        if question.seq is None:
            sha256 = None if question.epoch is not None else _sha256(question.sha256)
            return None if sha256 is None else _Wanted(sha256)
        seq, epoch = _seq(question.seq), question.epoch
        if (
            seq is None
            or question.sha256 is not None
            or (epoch is not None and not is_epoch(epoch))
        ):
            return None
        page = await self._store.read(_page_with, feed, epoch, seq)
        return None if page is None else await asyncio.to_thread(_row_of_page, page, seq)


def _row_of_page(page: Row[Any], seq: int) -> _Wanted | None:
    """Return which picture the row is on; rows have no index by their seq, pages have one."""
    document = json.loads(page.document)
    row = document["rows"][seq - page.first_seq]
    sha256 = _sha256(row[document["columns"].index("sha256")])
    return None if sha256 is None else _Wanted(sha256, (page.epoch, seq))


def _sha256(text: str | None) -> bytes | None:
    """Read 32 bytes in hex, or in base64url without padding."""
    try:
        if text is None or not text.isascii():
            return None
        is_hex = len(text) == 2 * _SHA256_BYTES
        data = bytes.fromhex(text) if is_hex else b64decode(text + "=", b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return data if len(data) == _SHA256_BYTES else None


def _seq(text: str) -> int | None:
    fits = text.isascii() and text.isdigit() and len(text) <= _MAX_SEQ_DIGITS
    return int(text) if fits else None


def _page_with(conn: Connection, feed: Feed, epoch: str | None, seq: int) -> Any | None:
    """Return the page of an epoch (None: the newest) that holds the row `seq`."""
    if epoch is None:
        end = feed_log.last_page(conn, feed)
        epoch = end.epoch if end else ""
    c = feed_pages.c
    page = conn.execute(
        select(c.epoch, c.first_seq, c.count, c.document)
        .where(c.feed == int(feed), c.epoch == epoch, c.first_seq <= seq)
        .order_by(c.page.desc())
        .limit(1)
    ).first()
    return page if page is not None and seq < page.first_seq + page.count else None


def _live_row(conn: Connection, feed: Feed, wanted: _Wanted, now: int) -> Row[Any] | None:
    """Return the newest row that stands on the picture, or the one that stands at the place."""
    c = feed_rows.c
    rows = select(feed_rows).where(
        c.sha256 == wanted.sha256, c.feed == int(feed), c.op == 0, c.live, c.expires > now
    )
    rows = rows.where(c.seq.is_not(None) | ~is_held_back(c.sha256))
    if wanted.place is not None:
        epoch, seq = wanted.place
        rows = rows.where(c.epoch == epoch, c.seq == seq)
    return conn.execute(rows.order_by(c.id.desc()).limit(1)).first()
