"""Make the vectors of attestation pages: `python -m tests.federation.vectors.make`.

Everything is fixed: the keys come from seeds that this file names, so they are no secret and
must never sign anything real.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.verdict import Basis, Feed, Finding
from federation.addresses import FEED_NAMES, feed_url
from federation.origin import Origin
from federation.signing import keys
from federation.wire.multibase import encode
from federation.wire.page import EpochEnd, PageHead, digest, seal_page
from federation.wire.pipeline import pipeline_id
from federation.wire.row import Attestation, Retraction, Row
from federation.wire.strictjson import canonical

FOLDER = Path(__file__).parent
BASE = Origin("https://vectors.example")
EPOCH = "00112233445566778899aabbccddeeff"
PREVIOUS_EPOCH = "ffeeddccbbaa99887766554433221100"
PUBLISHED = 1_795_000_000
DAY = 86_400
DESCRIPTION = {
    "architecture": "fediverdict-vector",
    "policy": hashlib.sha256(b"policy").hexdigest(),
    "precision": "fp32",
    "preprocessing": hashlib.sha256(b"preprocessing").hexdigest(),
    "weights": hashlib.sha256(b"weights").hexdigest(),
}
RULES = {"pattern-suspect": "test-pattern and not shape"}


def make(feed: Feed) -> dict[str, Any]:
    """Return the vector of one feed: key, canonical bytes, digest and signed page."""
    private = Ed25519PrivateKey.from_private_bytes(_seed(feed))
    feed_id = feed_url(BASE, feed)
    key_id = keys.proof_key_id(feed_id, private.public_key())
    descriptions = {pipeline_id(DESCRIPTION): DESCRIPTION}
    page = seal_page(_head(feed), _rows(feed), descriptions, RULES, private, key_id)
    unsecured = {name: value for name, value in page.items() if name != "proof"}
    return {
        "publicKeyMultibase": keys.to_multikey(private.public_key()),
        "secretKeyMultibase": encode(b"\x80\x26" + private.private_bytes_raw()),
        "verificationMethod": key_id,
        "pipelineId": pipeline_id(DESCRIPTION),
        "canonicalWithoutProof": canonical(unsecured).decode(),
        "digestMultibase": digest(page),
        "page": page,
    }


def path(feed: Feed) -> Path:
    """Return where the vector of a feed is committed."""
    return FOLDER / f"{FEED_NAMES[feed]}-page.json"


def _seed(feed: Feed) -> bytes:
    return hashlib.sha256(f"fediverdict vector {FEED_NAMES[feed]}".encode()).digest()


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _head(feed: Feed) -> PageHead:
    feed_id = feed_url(BASE, feed)
    if feed is Feed.CLEAN:
        end = EpochEnd(PREVIOUS_EPOCH, 41)
        return PageHead(feed_id, feed, EPOCH, 1, 1, PUBLISHED, previous_epoch=end)
    previous = digest({"page": 1})
    return PageHead(feed_id, feed, EPOCH, 2, 1_001, PUBLISHED, previous_digest=previous)


def _rows(feed: Feed) -> list[Row]:
    return _clean_rows() if feed is Feed.CLEAN else _flagged_rows()


def _clean_rows() -> list[Row]:
    expires = PUBLISHED + 180 * DAY
    pipeline = pipeline_id(DESCRIPTION)
    low = {"shape": 9_981, "test-pattern": 3}
    unscored = {"shape": 120, "test-pattern": None}
    return [
        Attestation(_hash("a"), Basis.MODEL, PUBLISHED, expires, _hash("a content"), pipeline, low),
        Attestation(_hash("b"), Basis.MODEL, PUBLISHED, expires, None, pipeline, unscored),
        Retraction(EPOCH, 1),
        Retraction(PREVIOUS_EPOCH, 4_711),
    ]


def _flagged_rows() -> list[Row]:
    expires = PUBLISHED + 180 * DAY
    return [
        Attestation(
            sha256=_hash("c"),
            basis=Basis.MODEL,
            issued=PUBLISHED - 61,
            expires=expires,
            content=_hash("c content"),
            pipeline=pipeline_id(DESCRIPTION),
            scores={"shape": 12, "test-pattern": 10_000},
            pdq=_hash("c pdq"),
            pdq_quality=97,
        ),
        Attestation(
            sha256=_hash("c"),
            basis=Basis.HUMAN,
            issued=PUBLISHED - 5,
            expires=expires,
            rule="pattern-suspect",
            finding=Finding.UPHELD,
        ),
        Retraction(EPOCH, 17),
    ]


def main() -> None:
    """Write both vectors beside this file."""
    for feed in FEED_NAMES:
        text = json.dumps(make(feed), indent=2, ensure_ascii=False)
        path(feed).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
