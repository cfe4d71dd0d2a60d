"""A trusted peer whose clean verdicts an instance holds, as a verified page left them."""

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from cache.judgement import PeerState, Trust
from cache.memory.peer_rows import record_attestations
from cache.memory.record import pipeline_row
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.trust.trust import add_peer, set_trust
from cache.verdict import Basis, Feed, Verdict
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import pipeline_id
from scanner.policy import load_policy

CLEAN_PEER = "https://peer.example"
DAY_SECONDS = 86_400


def let_peer_judge(store: Store, hashes: Sequence[bytes]) -> None:
    """Let the peer have judged the pictures with these sha256 clean, with full weight here."""
    store.write_now(_record, hashes)


def _record(connection: Connection, hashes: Sequence[bytes]) -> None:
    policy, now = load_policy("test"), int(time.time())
    description = bundled_pipeline(policy)
    issuer = add_peer(connection, CLEAN_PEER, PeerDefaults(), now=now)
    set_trust(connection, CLEAN_PEER, Trust(clean=100, flag=100, state=PeerState.TRUSTED))
    pipeline_row(connection, description)
    rows = [
        Verdict(
            issuer=CLEAN_PEER,
            sha256=sha256,
            feed=Feed.CLEAN,
            basis=Basis.MODEL,
            issued=now - DAY_SECONDS,
            expires=now + DAY_SECONDS,
            pipeline=pipeline_id(description),
            scores=dict.fromkeys(policy.labels, 10),
            epoch="e",
            seq=number,
        )
        for number, sha256 in enumerate(hashes, 1)
    ]
    record_attestations(
        connection, issuer_id=issuer, feed=Feed.CLEAN, follow_id=0, rows=rows, now=now
    )
