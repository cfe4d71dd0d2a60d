"""The signed head of a feed: which page is its last, and that page's digest.

Peers that follow the same feed exchange heads. Two heads, or a head and a page, of one epoch and
number with different digests show that an issuer told two stories; who compares them is not
decided here. A head shows no rows, so that anybody may have it.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import head_url
from federation.context import PAGE_CONTEXT
from federation.errors import BadPage
from federation.origin import Origin, Url
from federation.wire import proof
from federation.wire.epoch import MAX_PAGE
from federation.wire.feed_document import check_revoked, verify_signed
from federation.wire.members import read_digest, read_epoch, read_number, read_published
from federation.wire.page_head import WIRE
from federation.wire.strictjson import JsonObject
from federation.wire.times import to_rfc3339

TYPES: Final = ["Document", "FeedHead"]


@dataclass(frozen=True, slots=True)
class PageName:
    """A page of a feed by its number and digest; `published` is when it was sealed."""

    feed_id: Url
    epoch: str
    page: int
    digest: str
    published: int


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """What a feed signed of its last page; `document` is what it signed, to show to others."""

    name: PageName
    feed: Feed
    origin: Origin
    key_id: str
    document: JsonObject


def seal_head(name: PageName, private: Ed25519PrivateKey, key_id: str) -> JsonObject:
    """Return the signed head; it is the same whenever it is made by the same key."""
    document: JsonObject = {
        "@context": PAGE_CONTEXT,
        "type": list(TYPES),
        "id": head_url(name.feed_id, name.epoch, name.page),
        "attributedTo": name.feed_id,
        "published": to_rfc3339(name.published),
        "wire": WIRE,
        "epoch": name.epoch,
        "page": name.page,
        "digestMultibase": name.digest,
    }
    return proof.sign(document, private, key_id, name.published)


def verify_head(document: JsonObject, actor: RemoteActor, now: int) -> VerifiedHead:
    """Verify that `document` is a head that the feed `actor` signed.

    Raises `BadProof` for a wrong or revoked key, `WrongOrigin` for another's head, `BadPage` for
    one against the rules of the wire format.
    """
    proven, feed = verify_signed(document, actor, PAGE_CONTEXT, TYPES, now)
    name = PageName(
        actor.id,
        read_epoch(document),
        read_number(document.get("page"), "page", 1, MAX_PAGE),
        read_digest(document.get("digestMultibase"), "digestMultibase"),
        read_published(document, now),
    )
    if document.get("id") != head_url(actor.id, name.epoch, name.page):
        raise BadPage("the head's id does not follow from its feed, epoch and page")
    check_revoked(proven.key, name.epoch, name.page)
    return VerifiedHead(name, feed, actor.origin, proven.key.id, document)
