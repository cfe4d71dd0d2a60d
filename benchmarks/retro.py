"""Retro-action: how long new codes take to be matched against all that was ever sighted here.

`python -m benchmarks.retro [--pictures 10000000] [--stored 20000] [--into FOLDER]`

- *Flat*: a column of so many pictures (random codes, eight each; written straight into the file, as
  SQL would take hours to fill), and one batch of 1,000 new codes of which some are near planted
  pictures, by one of their eight codes, at each distance up to the radius. All planted ones must be
  found; a part of the column is compared by brute force over the same bits, and must give the
  same answer.
- *Stored*: pictures in SQLite, met in a source, and codes of two trusted peers near some of them:
  from the commit of the peers' page until every case stands, with the real judge, and nothing else.

Prints a table, writes benchmarks/results/retro.json, and says which goals are met.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

import migrations
from benchmarks.report import RESULTS, Report, Row, note
from cache.cases.retro_codes import ROW, VARIANTS, SightedCodes
from cache.index.near import NEAR_BITS
from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.record import Computed, record_images
from cache.memory.sightings import Sighting, record_sightings, source_row
from cache.settings import PeerDefaults
from cache.storage.case_tables import case_pictures
from cache.storage.database import Store
from cache.storage.feed_tables import follows
from cache.storage.tables import images
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Finding, Verdict
from fediverdict.config import Config, parse_config
from fediverdict.parts import build_judge
from fediverdict.reviewing import build_reviewer

BATCH = 1_000  # codes, as review.codes_batch
GOAL_SECONDS = 60.0
CHUNK = 500_000  # pictures written at once
BRUTE = 200_000  # pictures compared by brute force as well
PLANTED = 320
STORED_CODES = 200
PEERS = ("https://a.example", "https://b.example")

Codes = NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts, print and write; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.retro")
    parser.add_argument("--pictures", type=int, default=10_000_000)
    parser.add_argument("--stored", type=int, default=20_000)
    parser.add_argument("--into", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    report = Report("retro")
    with tempfile.TemporaryDirectory(prefix="retro") as folder:
        for row in (*_flat(Path(folder), asked.pictures), *_stored(Path(folder), asked.stored)):
            report.add(row)
    code = report.finish(asked.into)
    held = [row for row in report.rows if row.goal is not None]
    met = sum(row.verdict == "met" for row in held)
    note(f"{met} of {len(held)} goals are met")
    return code


# --- flat ---------------------------------------------------------------------------------


def _flat(folder: Path, pictures: int) -> list[Row]:
    rng = np.random.default_rng(5)
    codes, planted = _new_codes(rng, pictures)
    path = folder / "sighted-codes"
    note(f"writing {pictures:,} pictures, {pictures * ROW.itemsize / 1e9:.2f} GB")
    _write(path, pictures, planted)
    column = SightedCodes(path)
    batch = [code.tobytes() for code in codes]
    column.maybe_near(batch[:1], NEAR_BITS)  # the file is read into the system's cache
    seconds, found = _timed(column, batch)
    one, _ = _timed(column, batch[:1])
    missed = len(set(planted) - set(found.tolist()))
    differing = _brute(path, pictures, codes, found)
    pairs = pictures * VARIANTS * BATCH
    at_most = "at most"
    return [
        Row(
            f"{BATCH} new codes against {pictures:,} pictures", seconds, "s", GOAL_SECONDS, at_most
        ),
        Row(f"one new code against {pictures:,} pictures", one, "s"),
        Row("a code compared with one of a picture's eight", 1e9 * seconds / pairs, "ns"),
        Row(f"planted pictures missed, of {len(planted)}", missed, "pictures", 0, at_most),
        Row("pictures told otherwise by brute force", differing, "pictures", 0, at_most),
        Row("pictures to be decided anew", len(found), "pictures"),
        Row("file", path.stat().st_size / max(1, pictures), "bytes a picture"),
    ]


def _timed(column: SightedCodes, batch: Sequence[bytes]) -> tuple[float, NDArray[np.int64]]:
    started = time.perf_counter()
    found = column.maybe_near(batch, NEAR_BITS)
    return time.perf_counter() - started, found


def _new_codes(rng: np.random.Generator, pictures: int) -> tuple[Codes, dict[int, Codes]]:
    """Return (BATCH, 32) codes, and for the planted picture ids their eight codes."""
    codes = rng.integers(0, 256, (BATCH, 32), np.uint8)
    ids = rng.choice(np.arange(1, pictures + 1), min(PLANTED, pictures), replace=False)
    planted = {}
    for number, picture in enumerate(ids.tolist()):
        own = rng.integers(0, 256, (VARIANTS, 32), np.uint8)
        bits = np.zeros(256, np.uint8)
        bits[rng.choice(256, number % (NEAR_BITS + 1), replace=False)] = 1
        own[number % VARIANTS] = codes[number % BATCH] ^ np.packbits(bits)
        planted[picture] = own
    return codes, planted


def _write(path: Path, pictures: int, planted: dict[int, Codes]) -> None:
    rng = np.random.default_rng(6)
    with path.open("wb") as file:
        for first in range(1, pictures + 1, CHUNK):
            last = min(first + CHUNK, pictures + 1)
            rows = np.zeros(last - first, ROW)
            rows["print_id"] = rows["image_id"] = np.arange(first, last)
            rows["halves"] = rng.integers(
                0, 2**64, (last - first, VARIANTS, 2), np.uint64, endpoint=False
            )
            for picture, own in planted.items():
                if first <= picture < last:
                    rows["halves"][picture - first] = np.ascontiguousarray(own[:, :16]).view("<u8")
            file.write(rows.tobytes())


def _brute(path: Path, pictures: int, codes: Codes, found: NDArray[np.int64]) -> int:
    """Return how many of the first pictures are told otherwise by plain comparing."""
    count = min(BRUTE, pictures)
    rows = np.fromfile(path, ROW, count)
    near = np.zeros(count, np.bool_)
    for half in np.ascontiguousarray(codes[:, :16]).view("<u8"):
        bits = np.bitwise_count(rows["halves"] ^ half).sum(axis=2)
        near |= (bits <= NEAR_BITS).any(axis=1)
    told = found[found <= count]
    return len(set(rows["image_id"][near].tolist()) ^ set(told.tolist()))


# --- stored -------------------------------------------------------------------------------


def _stored(folder: Path, pictures: int) -> list[Row]:
    values = {"instance": {"state_dir": str(folder / "state")}, "scanner": {"enabled": False}}
    trusting = {"blast_radius_actions": 1_000_000}
    config = parse_config({**values, "trust": trusting}, folder / "config.toml")
    migrations.upgrade(config.database.url)
    store = Store.open(config.database.url)
    note(f"storing {pictures:,} pictures")
    codes = _meet(store, pictures)
    try:
        return asyncio.run(_review(config, store, codes, pictures))
    finally:
        store.close()


def _meet(store: Store, pictures: int) -> Codes:
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 256, (pictures, VARIANTS, 32), np.uint8)
    source = store.write_now(source_row, name="s", kind="folder", location="/s")
    for first in range(0, pictures, 5_000):
        some = range(first, min(first + 5_000, pictures))
        made = [_computed(number, codes[number]) for number in some]
        store.write_now(record_images, made, now=_now())
        hashes = [one.fingerprint.sha256 for one in made]
        store.write_now(_sight, source, hashes)
    return codes


class _Print:
    """A fingerprint made up of numbers."""

    content = phash = None
    pdq_quality = 90

    def __init__(self, sha256: bytes, pdq: bytes) -> None:
        self.sha256, self.pdq = sha256, pdq


def _computed(number: int, codes: Codes) -> Computed:
    own = [code.tobytes() for code in codes]
    return Computed(_Print(number.to_bytes(32, "big"), own[0]), own)


def _sight(connection: Connection, source: int, hashes: Sequence[bytes]) -> None:
    rows = connection.execute(select(images.c.sha256, images.c.id).order_by(images.c.id.desc()))
    by_hash = {bytes(row.sha256): row.id for row in rows.fetchmany(len(hashes))}
    met = [Sighting(source, h.hex(), 1, "m", h, "judged", _now()) for h in hashes]
    record_sightings(connection, met, [by_hash[one] for one in hashes])


async def _review(config: Config, store: Store, codes: Codes, pictures: int) -> list[Row]:
    judge = build_judge(config, store)
    reviewer = build_reviewer(config, judge)
    started = time.perf_counter()
    await reviewer.drain()
    filled = time.perf_counter() - started
    wanted = min(STORED_CODES, pictures)
    near = [codes[number, number % VARIANTS].tobytes() for number in range(wanted)]
    store.write_now(_flag, near)
    started = time.perf_counter()
    noted = await reviewer.drain()
    seconds = time.perf_counter() - started
    counted = select(func.count()).select_from(case_pictures)
    held = store.read_now(lambda c: int(c.execute(counted).scalar_one()))
    judge.close()
    missed = abs(wanted - held) + abs(wanted - noted.opened)
    return [
        Row(f"{pictures:,} pictures followed into the file", filled, "s"),
        Row(f"{2 * wanted} new codes of two peers, until every case stands", seconds, "s"),
        Row("pictures brought to people", held / seconds, "a second"),
        Row(f"cases missing or too many, of {wanted}", missed, "cases", 0, "at most"),
    ]


def _flag(connection: Connection, near: Sequence[bytes]) -> None:
    """Let two trusted peers uphold pictures that nobody met here, near some that were."""
    now = _now()
    for origin in PEERS:
        issuer_id = add_peer(connection, origin, PeerDefaults(), now=now)
        set_trust(connection, origin, Trust(flag=100, state=PeerState.TRUSTED))
        values = {"actor_id": f"{origin}/feeds/flagged", "issuer_id": issuer_id, "feed": 2}
        values |= {"state": "accepted", "follow_id": origin, "created": now}
        added = connection.execute(follows.insert().values(**values)).inserted_primary_key
        follow = int((added or (0,))[0])
        rows = [_row(origin, seq, code, now) for seq, code in enumerate(near, 1)]
        record_attestations(
            connection,
            issuer_id=issuer_id,
            feed=Feed.FLAGGED,
            follow_id=follow,
            rows=rows,
            now=now,
        )


def _row(origin: str, seq: int, code: bytes, now: int) -> Verdict:
    return Verdict(
        origin,
        (2**200 + seq).to_bytes(32, "big"),
        Feed.FLAGGED,
        Basis.HUMAN,
        now,
        now + 86_400,
        pdq=code,
        pdq_quality=90,
        rule="test-pattern-found",
        finding=Finding.UPHELD,
        epoch="e",
        seq=seq,
    )


def _now() -> int:
    return int(time.time())


if __name__ == "__main__":
    sys.exit(main())
