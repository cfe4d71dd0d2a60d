"""Whether a verified page continues what is here of its feed.

Pure: takes the cursor (the last page applied) and a page, and names what they are to each
other. What to do about it (apply, pull, pause the feed, tell the admin) is the caller's.
"""

from dataclasses import dataclass
from enum import Enum

from federation.wire.page import AttestationPage


class Step(Enum):
    """What a page is to a cursor."""

    NEXT = "next"  # apply it
    NEW_EPOCH = "new-epoch"  # the first page after the epoch we know
    KNOWN = "known"  # applied already
    GAP = "gap"  # pages between are missing: pull them first
    FORKED = "forked"  # the same number with another digest: two stories
    BROKEN = "broken"  # the next number, but it does not chain


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last page applied; `next_seq` is the seq that the next page begins with."""

    epoch: str
    page: int
    digest: str
    next_seq: int


def step(cursor: Cursor | None, page: AttestationPage) -> Step:
    """Return what `page` is to `cursor`, which is None before the first page."""
    if cursor is None:
        return Step.NEXT if page.head.page == 1 else Step.GAP
    if page.head.epoch != cursor.epoch:
        return _other_epoch(cursor, page)
    if page.head.page == cursor.page + 1:
        chains = page.head.previous_digest == cursor.digest
        return Step.NEXT if chains and page.head.first_seq == cursor.next_seq else Step.BROKEN
    if page.head.page == cursor.page and page.digest != cursor.digest:
        return Step.FORKED
    return Step.KNOWN if page.head.page <= cursor.page else Step.GAP


def after(page: AttestationPage) -> Cursor:
    """Return the cursor once `page` is applied."""
    head = page.head
    return Cursor(head.epoch, head.page, page.digest, head.first_seq + len(page.rows))


def _other_epoch(cursor: Cursor, page: AttestationPage) -> Step:
    if page.head.page != 1:
        return Step.GAP
    end = page.head.previous_epoch
    return Step.NEW_EPOCH if end is not None and end.epoch == cursor.epoch else Step.BROKEN
