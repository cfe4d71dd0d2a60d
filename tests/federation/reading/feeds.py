"""A fake peer's feed as a reader meets it: signed heads, merged pages, snapshots, two stories."""

import copy
import json
from typing import Any

from cache.verdict import Feed
from federation import addresses
from federation.signing import keys
from federation.wire import outbox, proof
from federation.wire.feed_head import PageName, seal_head
from federation.wire.merged import seal_merged
from federation.wire.page import digest
from federation.wire.snapshot import Snapshot, build_part, name_part, seal_manifest
from federation.wire.times import from_rfc3339
from tests.federation.samples import DESCRIPTION, PIPELINE, RULES

CLEAN = Feed.CLEAN


def key_of(peer, feed=CLEAN):
    private = peer.proof[feed]
    return private, keys.proof_key_id(peer.feed_id(feed), private.public_key())


def pages_of(peer, epoch=None, feed=CLEAN):
    return peer.pages.get((feed, epoch or peer.epochs[feed]), [])


def resigned(peer, page, feed=CLEAN, **changes):
    """The page with changes, signed by the feed: another story of the same number."""
    other = copy.deepcopy(page) | changes
    other.pop("proof")
    private, key_id = key_of(peer, feed)
    return json.loads(json.dumps(proof.sign(other, private, key_id, peer.clock())))


def other_story(peer, page, feed=CLEAN):
    rows = copy.deepcopy(page["rows"])
    rows[0][page["columns"].index("expires")] += 1
    return resigned(peer, page, feed, rows=rows)


def head_of(peer, page, feed=CLEAN, **changes):
    """The signed head of a page."""
    private, key_id = key_of(peer, feed)
    name = PageName(
        peer.feed_id(feed),
        page["epoch"],
        page["page"],
        digest(page),
        from_rfc3339(page["published"]),
    )
    head = seal_head(name, private, key_id)
    return resigned(peer, head, feed, **changes) if changes else head


def show(peer, feed=CLEAN, **changes):
    """Serve an outbox that says what `changes` say beside what the pages are."""
    pages = pages_of(peer, feed=feed)
    known: dict[str, Any] = {
        "epoch": peer.epochs[feed],
        "first_page": 1,
        "last_page": len(pages),
        "digest": digest(pages[-1]),
    }
    head = outbox.OutboxHead(**(known | changes))
    document = outbox.build_outbox(peer.feed_id(feed), head)
    peer.documents[f"/feeds/{addresses.FEED_NAMES[feed]}/outbox"] = document
    return document


def merge(peer, first, last, epoch=None, feed=CLEAN, pages=None):
    """Serve a run of merged pages; made of `pages`, if those are others than are served."""
    private, key_id = key_of(peer, feed)
    some = pages or pages_of(peer, epoch, feed)[first - 1 : last]
    run = json.loads(json.dumps(seal_merged(some, private, key_id)))
    peer.documents[path_of(peer, run["id"])] = run
    return run


def path_of(peer, url):
    return url.removeprefix(peer.base)


def snapshot(peer, through, rows, part_rows=2, feed=CLEAN, epoch=None, previous=(), **changes):
    """Serve a snapshot of `rows`, [((epoch, seq), Attestation)], through a page."""
    epoch = epoch or peer.epochs[feed]
    page = pages_of(peer, epoch, feed)[through - 1]
    known: dict[str, Any] = {
        "feed_id": peer.feed_id(feed),
        "feed": feed,
        "epoch": epoch,
        "through_page": through,
        "digest": digest(page),
        "next_seq": page["firstSeq"] + page["count"],
        "published": peer.clock(),
        "parts": (),
        "previous_epochs": tuple(previous),
    }
    bare = Snapshot(**(known | changes))
    parts = [
        json.loads(json.dumps(build_part(bare, number, some, {PIPELINE: DESCRIPTION}, RULES)))
        for number, some in enumerate(_cut(rows, part_rows), start=1)
    ]
    whole = Snapshot(**(known | changes | {"parts": tuple(name_part(part) for part in parts)}))
    private, key_id = key_of(peer, feed)
    manifest = json.loads(json.dumps(seal_manifest(whole, private, key_id)))
    for document in (manifest, *parts):
        peer.documents[path_of(peer, document["id"])] = document
    return manifest, parts


def _cut(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]
