"""Seals rows that wait into one signed page, in one transaction with its deliveries.

Decides when a page is due (it is full, or its oldest row has waited long enough), which seq
each row gets, what a retraction's target is called on the wire, and whom the page is sent to.
A page never changes once its transaction is through; a crash before leaves no trace of it.
The store lets one process write at a time, so no two of them seal the same row.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, update

from cache.storage.feed_tables import feed_pages, feed_rows
from cache.verdict import Basis, Feed, Finding
from federation.following.inboxes import page_inboxes
from federation.instance import Instance
from federation.outbound.waiting import enqueue_page
from federation.publishing import feed_log
from federation.publishing.feed_log import LastPage
from federation.settings import FeedSettings
from federation.signing.keys import proof_key_id
from federation.signing.keystore import proof_key_in_use
from federation.wire.joining import TABLES
from federation.wire.page import MAX_PAGE_BYTES, PageHead, digest, seal_page
from federation.wire.pipeline import pipeline_id
from federation.wire.row import RETRACT, Attestation, Retraction, Row
from federation.wire.strictjson import JsonObject, to_bytes, to_text

ROOM_BYTES: Final = 8_192
"""What a page stays below the limit, so that it can also be served as a run of one."""


def seal_next(
    conn: Connection,
    instance: Instance,
    feed: Feed,
    settings: FeedSettings,
    rules: Mapping[str, str],
) -> bool:
    """Seal one page of `feed` if one is due; `rules` gives each rule's expression by name."""
    now = instance.clock()
    rows = feed_log.unsealed(conn, feed, settings.page_rows)
    end = feed_log.last_page(conn, feed)
    if end is None or not is_due(feed, rows, settings, now):
        return False
    head = _head(instance, feed, end, now)
    seqs = {row.id: (head.epoch, head.first_seq + place) for place, row in enumerate(rows)}
    page, count = _fitting(conn, head, rows, seqs, rules)
    _store(conn, head, page, [row.id for row in rows[:count]])
    _send(conn, feed, page, now)
    return True


def _fitting(
    conn: Connection,
    head: PageHead,
    rows: Sequence[Any],
    seqs: dict[int, tuple[str, int]],
    rules: Mapping[str, str],
) -> tuple[JsonObject, int]:
    """Return the page and how many rows it takes: half as many while it is too large to be read."""
    count = len(rows)
    page = _sign(conn, head, rows, seqs, rules)
    while count > 1 and len(to_bytes(page)) > MAX_PAGE_BYTES - ROOM_BYTES:
        count //= 2
        page = _sign(conn, head, rows[:count], seqs, rules)
    return page, count


def is_due(feed: Feed, rows: Sequence[Any], settings: FeedSettings, now: int) -> bool:
    """Tell whether the oldest rows (at most a page of them) have to be sealed by `now`."""
    if len(rows) >= settings.page_rows:
        return True
    soon = min(settings.seal_seconds, settings.seal_flagged_seconds)
    return any(
        now - row.added
        >= (soon if feed is Feed.FLAGGED or row.op == RETRACT else settings.seal_seconds)
        for row in rows
    )


def _head(instance: Instance, feed: Feed, end: LastPage, now: int) -> PageHead:
    return PageHead(
        feed_id=instance.feed_id(feed),
        feed=feed,
        epoch=end.epoch,
        page=end.page + 1,
        first_seq=end.next_seq,
        published=now,
        previous_digest=end.digest or None,
        previous_epoch=end.previous if end.page == 0 else None,
    )


def _sign(
    conn: Connection,
    head: PageHead,
    rows: Sequence[Any],
    seqs: dict[int, tuple[str, int]],
    rules: Mapping[str, str],
) -> JsonObject:
    targets = [row.target_id for row in rows if row.target_id is not None]
    places = feed_log.places(conn, targets) | seqs
    described = feed_log.descriptions(conn, sorted({row.pipeline_id for row in rows}))
    ids = {row_id: pipeline_id(text) for row_id, text in described.items()}
    private = proof_key_in_use(conn, head.feed)  # perhaps newer than `instance` knows
    of_yore = {row.rule: "" for row in rows if row.basis == Basis.HUMAN and row.op != RETRACT}
    return seal_page(
        head,
        [row_of(row, places, ids) for row in rows],
        {ids[row_id]: text for row_id, text in described.items()},
        of_yore | dict(rules),
        private,
        proof_key_id(head.feed_id, private.public_key()),
    )


def row_of(row: Any, places: Mapping[int, tuple[str, int]], pipelines: Mapping[int, str]) -> Row:
    """Return a row of `feed_rows` as it is published.

    `places` gives (epoch, seq) by row id of what retractions free, `pipelines` ids by row id.
    """
    if row.op == RETRACT:
        return Retraction(*places[row.target_id])
    return attestation_of(row, pipelines)


def attestation_of(row: Any, pipelines: Mapping[int, str]) -> Attestation:
    """Return a row of `feed_rows` that attests, as it is published."""
    is_human = row.basis == Basis.HUMAN
    return Attestation(
        sha256=row.sha256,
        basis=Basis(row.basis),
        issued=row.issued,
        expires=row.expires,
        content=row.content,
        pipeline=None if is_human else pipelines[row.pipeline_id],
        scores={} if is_human or row.scores is None else json.loads(row.scores),
        rule=row.rule if is_human else None,
        finding=Finding(row.finding) if is_human else None,
        pdq=row.pdq,
        pdq_quality=row.pdq_quality,
    )


def _store(conn: Connection, head: PageHead, page: JsonObject, row_ids: Sequence[int]) -> None:
    text = to_text(page)
    conn.execute(
        insert(feed_pages).values(
            feed=int(head.feed),
            epoch=head.epoch,
            page=head.page,
            first_seq=head.first_seq,
            count=len(row_ids),
            digest=digest(page),
            published=head.published,
            size=len(text.encode()),
            tables=to_text({name: page[name] for name in TABLES}),
            document=text,
        )
    )
    conn.execute(
        update(feed_rows).where(feed_rows.c.id == bindparam("row_id")),
        [
            {
                "row_id": row_id,
                "epoch": head.epoch,
                "page": head.page,
                "seq": head.first_seq + place,
            }
            for place, row_id in enumerate(row_ids)
        ],
    )


def _send(conn: Connection, feed: Feed, page: JsonObject, now: int) -> None:
    """Write the page down for every approved follower of this feed."""
    enqueue_page(conn, feed, page_inboxes(conn, feed), page, now)
