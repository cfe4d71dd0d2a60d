"""A process that reviews and is killed anywhere loses nothing and doubles nothing."""

import random
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import func, select

from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.record import Computed, record_images
from cache.memory.sightings import Sighting, record_sightings, source_row
from cache.settings import PeerDefaults
from cache.storage.case_tables import arrivals, case_grounds, case_pictures, cases
from cache.storage.database import Store
from cache.storage.feed_tables import follows
from cache.storage.tables import images
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Finding, Verdict
from tests.cache.prints import fingerprint
from tests.waiting import PATIENCE

PICTURES = 150
PEERS = ("https://a.example", "https://b.example")
REVIEW = """
import asyncio, sys
from pathlib import Path
from cache.storage.database import Store
from fediverdict.config import load_config
from fediverdict.parts import build_judge
from fediverdict.reviewing import build_reviewer

async def review():
    config = load_config(Path(sys.argv[1]))
    store = Store.open(config.database.url)
    judge = build_judge(config, store)
    print("begun", flush=True)
    await build_reviewer(config, judge).drain()
    print("done", flush=True)
    judge.close()
    store.close()

asyncio.run(review())
"""


@pytest.fixture
def config(tmp_path, database_url):
    path = tmp_path / "config.toml"
    path.write_text(
        f'[database]\nurl = "{database_url}"\n[scanner]\nenabled = false\n'
        "[review]\narrivals_batch = 7\ncodes_batch = 5\npictures_batch = 3\n"
    )
    return path


def flagged_pictures(connection):
    """Meet pictures that two trusted peers come to flag."""
    now = int(time.time())
    prints = [fingerprint(f"p{number}") for number in range(PICTURES)]
    record_images(connection, [Computed(one) for one in prints], now=now)
    ids = dict(connection.execute(select(images.c.sha256, images.c.id)).all())
    source = source_row(connection, name="s", kind="folder", location="/s")
    met = [Sighting(source, p.sha256.hex(), 1, "m", p.sha256, "judged", now) for p in prints]
    record_sightings(connection, met, [ids[p.sha256] for p in prints])
    for origin in PEERS:
        issuer_id = add_peer(connection, origin, PeerDefaults(), now=now)
        set_trust(connection, origin, Trust(flag=100, state=PeerState.TRUSTED))
        follow = connection.execute(
            follows.insert().values(
                actor_id=f"{origin}/feeds/flagged", issuer_id=issuer_id, feed=2,
                state="accepted", follow_id=origin, created=now,
            )
        )  # fmt: skip
        rows = [
            Verdict(
                origin, p.sha256, Feed.FLAGGED, Basis.HUMAN, now, now + 86_400, None, p.pdq, 90,
                rule="test-pattern-found", finding=Finding.UPHELD, epoch="e", seq=seq,
            )
            for seq, p in enumerate(prints, 1)
        ]  # fmt: skip
        record_attestations(
            connection, issuer_id=issuer_id, feed=Feed.FLAGGED,
            follow_id=follow.inserted_primary_key[0], rows=rows, now=now,
        )  # fmt: skip


def test_killed_again_and_again_it_ends_with_every_case_once(config, database_url):
    store = Store.open(database_url)
    store.write_now(flagged_pictures)
    rng, kills = random.Random(4), 0
    while True:
        command = [sys.executable, "-c", REVIEW, str(config)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if kills < 4:
            time.sleep(rng.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            kills += 1
        ended, _ = process.communicate(timeout=PATIENCE)
        if "done" in ended:
            break

    def count(table):
        counted = select(func.count()).select_from(table)
        return store.read_now(lambda c: c.execute(counted).scalar_one())

    assert (count(arrivals), count(cases), count(case_pictures)) == (0, PICTURES, PICTURES)
    assert count(case_grounds) == 2 * PICTURES
    settled = select(func.count()).select_from(cases).where(cases.c.recheck < 0)
    assert store.read_now(lambda c: c.execute(settled).scalar_one()) == 0
    store.close()
