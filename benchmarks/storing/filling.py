"""Fills a database fast with as many pictures as are asked for, one verdict of a peer on each.

Rows come in random order of their sha256, as in life, so that the indexes have the fill they have
in life. Nothing here is measured: a fill is not durable until it is closed.
"""

import os
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import Connection

import migrations
from cache.memory.record import VERDICT_COLUMNS, pipeline_id, pipeline_row, verdict_values
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.storage.feed_tables import follows
from cache.trust.trust import add_peer
from cache.verdict import Basis, Feed, Verdict

NOW = 1_800_000_000
DAY_SECONDS = 86_400
EPOCH = "5eed" * 8
ORIGINS = ("https://a.example", "https://b.example")
LABELS = ("sexual", "minor", "gore", "violence", "drawing", "screenshot")
DESCRIPTION = {
    "architecture": "ViT-B-32",
    "policy": "00" * 32,
    "precision": "fp32",
    "preprocessing": "center",
    "weights": "11" * 32,
}
PIPELINE = pipeline_id(DESCRIPTION)
FILL_CACHE_KIB = 4_000_000
"""KiB of pages that filling SQLite may keep: a fill through a small cache takes an hour."""


@dataclass(frozen=True)
class Peers:
    """Row ids of two followed peers, and of the pipeline both judge with."""

    first: int
    second: int
    pipeline: int


def prepare(url: str) -> Peers:
    """Create the tables and two peers that are followed."""
    migrations.upgrade(url)
    store = Store.open(url)
    peers = store.write_now(_follow_both)
    store.close()
    return peers


def _follow_both(connection: Connection) -> Peers:
    pipeline = pipeline_row(connection, DESCRIPTION)
    ids = [
        add_peer(connection, origin, PeerDefaults(clean_weight=1.0), now=NOW) for origin in ORIGINS
    ]
    for issuer_id in ids:
        texts = {"actor_id": f"actor {issuer_id}", "follow_id": f"{issuer_id}", "state": "accepted"}
        values = {"id": issuer_id, "issuer_id": issuer_id, "feed": int(Feed.CLEAN), "created": NOW}
        connection.execute(follows.insert().values(**texts, **values))
    first, second = ids
    return Peers(first, second, pipeline)


def made_up(first: int, number: int, origin: str = ORIGINS[0], seed: int = 1) -> list[Verdict]:
    """Return verdicts numbered from `first`, each on a picture of its own; as random as in life."""
    rng = random.Random(f"{seed} {first}")
    return [_verdict(rng, origin, first + i) for i in range(number)]


def _verdict(rng: random.Random, origin: str, seq: int) -> Verdict:
    issued = NOW - rng.randrange(170) * DAY_SECONDS
    return Verdict(
        issuer=origin,
        sha256=rng.randbytes(32),
        feed=Feed.CLEAN,
        basis=Basis.MODEL,
        issued=issued,
        expires=issued + 180 * DAY_SECONDS,
        content=rng.randbytes(32),
        pipeline=PIPELINE,
        scores={label: rng.randrange(2_000) for label in LABELS},
        epoch=EPOCH,
        seq=seq,
    )


def fill_sqlite(path: Path, peers: Peers, size: int) -> None:
    """Add pictures until there are `size`, each with a verdict of the first peer."""
    raw = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{FILL_CACHE_KIB}"):
        raw.execute(f"PRAGMA {pragma}").fetchall()
    (held,) = raw.execute("SELECT coalesce(max(id), 0) FROM images").fetchone()
    raw.execute("BEGIN")
    for pictures, rows in _batches(peers, held + 1, size - held):
        raw.executemany(_insert("images", _PICTURE, "?"), pictures)
        raw.executemany(_insert("verdicts", VERDICT_COLUMNS, "?"), rows)
    raw.execute("COMMIT")
    raw.close()
    raw = sqlite3.connect(path)  # what was written without a journal is on disk from here on
    raw.execute("PRAGMA journal_mode = WAL").fetchall()
    raw.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())  # else what is measured next waits for it


def fill_postgres(url: str, peers: Peers, number: int) -> None:
    """Do the same on PostgreSQL, by COPY."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for pictures, rows in _batches(peers, 1, number):
            _copy(cursor, "images", _PICTURE, pictures)
            _copy(cursor, "verdicts", VERDICT_COLUMNS, rows)
        cursor.execute("SELECT setval(pg_get_serial_sequence('images', 'id'), %s)", (number,))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


_PICTURE = ("id", "sha256", "fingerprinted", "created")
_BATCH = 10_000


def _batches(
    peers: Peers, first: int, number: int
) -> Iterator[tuple[list[tuple[object, ...]], list[tuple[object, ...]]]]:
    for start in range(first, first + number, _BATCH):
        some = made_up(start, min(_BATCH, first + number - start))
        yield (
            [(one.seq, one.sha256, False, NOW) for one in some],
            [_row(one, peers) for one in some],
        )


def _row(one: Verdict, peers: Peers) -> tuple[object, ...]:
    values = verdict_values(one, one.feed, now=NOW)
    values |= {"image_id": one.seq, "issuer_id": peers.first, "pipeline_id": peers.pipeline}
    return tuple(values[name] for name in VERDICT_COLUMNS)


def _insert(table: str, columns: Sequence[str], mark: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(mark for _ in columns)})"


def _copy(
    cursor: psycopg.Cursor, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
