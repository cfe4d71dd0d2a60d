"""The outbox of a feed: how many pages there are, which tells a follower what to fetch.

It shows counts only, so anybody may read it; the pages themselves are for approved followers.
"""

from dataclasses import dataclass

from federation import addresses
from federation.context import ACTIVITYSTREAMS, TERMS
from federation.errors import BadRequest, WrongOrigin
from federation.origin import Url
from federation.wire.epoch import is_epoch
from federation.wire.graph import refuse_tricks
from federation.wire.multibase import is_digest
from federation.wire.strictjson import MAX_INTEGER, JsonObject


@dataclass(frozen=True, slots=True)
class OutboxHead:
    """The current epoch of a feed and the pages that it serves; `digest` is the last one's."""

    epoch: str
    first_page: int
    last_page: int
    digest: str


def build_outbox(feed_id: Url, head: OutboxHead | None) -> JsonObject:
    """Return the outbox; `head` is None while nothing was ever sealed."""
    document: JsonObject = {
        "@context": [ACTIVITYSTREAMS, TERMS],
        "id": addresses.outbox_url(feed_id),
        "type": "OrderedCollection",
        "attributedTo": feed_id,
        "totalItems": 0,
    }
    if head is not None:
        document |= {
            "totalItems": head.last_page - head.first_page + 1,
            "epoch": head.epoch,
            "firstPage": head.first_page,
            "lastPage": head.last_page,
            "digestMultibase": head.digest,
        }
    return document


def parse_outbox(document: JsonObject, feed_id: Url, outbox: Url) -> OutboxHead | None:
    """Return what the outbox of the feed says, or None for an empty one.

    Raises `WrongOrigin` for another actor's outbox, `BadRequest` for a malformed one. It is not
    signed: it only tells what to fetch, and the pages prove themselves.
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
    if type(first) is not int or type(last) is not int or not 1 <= first <= last <= MAX_INTEGER:
        raise BadRequest("the outbox names no first and last page")
    return OutboxHead(epoch, first, last, digest)


def build_followers(actor_id: Url, count: int) -> JsonObject:
    """Return the followers collection of an actor of ours, which shows a count only."""
    return {
        "@context": ACTIVITYSTREAMS,
        "id": addresses.followers_url(actor_id),
        "type": "OrderedCollection",
        "totalItems": count,
    }
