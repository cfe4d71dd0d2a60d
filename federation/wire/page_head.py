"""Where a page stands: its feed, epoch, number, time, and what it follows.

Decides whether these fit each other. That the page really follows is decided in `chain`.
"""

from dataclasses import dataclass
from typing import Final

from cache.verdict import Feed
from federation.addresses import page_url
from federation.errors import BadPage
from federation.origin import Url
from federation.wire.epoch import MAX_PAGE, is_epoch
from federation.wire.members import read_digest, read_epoch, read_number, read_published
from federation.wire.strictjson import JsonObject
from federation.wire.times import to_rfc3339

TYPES: Final = ["Document", "AttestationPage"]
WIRE: Final = 1


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
    epoch, page = read_epoch(document), read_number(document.get("page"), "page", 1, MAX_PAGE)
    feed_id = document.get("attributedTo")
    if not isinstance(feed_id, str) or document.get("id") != page_url(Url(feed_id), epoch, page):
        raise BadPage("the page's id does not follow from its feed, epoch and number")
    return PageHead(
        Url(feed_id),
        feed,
        epoch,
        page,
        parse_first_seq(document, page),
        read_published(document, now),
        *parse_previous(document, epoch, page),
    )


def parse_first_seq(document: JsonObject, page: int) -> int:
    """Return the seq of the first row of a document that begins with `page`; raises `BadPage`."""
    first = read_number(document.get("firstSeq"), "firstSeq")
    if first < page or (page == 1 and first != 1):
        raise BadPage("firstSeq does not fit the number of the page")
    return first


def parse_previous(
    document: JsonObject, epoch: str, page: int
) -> tuple[str | None, EpochEnd | None]:
    """Return what a document that begins with `page` says came before; raises `BadPage`."""
    return _previous_digest(document, page), _previous_epoch(document, epoch, page)


def _previous_digest(document: JsonObject, page: int) -> str | None:
    if page == 1:
        if "previousDigest" in document:
            raise BadPage("the first page of an epoch has no previousDigest")
        return None
    return read_digest(document.get("previousDigest"), "previousDigest")


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
