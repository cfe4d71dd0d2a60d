"""Where a page stands: its feed, epoch, number, time, and what it follows.

Decides whether these fit each other. That the page really follows is decided in `chain`.
"""

from dataclasses import dataclass
from typing import Final

from cache.verdict import Feed
from federation.addresses import page_url
from federation.errors import BadPage, BadRequest
from federation.origin import Url
from federation.wire import multibase
from federation.wire.epoch import MAX_PAGE, is_epoch
from federation.wire.strictjson import MAX_INTEGER, JsonObject
from federation.wire.times import from_rfc3339, to_rfc3339

TYPES: Final = ["Document", "AttestationPage"]
WIRE: Final = 1
PUBLISHED_AHEAD_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The last page of an epoch, named by the first page of the next; 0 when it had none."""

    epoch: str
    page: int


@dataclass(frozen=True, slots=True)
class PageHead:
    """Where a page stands in its feed; the first page of an epoch has no previous digest."""

    feed_id: Url
    feed: Feed
    epoch: str
    page: int
    first_seq: int
    published: int
    previous_digest: str | None = None
    previous_epoch: EpochEnd | None = None


def write_head(head: PageHead) -> JsonObject:
    """Return the members of a page that say what it is and where it stands."""
    members: JsonObject = {
        "type": list(TYPES),
        "id": page_url(head.feed_id, head.epoch, head.page),
        "attributedTo": head.feed_id,
        "published": to_rfc3339(head.published),
        "wire": WIRE,
        "epoch": head.epoch,
        "page": head.page,
        "firstSeq": head.first_seq,
    }
    if head.previous_digest is not None:
        members["previousDigest"] = head.previous_digest
    if head.previous_epoch is not None:
        end = head.previous_epoch
        members["previousEpoch"] = {"epoch": end.epoch, "page": end.page}
    return members


def parse_head(document: JsonObject, feed: Feed, now: int) -> PageHead:
    """Return where a page stands; raises `BadPage`."""
    if document.get("type") != TYPES or document.get("wire") != WIRE:
        raise BadPage("the document is not an attestation page of wire format 1")
    epoch, page = document.get("epoch"), _positive(document, "page", MAX_PAGE)
    if not isinstance(epoch, str) or not is_epoch(epoch):
        raise BadPage("the page's epoch is not 32 hexadecimal digits")
    feed_id = document.get("attributedTo")
    if not isinstance(feed_id, str) or document.get("id") != page_url(Url(feed_id), epoch, page):
        raise BadPage("the page's id does not follow from its feed, epoch and number")
    return PageHead(
        Url(feed_id),
        feed,
        epoch,
        page,
        parse_first_seq(document, page),
        _published(document, now),
        *parse_previous(document, epoch, page),
    )


def parse_first_seq(document: JsonObject, page: int) -> int:
    """Return the seq of the first row of a document that begins with `page`; raises `BadPage`."""
    first = _positive(document, "firstSeq")
    if first < page or (page == 1 and first != 1):
        raise BadPage("firstSeq does not fit the number of the page")
    return first


def parse_previous(
    document: JsonObject, epoch: str, page: int
) -> tuple[str | None, EpochEnd | None]:
    """Return what a document that begins with `page` says came before; raises `BadPage`."""
    return _previous_digest(document, page), _previous_epoch(document, epoch, page)


def _positive(document: JsonObject, name: str, most: int = MAX_INTEGER) -> int:
    value = document.get(name)
    if type(value) is not int or not 1 <= value <= most:
        raise BadPage(f"{name} is not a number from 1 to {most}")
    return value


def _published(document: JsonObject, now: int) -> int:
    try:
        published = from_rfc3339(document.get("published"))
    except BadRequest as error:
        raise BadPage("the page does not say when it was published") from error
    if not 0 <= published <= now + PUBLISHED_AHEAD_SECONDS:
        raise BadPage("the page was published in the future")
    return published


def _previous_digest(document: JsonObject, page: int) -> str | None:
    if page == 1:
        if "previousDigest" in document:
            raise BadPage("the first page of an epoch has no previousDigest")
        return None
    value = document.get("previousDigest")
    if not isinstance(value, str) or not multibase.is_digest(value):
        raise BadPage("previousDigest is missing, or not the digest of a page")
    return value


def _previous_epoch(document: JsonObject, epoch: str, page: int) -> EpochEnd | None:
    value = document.get("previousEpoch")
    if "previousEpoch" not in document:
        return None
    if page != 1 or not isinstance(value, dict) or value.keys() != {"epoch", "page"}:
        raise BadPage("previousEpoch stands on a later page, or is not an epoch and a page")
    name, last = value["epoch"], value["page"]
    if not is_epoch(name) or name == epoch or type(last) is not int or not 0 <= last <= MAX_PAGE:
        raise BadPage("previousEpoch is not another epoch and its last page")
    return EpochEnd(name, last)
