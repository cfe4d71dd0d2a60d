"""How many bytes an attestation takes on the wire: whole documents with context, tables and proof,
plain and as gzip serves them, divided by their rows.

Hashes are random, as in life, and cannot be compressed: 2 of them a clean row, 3 a flagged one, 32
bytes each, which are 43 characters. So gzip cannot go below 64 and 96 bytes a row.
"""

import gzip
from collections.abc import Iterator
from typing import Final

from benchmarks.report import Row
from benchmarks.wire.pages import merged, pages
from cache.verdict import Feed
from federation.addresses import FEED_NAMES
from federation.publishing.library import GZIP_LEVEL
from federation.wire.merged import BLOCK_PAGES
from federation.wire.strictjson import JsonObject, to_bytes

FULL_ROWS: Final = 1_000
SMALL_ROWS: Final = 3
GOALS: Final = {
    (Feed.CLEAN, "plain"): 170.0,
    (Feed.CLEAN, "gzip"): 95.0,
    (Feed.FLAGGED, "plain"): 265.0,
    (Feed.FLAGGED, "gzip"): 165.0,
}
_FULL: Final = f"page of {FULL_ROWS:,} rows"
_KINDS: Final = (
    (_FULL, (FULL_ROWS, 1, False)),
    ("5 pages of 1,000 rows merged", (FULL_ROWS, 5, True)),
    (f"page of {SMALL_ROWS} rows", (SMALL_ROWS, 1, False)),
    (f"{BLOCK_PAGES} pages of {SMALL_ROWS} rows merged", (SMALL_ROWS, BLOCK_PAGES, True)),
)


def sizes() -> dict[str, float]:
    """Return bytes an attestation by `<feed> <document> <plain or gzip>`."""
    found: dict[str, float] = {}
    for feed, name in FEED_NAMES.items():
        for kind, document in _documents(feed):
            for how, size in _sizes(document).items():
                found[f"{name} {kind} {how}"] = size
    return found


def size_rows() -> Iterator[Row]:
    """Return the same as rows of a report, full pages with their goals."""
    found = sizes()
    for feed, name in FEED_NAMES.items():
        for kind, _ in _KINDS:
            for how in ("plain", "gzip"):
                goal = GOALS[feed, how] if kind == _FULL else None
                metric = f"bytes an attestation, {name} feed, {kind}, {how}"
                value = round(found[f"{name} {kind} {how}"], 1)
                yield Row(metric, value, "B", goal, "at most")


def _documents(feed: Feed) -> Iterator[tuple[str, JsonObject]]:
    for kind, (rows, count, is_merged) in _KINDS:
        made = merged(feed, rows, count) if is_merged else pages(feed, rows, count)
        yield kind, next(made)


def _sizes(document: JsonObject) -> dict[str, float]:
    body, rows = to_bytes(document), document["count"]
    packed = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return {"plain": len(body) / rows, "gzip": len(packed) / rows}
