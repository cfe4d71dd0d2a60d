"""The outbox of a feed: how many pages there are, which tells a follower what to fetch.

It shows counts only, so anybody may read it; the pages themselves are for approved followers. It
is not signed: it only tells what to fetch. The head inside is, by the feed.
"""

from dataclasses import dataclass, field
from typing import Final

from federation import addresses
from federation.context import ACTIVITYSTREAMS, FEED_TERMS, LABEL_PREFIX
from federation.errors import BadRequest, WrongOrigin
from federation.origin import Url
from federation.wire.epoch import MAX_PAGE, is_epoch
from federation.wire.graph import refuse_tricks
from federation.wire.multibase import is_digest
from federation.wire.page_tables import parse_labels, parse_pipelines
from federation.wire.pipeline import Pipeline
from federation.wire.strictjson import MAX_INTEGER, JsonObject
from federation.wire.times import from_rfc3339, to_rfc3339

OUTBOX_CONTEXT: Final = [ACTIVITYSTREAMS, FEED_TERMS]


@dataclass(frozen=True, slots=True)
class Volume:
    """How much a feed says: rows ever sealed and in the last 7 days, when the last page was sealed
    (epoch seconds), and what its newest pages score, by bare labels and by which pipelines.
    """

    rows: int = 0
    week_rows: int = 0
    sealed: int = 0
    labels: tuple[str, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxHead:
    """The current epoch of a feed and the pages that it serves; `digest` is the last one's.

    Merged pages reach through page `merged_through` (0: none). `signed_head` is not verified yet.
    """

    epoch: str
    first_page: int
    last_page: int
    digest: str
    volume: Volume = field(default_factory=Volume)
    merged_through: int = 0
    has_snapshot: bool = False
    signed_head: JsonObject | None = None


def build_outbox(feed_id: Url, head: OutboxHead | None) -> JsonObject:
    """Return the outbox; `head` is None while nothing was ever sealed."""
    document: JsonObject = {
        "@context": OUTBOX_CONTEXT,
        "id": addresses.outbox_url(feed_id),
        "type": "OrderedCollection",
        "attributedTo": feed_id,
        "totalItems": 0,
    }
    return document if head is None else document | _members(feed_id, head)


def parse_outbox(document: JsonObject, feed_id: Url, outbox: Url) -> OutboxHead | None:
    """Return what the outbox of the feed says, or None for an empty one.

    Raises `WrongOrigin` for another actor's outbox, `BadRequest` for a malformed one. What it says
    beyond its epoch and pages may be missing.
    """
    refuse_tricks(document)
    if document.get("id") != outbox or document.get("attributedTo") != feed_id:
        raise WrongOrigin("the document is not the outbox asked for")
    if document.get("totalItems") == 0 and "epoch" not in document:
        return None
    epoch, digest = document.get("epoch"), document.get("digestMultibase")
    first, last = document.get("firstPage"), document.get("lastPage")
    if not isinstance(epoch, str) or not is_epoch(epoch):
        raise BadRequest("the outbox names no epoch")
    if not isinstance(digest, str) or not is_digest(digest):
        raise BadRequest("the outbox names no digest")
    if type(first) is not int or type(last) is not int or not 1 <= first <= last <= MAX_PAGE:
        raise BadRequest("the outbox names no first and last page")
    signed = document.get("head")
    return OutboxHead(
        epoch,
        first,
        last,
        digest,
        _volume(document),
        _count(document, "mergedThrough"),
        document.get("snapshot") == addresses.snapshot_url(feed_id),
        signed if isinstance(signed, dict) else None,
    )


def build_followers(actor_id: Url, count: int) -> JsonObject:
    """Return the followers collection of an actor of ours, which shows a count only."""
    return {
        "@context": ACTIVITYSTREAMS,
        "id": addresses.followers_url(actor_id),
        "type": "OrderedCollection",
        "totalItems": count,
    }


def _members(feed_id: Url, head: OutboxHead) -> JsonObject:
    volume = head.volume
    members: JsonObject = {
        "totalItems": head.last_page - head.first_page + 1,
        "epoch": head.epoch,
        "firstPage": head.first_page,
        "lastPage": head.last_page,
        "digestMultibase": head.digest,
        "mergedThrough": head.merged_through,
        "rows": volume.rows,
        "weekRows": volume.week_rows,
        "sealed": to_rfc3339(volume.sealed),
        "labels": [LABEL_PREFIX + label for label in volume.labels],
        "pipelines": [dict(pipeline.description) for pipeline in volume.pipelines],
    }
    if head.has_snapshot:
        members["snapshot"] = addresses.snapshot_url(feed_id)
    if head.signed_head is not None:
        members["head"] = head.signed_head
    return members


def _volume(document: JsonObject) -> Volume:
    sealed = document.get("sealed")
    return Volume(
        _count(document, "rows"),
        _count(document, "weekRows"),
        0 if sealed is None else from_rfc3339(sealed),
        parse_labels(document.get("labels", [])),
        parse_pipelines(document.get("pipelines", [])),
    )


def _count(document: JsonObject, name: str) -> int:
    value = document.get(name, 0)
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise BadRequest(f"{name} of the outbox is not a count")
    return value
