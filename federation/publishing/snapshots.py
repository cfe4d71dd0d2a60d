"""Snapshots of our feeds: the rows that stand, written down in parts for newcomers.

Decides when one is made (daily, where there are many pages or a dropped front), which rows it has,
and where a part ends. A part is a transaction: killed at any moment, the next run goes on after the
last one. The rows are those that stood at one page, less what has been freed since, which later
pages retract once more. The last two snapshots are kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from cache.storage.feed_tables import feed_pages, feed_rows, feed_snapshot_parts, feed_snapshots
from cache.verdict import Basis, Feed
from federation.addresses import part_url
from federation.context import RULE_PREFIX
from federation.instance import Instance
from federation.publishing import feed_log
from federation.publishing.sealing import attestation_of
from federation.signing.keys import proof_key_id
from federation.signing.keystore import proof_key_in_use
from federation.wire.attestation import Place
from federation.wire.page import MAX_PAGE_BYTES
from federation.wire.page_tables import MAX_LABELS, MAX_PIPELINES, MAX_RULES
from federation.wire.pipeline import pipeline_id
from federation.wire.row import Attestation
from federation.wire.snapshot import (
    MAX_PART_ROWS,
    MAX_PREVIOUS_EPOCHS,
    PartName,
    Snapshot,
    build_part,
    name_part,
    seal_manifest,
)
from federation.wire.strictjson import JsonObject, to_text

EVERY_SECONDS: Final = 86_400
MIN_PAGES: Final = 64
"""A feed with more pages than that has snapshots; fewer are soon read one by one."""

KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that come next in a snapshot, with what they refer to by row id and (epoch, page)."""

    rows: Sequence[Row[Any]]
    descriptions: Mapping[int, dict[str, str]]
    rules: Mapping[tuple[str, int], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A snapshot that is being made; `after` is the place of the last row written down."""

    id: int
    snapshot: Snapshot
    next_part: int
    after: Place | None


def newest_snapshot(conn: Connection, feed: Feed) -> Row[Any] | None:
    """Return the newest snapshot of a feed that is complete."""
    c = feed_snapshots.c
    return conn.execute(
        select(feed_snapshots)
        .where(c.feed == int(feed), c.manifest.is_not(None))
        .order_by(c.id.desc())
        .limit(1)
    ).first()


def newest_id(conn: Connection, feed: Feed) -> int | None:
    """Return the row id of the newest snapshot of a feed that is complete."""
    c = feed_snapshots.c
    complete = select(func.max(c.id)).where(c.feed == int(feed), c.manifest.is_not(None))
    found: int | None = conn.scalar(complete)
    return found


def standing_at(conn: Connection, feed: Feed, epoch: str, through: int) -> int | None:
    """Return the row id of the newest complete snapshot that stands at a page.

    There may have been another: a key that was stolen, or a history that was told anew.
    """
    c = feed_snapshots.c
    of_page = [c.feed == int(feed), c.epoch == epoch, c.through_page == through]
    newest = select(func.max(c.id)).where(*of_page, c.manifest.is_not(None))
    found: int | None = conn.scalar(newest)
    return found


def part_text(conn: Connection, snapshot_id: int, part: int) -> str | None:
    """Return a part of a snapshot as it is served."""
    p = feed_snapshot_parts.c
    rows = select(p.document).where(p.snapshot_id == snapshot_id, p.part == part)
    text: str | None = conn.scalar(rows)
    return text


def begin(conn: Connection, feed: Feed, now: int) -> bool:
    """Begin a snapshot unless one is being made; return whether there is one to go on with."""
    c = feed_snapshots.c
    unfinished = select(c.id).where(c.feed == int(feed), c.manifest.is_(None))
    if conn.execute(unfinished).first() is not None:
        return True
    if (end := _due(conn, feed, now)) is None:
        return False
    values = {"feed": int(feed), "epoch": end.epoch, "through_page": end.last_page, "created": now}
    conn.execute(insert(feed_snapshots).values(**values))
    return True


def draft(conn: Connection, instance: Instance, feed: Feed) -> Draft | None:
    """Return how far the snapshot that is being made is; None where its history is void now."""
    c, p = feed_snapshots.c, feed_pages.c
    row = conn.execute(
        select(feed_snapshots).where(c.feed == int(feed), c.manifest.is_(None)).limit(1)
    ).first()
    counted = feed_log.history(conn, feed)
    place = next((n for n, end in enumerate(counted) if row and end.epoch == row.epoch), None)
    if row is None or place is None or counted[place].page < row.through_page:
        return None
    page = conn.execute(
        select(p.first_seq, p.count, p.digest).where(
            p.feed == int(feed), p.epoch == row.epoch, p.page == row.through_page
        )
    ).one()
    before = tuple(reversed(counted[place + 1 :][:MAX_PREVIOUS_EPOCHS]))
    snapshot = Snapshot(
        feed_id=instance.feed_id(feed),
        feed=feed,
        epoch=row.epoch,
        through_page=row.through_page,
        digest=page.digest,
        next_seq=page.first_seq + page.count,
        published=row.created,
        parts=(),
        previous_epochs=before,
    )
    return Draft(row.id, snapshot, *_written(conn, row))


def next_rows(conn: Connection, made: Draft) -> Batch:
    """Return the rows that come next, at most a part of them, in the order of the feed."""
    snapshot, found, after = made.snapshot, list[Row[Any]](), made.after
    ends = {end.epoch: end.page for end in snapshot.previous_epochs}
    ends[snapshot.epoch] = snapshot.through_page
    order = list(ends)
    for epoch in order[order.index(after[0]) if after else 0 :]:
        seq = after[1] if after and after[0] == epoch else 0
        most = MAX_PART_ROWS - len(found)
        found += _standing(conn, snapshot, epoch, ends[epoch], seq, most) if most else []
    described = feed_log.descriptions(conn, sorted({row.pipeline_id for row in found}))
    of_persons = {(row.epoch, row.page) for row in found if row.basis == Basis.HUMAN}
    rules = {place: _rules(conn, snapshot.feed, *place) for place in sorted(of_persons)}
    return Batch(found, described, rules)


def make_part(made: Draft, batch: Batch) -> tuple[PartName, str]:
    """Return the next part and its text; it may take fewer of the rows."""
    ids = {row_id: pipeline_id(text) for row_id, text in batch.descriptions.items()}
    named = {ids[row_id]: text for row_id, text in batch.descriptions.items()}
    rows = [((row.epoch, row.seq), attestation_of(row, ids)) for row in batch.rows]
    count, rules = _fitting(
        rows, [batch.rules.get((row.epoch, row.page), {}) for row in batch.rows]
    )
    while True:
        part = build_part(made.snapshot, made.next_part, rows[:count], named, rules)
        text = to_text(part)
        if count == 1 or len(text.encode()) <= MAX_PAGE_BYTES:
            return name_part(part), text
        count //= 2


def store_part(conn: Connection, made: Draft, name: PartName, text: str) -> None:
    """Keep a part, unless the snapshot is gone or another process wrote it."""
    p = feed_snapshot_parts.c
    exists = select(feed_snapshots.c.id).where(feed_snapshots.c.id == made.id)
    written = select(p.part).where(p.snapshot_id == made.id, p.part == made.next_part)
    if conn.execute(exists).first() is None or conn.execute(written).first() is not None:
        return
    conn.execute(
        insert(feed_snapshot_parts).values(
            snapshot_id=made.id,
            part=made.next_part,
            count=name.count,
            digest=name.digest,
            document=text,
        )
    )


def finish(conn: Connection, made: Draft) -> None:
    """Sign the manifest, so that the snapshot is served, and let go of older ones."""
    feed, c, p = made.snapshot.feed, feed_snapshots.c, feed_snapshot_parts.c
    rows = conn.execute(
        select(p.part, p.digest, p.count.label("rows"))
        .where(p.snapshot_id == made.id)
        .order_by(p.part)
    )
    parts = tuple(_name(made.snapshot, *row) for row in rows)
    whole = replace(made.snapshot, parts=parts)
    private = proof_key_in_use(conn, feed)
    manifest = seal_manifest(whole, private, proof_key_id(whole.feed_id, private.public_key()))
    text = to_text(manifest)
    conn.execute(update(feed_snapshots).where(c.id == made.id).values(manifest=text))
    newest = select(c.id).where(c.feed == int(feed), c.manifest.is_not(None))
    kept = list(conn.execute(newest.order_by(c.id.desc()).limit(KEPT)).scalars())
    conn.execute(
        delete(feed_snapshots).where(
            c.feed == int(feed), c.manifest.is_not(None), c.id.not_in(kept)
        )
    )


def forget(conn: Connection, feed: Feed) -> None:
    """Let go of what was being made."""
    c = feed_snapshots.c
    conn.execute(delete(feed_snapshots).where(c.feed == int(feed), c.manifest.is_(None)))


def _due(conn: Connection, feed: Feed, now: int) -> feed_log.ServedEnd | None:
    end, newest = feed_log.served_end(conn, feed), newest_snapshot(conn, feed)
    if end is None:
        return None
    if newest is not None:
        same = (newest.epoch, newest.through_page) == (end.epoch, end.last_page)
        if same or newest.created > now - EVERY_SECONDS:
            return None
    pages = conn.scalar(
        select(func.count()).select_from(feed_pages).where(feed_pages.c.feed == int(feed))
    )
    return end if (pages or 0) > MIN_PAGES or end.first_page > 1 else None


def _written(conn: Connection, row: Row[Any]) -> tuple[int, Place | None]:
    """Return the number of the next part and the place of the last row of the one before it."""
    p = feed_snapshot_parts.c
    last = conn.execute(
        select(p.part, p.document).where(p.snapshot_id == row.id).order_by(p.part.desc()).limit(1)
    ).first()
    if last is None:
        return 1, None
    cell = json.loads(last.document)["rows"][-1][0]
    return last.part + 1, (row.epoch, cell) if isinstance(cell, int) else (cell[0], cell[1])


def _standing(
    conn: Connection, snapshot: Snapshot, epoch: str, last_page: int, after: int, most: int
) -> Sequence[Row[Any]]:
    c = feed_rows.c
    rows = select(feed_rows).where(
        c.feed == int(snapshot.feed),
        c.epoch == epoch,
        c.seq.is_not(None),
        c.seq > after,
        c.page <= last_page,
        c.op == 0,
        c.live,
        c.expires > snapshot.published,
    )
    return conn.execute(rows.order_by(c.seq).limit(most)).all()


def _rules(conn: Connection, feed: Feed, epoch: str, page: int) -> Mapping[str, str]:
    """Return the rules that a page gave, by their bare names."""
    c = feed_pages.c
    text = conn.scalar(
        select(c.tables).where(c.feed == int(feed), c.epoch == epoch, c.page == page)
    )
    tables: JsonObject = json.loads(text or '{"rules": {}}')
    return {name.removeprefix(RULE_PREFIX): rule for name, rule in tables["rules"].items()}


def _fitting(
    rows: Sequence[tuple[Place, Attestation]], rules: Sequence[Mapping[str, str]]
) -> tuple[int, dict[str, str]]:
    """Return how many rows fit into the tables of one part, and the rules that they name."""
    labels, pipelines, named = set[str](), set[str | None](), dict[str, str]()
    for place, ((_, row), told) in enumerate(zip(rows, rules, strict=True)):
        labels |= row.scores.keys()
        pipelines.add(row.pipeline)
        rule = {} if row.rule is None else {row.rule: told.get(row.rule, "")}
        clash = any(named.get(name, text) != text for name, text in rule.items())
        if place and (clash or _too_many(labels, pipelines, named | rule)):
            return place, named
        named |= rule
    return len(rows), named


def _too_many(labels: set[str], pipelines: set[str | None], rules: Mapping[str, str]) -> bool:
    return len(labels) > MAX_LABELS or len(pipelines) > MAX_PIPELINES or len(rules) > MAX_RULES


def _name(snapshot: Snapshot, part: int, digest: str, count: int) -> PartName:
    url = part_url(snapshot.feed_id, snapshot.epoch, snapshot.through_page, part)
    return PartName(url, digest, count)
