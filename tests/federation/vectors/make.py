"""Make the vectors of the wire format: `python -m tests.federation.vectors.make`.

Everything is fixed: the keys come from seeds that this file names, so they are no secret and
must never sign anything real.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.verdict import Basis, Feed, Finding
from federation.addresses import FEED_NAMES, attestation_url, feed_url, instance_url
from federation.origin import Origin
from federation.signing import keys
from federation.wire.attestation import AttestationHead, seal_attestation
from federation.wire.composing import announced, build_create, build_flag, build_heads
from federation.wire.feed_head import PageName, seal_head
from federation.wire.merged import seal_merged
from federation.wire.multibase import encode
from federation.wire.page import EpochEnd, PageHead, digest, seal_page
from federation.wire.pipeline import pipeline_id
from federation.wire.row import Attestation, Retraction, Row
from federation.wire.snapshot import Snapshot, build_part, name_part, seal_manifest
from federation.wire.strictjson import JsonObject, canonical

FOLDER = Path(__file__).parent
BASE = Origin("https://vectors.example")
READER = Origin("https://reader.example")
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
PIPELINE = pipeline_id(DESCRIPTION)
DESCRIPTIONS = {PIPELINE: DESCRIPTION}
RULES = {"pattern-suspect": "test-pattern and not shape"}


def vectors() -> dict[str, dict[str, Any]]:
    """Return every vector by the name of its file."""
    clean, second = _clean_pages()
    manifest, part = _snapshot(second)
    private, key_id = private_key(Feed.CLEAN), verification_method(Feed.CLEAN)
    at = AttestationHead(BASE, Feed.CLEAN, PUBLISHED, (EPOCH, 2))
    head = seal_head(_name(second), private, key_id)
    return {
        "clean-page": _signed(clean, Feed.CLEAN, pipelineId=PIPELINE),
        "flagged-page": _signed(_flagged_page(), Feed.FLAGGED, pipelineId=PIPELINE),
        "merged-pages": _signed(seal_merged([clean, second], private, key_id), Feed.CLEAN),
        "feed-head": _signed(head, Feed.CLEAN),
        "snapshot-manifest": _signed(manifest, Feed.CLEAN),
        "snapshot-part": _form(part),
        "attestation": _signed(
            seal_attestation(at, _clean_rows()[1], DESCRIPTIONS, RULES, private, key_id),
            Feed.CLEAN,
        ),
        "create": _form(build_create(clean)),
        "create-stub": _form(announced(build_create(clean))),
        "announce-heads": _form(build_heads(f"{READER}/heads/1", instance_url(READER), [head])),
        "flag": _form(
            build_flag(
                f"{READER}/disputes/1",
                instance_url(READER),
                feed_url(BASE, Feed.CLEAN),
                [attestation_url(BASE, Feed.CLEAN, EPOCH, 2)],
                "This is a drawing of a chair.",
            )
        ),
    }


def path(name: str) -> Path:
    """Return where a vector is committed."""
    return FOLDER / f"{name}.json"


def private_key(feed: Feed) -> Ed25519PrivateKey:
    """Return the key that signs the vectors of a feed."""
    seed = hashlib.sha256(f"fediverdict vector {FEED_NAMES[feed]}".encode()).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def verification_method(feed: Feed) -> str:
    """Return the id of that key."""
    return keys.proof_key_id(feed_url(BASE, feed), private_key(feed).public_key())


def _form(document: JsonObject) -> dict[str, Any]:
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    return {
        "canonicalWithoutProof": canonical(unsecured).decode(),
        "digestMultibase": digest(document),
        "document": document,
    }


def _signed(document: JsonObject, feed: Feed, **more: str) -> dict[str, Any]:
    private = private_key(feed)
    return {
        "publicKeyMultibase": keys.to_multikey(private.public_key()),
        "secretKeyMultibase": encode(b"\x80\x26" + private.private_bytes_raw()),
        "verificationMethod": verification_method(feed),
        **more,
        **_form(document),
    }


def _seal(head: PageHead, rows: list[Row]) -> JsonObject:
    key = private_key(head.feed), verification_method(head.feed)
    return seal_page(head, rows, DESCRIPTIONS, RULES, *key)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _clean_pages() -> list[JsonObject]:
    feed_id, end = feed_url(BASE, Feed.CLEAN), EpochEnd(PREVIOUS_EPOCH, 41)
    first = PageHead(feed_id, Feed.CLEAN, EPOCH, 1, 1, PUBLISHED, previous_epoch=end)
    page = _seal(first, _clean_rows())
    second = replace(
        first,
        page=2,
        first_seq=5,
        published=PUBLISHED + 60,
        previous_digest=digest(page),
        previous_epoch=None,
    )
    return [page, _seal(second, [_second_row()])]


def _flagged_page() -> JsonObject:
    feed_id, previous = feed_url(BASE, Feed.FLAGGED), digest({"page": 1})
    head = PageHead(feed_id, Feed.FLAGGED, EPOCH, 2, 1_001, PUBLISHED, previous_digest=previous)
    return _seal(head, _flagged_rows())


def _name(page: JsonObject) -> PageName:
    return PageName(page["attributedTo"], EPOCH, page["page"], digest(page), PUBLISHED + 60)


def _snapshot(page: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return manifest and part of what stands at the second clean page."""
    snapshot = Snapshot(
        feed_id=page["attributedTo"],
        feed=Feed.CLEAN,
        epoch=EPOCH,
        through_page=2,
        digest=digest(page),
        next_seq=6,
        published=PUBLISHED + 90,
        parts=(),
        previous_epochs=(EpochEnd(PREVIOUS_EPOCH, 41),),
    )
    old = Attestation(
        _hash("e"), Basis.MODEL, PUBLISHED - DAY, PUBLISHED + 90 * DAY, None, PIPELINE, {"shape": 0}
    )
    rows = [
        ((PREVIOUS_EPOCH, 12), old),
        ((EPOCH, 2), _clean_rows()[1]),
        ((EPOCH, 5), _second_row()),
    ]
    part = build_part(snapshot, 1, rows, DESCRIPTIONS, {})
    key = private_key(Feed.CLEAN), verification_method(Feed.CLEAN)
    return seal_manifest(replace(snapshot, parts=(name_part(part),)), *key), part


def _clean_rows() -> list[Any]:
    expires = PUBLISHED + 180 * DAY
    low = {"shape": 9_981, "test-pattern": 3}
    unscored = {"shape": 120, "test-pattern": None}
    return [
        Attestation(_hash("a"), Basis.MODEL, PUBLISHED, expires, _hash("a content"), PIPELINE, low),
        Attestation(_hash("b"), Basis.MODEL, PUBLISHED, expires, None, PIPELINE, unscored),
        Retraction(EPOCH, 1),
        Retraction(PREVIOUS_EPOCH, 4_711),
    ]


def _second_row() -> Attestation:
    return Attestation(
        _hash("d"), Basis.MODEL, PUBLISHED, PUBLISHED + 180 * DAY, None, PIPELINE, {"gore": 7}
    )


def _flagged_rows() -> list[Row]:
    expires = PUBLISHED + 180 * DAY
    return [
        Attestation(
            sha256=_hash("c"),
            basis=Basis.MODEL,
            issued=PUBLISHED - 61,
            expires=expires,
            content=_hash("c content"),
            pipeline=PIPELINE,
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
    """Write the vectors beside this file."""
    for name, vector in vectors().items():
        text = json.dumps(vector, indent=2, ensure_ascii=False)
        path(name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
