"""Our pages merged: which of them make up a run, and the run as it is served.

Decides where runs end: with a block of 256 pages or their epoch, and before the page with which a
run would have too many rows or bytes, or a rule with two expressions. A run is signed once, when it
is complete and its last page a day old; of it only its proof is kept. The rest is made from its
pages whenever it is asked for, the same to the byte.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select

from cache.storage.feed_tables import feed_pages, feed_runs
from cache.verdict import Feed
from federation.publishing import feed_log
from federation.signing.keys import proof_key_id
from federation.signing.keystore import proof_key_in_use
from federation.wire.joining import join_rules
from federation.wire.merged import BLOCK_PAGES, MAX_RUN_ROWS, build_merged, sign_merged
from federation.wire.page import MAX_PAGE_BYTES
from federation.wire.page_head import EpochEnd
from federation.wire.page_tables import MAX_LABELS, MAX_PIPELINES, MAX_RULES
from federation.wire.strictjson import JsonObject, to_text

MERGED_AFTER_SECONDS: Final = 86_400
_NULL_BYTES: Final = len("null,")


@dataclass(frozen=True, slots=True)
class Run:
    """The pages `first` to `last` of one epoch of a feed."""

    feed: Feed
    epoch: str
    first: int
    last: int


def next_run(conn: Connection, feed: Feed, now: int) -> Run | None:
    """Return a run that is complete and a day old and not signed yet, if there is one."""
    newest = feed_log.last_page(conn, feed)
    for end in feed_log.history(conn, feed):
        run = _next_of(conn, feed, end, now, ended=newest is not None and newest.epoch != end.epoch)
        if run is not None:
            return run
    return None


def length(pages: Sequence[Row[Any]]) -> int:
    """Return how many of the pages, from the first, make up a run: as many as fit, at least one.

    Where some do not fit, no more of them do: so it is found by halving, not page by page.
    """
    counts = range(2, len(pages) + 1)
    return 1 + bisect_left(counts, True, key=lambda count: not _fit(pages[:count]))


def page_texts(conn: Connection, run: Run) -> list[str]:
    """Return the signed pages of a run."""
    c = feed_pages.c
    rows = select(c.document).where(
        c.feed == int(run.feed), c.epoch == run.epoch, c.page.between(run.first, run.last)
    )
    return list(conn.execute(rows.order_by(c.page)).scalars())


def merged(texts: Sequence[str]) -> JsonObject:
    """Return the unsigned document of the pages of a run."""
    return build_merged([json.loads(text) for text in texts])


def sign_run(conn: Connection, run: Run, document: JsonObject) -> None:
    """Sign a run with the key in use and keep its proof, unless another process did.

    Nor where its pages are void by now: a key was revoked since it was chosen.
    """
    ends = {end.epoch: end.page for end in feed_log.history(conn, run.feed)}
    if run.last > ends.get(run.epoch, 0):
        return
    if run_holding(conn, run.feed, run.epoch, run.first) is not None:
        return
    private = proof_key_in_use(conn, run.feed)
    key_id = proof_key_id(document["attributedTo"], private.public_key())
    signed = sign_merged(document, private, key_id)
    conn.execute(
        insert(feed_runs).values(
            feed=int(run.feed),
            epoch=run.epoch,
            first_page=run.first,
            last_page=run.last,
            proof=to_text(signed["proof"]),
        )
    )


def run_holding(conn: Connection, feed: Feed, epoch: str, page: int) -> tuple[Run, str] | None:
    """Return the signed run that holds a page, and its proof."""
    c = feed_runs.c
    row = conn.execute(
        select(feed_runs)
        .where(c.feed == int(feed), c.epoch == epoch, c.first_page <= page)
        .order_by(c.first_page.desc())
        .limit(1)
    ).first()
    if row is None or row.last_page < page:
        return None
    return Run(feed, epoch, row.first_page, row.last_page), row.proof


def merged_through(conn: Connection, feed: Feed, epoch: str) -> int:
    """Return the last page of an epoch that is also served merged, 0 for none."""
    c = feed_runs.c
    last = select(func.max(c.last_page)).where(c.feed == int(feed), c.epoch == epoch)
    return conn.scalar(last) or 0


def last_of_block(page: int) -> int:
    """Return the last page of the block that a page is in."""
    return ((page - 1) // BLOCK_PAGES + 1) * BLOCK_PAGES


def _next_of(conn: Connection, feed: Feed, end: EpochEnd, now: int, *, ended: bool) -> Run | None:
    start = merged_through(conn, feed, end.epoch) + 1
    start = max(start, feed_log.first_page(conn, feed, end.epoch) or start)
    bound = last_of_block(start)
    last = min(bound, end.page)
    pages = _pages(conn, feed, end.epoch, start, last)
    if not pages or pages[0].published > now - MERGED_AFTER_SECONDS:
        return None
    taken = length(pages)
    complete = taken < len(pages) or last == bound or ended
    if not complete or pages[taken - 1].published > now - MERGED_AFTER_SECONDS:
        return None
    return Run(feed, end.epoch, start, start + taken - 1)


def _pages(conn: Connection, feed: Feed, epoch: str, first: int, last: int) -> Sequence[Row[Any]]:
    c = feed_pages.c
    rows = select(c.page, c.count.label("rows"), c.published, c.size, c.tables).where(
        c.feed == int(feed), c.epoch == epoch, c.page.between(first, last)
    )
    return list(conn.execute(rows.order_by(c.page)))


def _fit(pages: Sequence[Row[Any]]) -> bool:
    """Tell whether pages fit into one document, by the most bytes that it may come to."""
    tables = [json.loads(page.tables) for page in pages]
    labels = {label for one in tables for label in one["labels"]}
    pipelines = {json.dumps(text, sort_keys=True) for one in tables for text in one["pipelines"]}
    try:
        rules = join_rules(tables)
    except ValueError:
        return False
    rows = sum(page.rows for page in pages)
    nulls = sum(
        page.rows * (len(labels) - len(one["labels"]))
        for page, one in zip(pages, tables, strict=True)
    )
    size = sum(page.size for page in pages) + nulls * _NULL_BYTES + rows  # longer indexes
    within = len(labels) <= MAX_LABELS and len(pipelines) <= MAX_PIPELINES
    return within and len(rules) <= MAX_RULES and rows <= MAX_RUN_ROWS and size <= MAX_PAGE_BYTES
