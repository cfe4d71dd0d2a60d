"""Whether merged pages say what the pages say that they list: a look at one page of a few runs.

A run lists the digests of its pages beside their rows, and one proof covers both: so an issuer
could show other rows to those who read runs than to those who read pages, and all heads would
agree. Nobody can tell from the run alone, so now and then one of its pages is fetched as well. The
issuer cannot know which, and whatever it answers is signed: another digest, or other rows under the
digest that is listed, is evidence like any other (`stories`). Snapshots are not looked at.
"""

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from federation.reading.place import reading
from federation.reading.stories import cleared_from, convict
from federation.wire.merged import VerifiedRun
from federation.wire.page import AttestationPage, VerifiedPage
from federation.wire.row import Attestation, Row

ONE_IN: Final = 32
"""Of so many runs one is looked at; that costs a page in 32 runs, of five full pages each."""

Dice = Callable[[], float]
"""Returns a number from 0 up to, but not including, 1."""


def page_to_probe(run: VerifiedRun, dice: Dice) -> int | None:
    """Return which page of a run is to be looked at, None for most runs."""
    if dice() >= 1 / ONE_IN:
        return None
    return run.pages[int(dice() * len(run.pages))].head.page


def is_as_listed(
    conn: Connection, follow_id: int, run: VerifiedRun, page: VerifiedPage, now: int
) -> bool:
    """Tell whether a page is what its run says of it; keep the evidence where it is not."""
    head = page.page.head
    listed = next(one for one in run.pages if one.head.page == head.page)
    if _said(listed) == _said(page.page):
        return True
    follow = reading(conn, follow_id, head.feed_id)
    if follow is not None:
        cleared = cleared_from(conn, follow, head.epoch)
        if cleared is not None and cleared <= head.page:
            return True  # an admin let it rest
        convict(conn, follow, head.epoch, head.page, (run.document, page.document), now)
    return False


def _said(page: AttestationPage) -> tuple[object, ...]:
    head = page.head
    return (page.digest, head.first_seq, head.published, [_row(row) for row in page.rows])


def _row(row: Row) -> tuple[object, ...]:
    """Return a row with the scores that it has: merged, labels of other pages are null."""
    if not isinstance(row, Attestation):
        return (row.epoch, row.seq)
    kept = (row.sha256, row.basis, row.issued, row.expires, row.content, row.pipeline)
    return (*kept, _scored(row.scores), row.rule, row.finding, row.pdq, row.pdq_quality)


def _scored(scores: Mapping[str, int | None]) -> dict[str, int]:
    return {label: score for label, score in scores.items() if score is not None}
