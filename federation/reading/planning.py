"""What to fetch next of a followed feed: pure, from what its outbox says and what is here.

An outbox is not signed and may lie; it only tells what to ask for. What it says of pages that are
here already is compared with them, and is an error where it differs, never an accusation.
"""

from dataclasses import dataclass
from typing import Final

from federation.wire.chain import Cursor
from federation.wire.merged import BLOCK_PAGES
from federation.wire.outbox import OutboxHead

MAX_EPOCHS: Final = 16
"""Epochs walked back from the newest one."""

FIRST_GUESS: Final = 5
"""Pages of a run that is asked for before one was seen; full pages make runs of five."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Pages of one epoch through the last that counts; `merged_through` of them come in runs."""

    epoch: str
    last_page: int
    merged_through: int

    def run_end(self, page: int, length: int) -> int | None:
        """Return where the run that begins with `page` may end, or None to ask for it alone."""
        block_end = page - 1 - (page - 1) % BLOCK_PAGES + BLOCK_PAGES
        end = min(page + length - 1, block_end, self.last_page)
        return end if page < self.last_page and page <= self.merged_through else None


def wants_snapshot(head: OutboxHead, at: Cursor | None, pages: int) -> bool:
    """Tell whether the snapshot is read before any more pages: by a newcomer to over `pages`
    pages, and by whoever needs one that was dropped.
    """
    if at is None:
        is_long = head.has_snapshot and head.last_page - head.first_page >= pages
        return head.first_page > 1 or is_long
    return at.epoch == head.epoch and at.page + 1 < head.first_page


def what_shrank(head: OutboxHead, at: Cursor | None) -> str | None:
    """Return what is odd of an outbox that ends before what is here, or None."""
    if at is None or at.epoch != head.epoch or head.last_page >= at.page:
        return None
    return f"its outbox ends at page {head.last_page}, while page {at.page} is here already"


def tells_otherwise(head: OutboxHead, at: Cursor | None) -> bool:
    """Tell whether an outbox gives the page that is here another digest."""
    here = None if at is None else (at.epoch, at.page)
    return here == (head.epoch, head.last_page) and at is not None and at.digest != head.digest


def continues(segments: list[Segment], at: Cursor) -> bool:
    """Tell whether all that is here of a feed still counts in the history that it tells now."""
    is_current = len(segments) == 1
    return segments[0].epoch == at.epoch and (is_current or at.page <= segments[0].last_page)
