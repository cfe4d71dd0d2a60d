"""How many attestations a reader verifies in a second: from bytes to a `VerifiedPage`, one core.

What is timed is all that a reader does before it stores: strict parsing, graph tricks, the proof,
the digest, every cell of every row. Beside it stands the same as single signed documents, which
is how most of the fediverse would carry them.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.report import Row
from benchmarks.storing.filling import NOW
from benchmarks.storing.inserting import one_core
from benchmarks.wire.pages import (
    DESCRIPTION,
    EPOCH,
    PIPELINE,
    PRIVATE,
    RULES,
    feed_actor,
    pages,
    proof_key_id,
    rows,
)
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import FEED_NAMES
from federation.wire.attestation import AttestationHead, seal_attestation, verify_attestation
from federation.wire.page import verify_page
from federation.wire.strictjson import parse, to_bytes

PAGE_ROWS = 1_000
ROUNDS = 600  # some seconds each: the machine's speed drifts
SINGLES = 200
GOAL = 100_000
_MAX_BYTES = 2**21


def verify_rows() -> list[Row]:
    """Measure both feeds' full pages, and single attestations beside them."""
    with one_core():
        found = []
        for feed in FEED_NAMES:
            rate = _pages_a_second(feed)
            name = f"{feed.name.lower()} pages of {PAGE_ROWS:,} verified"
            found.append(Row(name, rate, "attestations/s", goal=GOAL))
        single = _singles_a_second()
        found.append(Row("single attestations verified", single, "attestations/s"))
    return found


def _pages_a_second(feed: Feed) -> float:
    remote = feed_actor(feed)
    bodies = [to_bytes(page) for page in pages(feed, PAGE_ROWS, 3)]
    works = [partial(_verify_page, body, remote) for body in bodies]
    return PAGE_ROWS / _median_seconds(works)


def _singles_a_second() -> float:
    feed = Feed.CLEAN
    remote = feed_actor(feed)
    works = []
    for seq, row in enumerate(rows(feed, "single", SINGLES), start=1):
        head = AttestationHead(remote.origin, feed, NOW, (EPOCH, seq))
        signer = (PRIVATE, proof_key_id(feed))
        document = seal_attestation(head, row, {PIPELINE: DESCRIPTION}, RULES, *signer)
        works.append(partial(_verify_single, to_bytes(document), remote, row.sha256))
    return 1 / _median_seconds(works)


def _verify_page(body: bytes, remote: RemoteActor) -> None:
    verify_page(parse(body, _MAX_BYTES), remote, NOW)


def _verify_single(body: bytes, remote: RemoteActor, sha256: bytes) -> None:
    verify_attestation(parse(body, _MAX_BYTES), remote, sha256, NOW)


def _median_seconds(works: Sequence[Callable[[], object]]) -> float:
    """Return the median processor time of one work, each run `ROUNDS` times in turn."""
    times = []
    gc.collect()
    gc.freeze()  # as `serve` does with what was loaded
    for turn in range(ROUNDS + 1):
        for work in works:
            started = time.process_time()
            work()
            if turn:
                times.append(time.process_time() - started)
    gc.unfreeze()
    return statistics.median(times)
