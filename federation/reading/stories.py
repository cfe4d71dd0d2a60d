"""Whether a feed tells everybody one story: two signed pages of one number are evidence.

Decides only between documents that were verified already: pages, merged pages, heads, manifests of
snapshots. All of them name pages by their digests, which do not cover the proof, so that a rotated
key, a replay or a merged page never differs; a page also names the one it follows. What differs
within one epoch and number is evidence, whatever way it came: both documents are kept, the issuer's
weights fall to 0, its feed is read no further, and the admin is asked. Nothing that the peer sends
undoes it; `resume` does.

Of the first story the page itself is not held any more. Its digest and its proof are, and
eddsa-jcs-2022 signs the very hash that the digest names: so the record proves what was signed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, select, update

from cache.storage.feed_tables import ahead_pages, follows, remote_pages
from cache.storage.peer_tables import evidence
from cache.storage.rows import insert_into
from cache.storage.tables import issuers
from cache.trust.notices import tell
from cache.trust.trust import end_weight
from cache.verdict import Feed
from federation.addresses import page_url
from federation.origin import Url
from federation.reading.place import restart
from federation.wire.strictjson import JsonObject, to_text

KIND: Final = "two-stories"
"""The kind of notice that tells the admin."""

MAX_AHEAD_PAGES: Final = 64
"""Documents kept of one feed about pages that are not here yet; for more the oldest go."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a feed signed of pages of one epoch: digests by page number, and the document."""

    epoch: str
    digests: Mapping[int, str]
    document: JsonObject


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two documents by which an issuer told two stories of one page; times in epoch seconds."""

    feed: Feed
    epoch: str
    page: int
    first: JsonObject
    second: JsonObject
    found: int
    cleared: int | None  # when an admin let it rest


def is_one_story(conn: Connection, follow: Row[Any], signed: Signed, now: int) -> bool:
    """Tell whether nothing known of the feed contradicts it; keep the evidence where it does.

    What an admin cleared is no evidence again, nor are the pages that follow it in its epoch.
    """
    cleared = cleared_from(conn, follow, signed.epoch)
    for page, first in _contradictions(conn, follow, signed):
        if cleared is None or page < cleared:
            convict(conn, follow, signed.epoch, page, (first, signed.document), now)
            return False
    return True


def note_ahead(conn: Connection, follow_id: int, signed: Signed, now: int) -> None:
    """Keep what was signed of a page that is not here yet, to compare it once it is."""
    c = ahead_pages.c
    page = max(signed.digests)
    row = insert_into(conn, ahead_pages).values(
        follow_id=follow_id,
        epoch=signed.epoch,
        page=page,
        digest=signed.digests[page],
        document=to_text(signed.document),
        received=now,
    )
    conn.execute(row.on_conflict_do_nothing())
    of_feed = c.follow_id == follow_id
    count = conn.scalar(select(func.count()).select_from(ahead_pages).where(of_feed)) or 0
    oldest = select(c.epoch, c.page).where(of_feed).order_by(c.received, c.page)
    for one in conn.execute(oldest.limit(max(0, count - MAX_AHEAD_PAGES))).all():
        conn.execute(delete(ahead_pages).where(of_feed, c.epoch == one.epoch, c.page == one.page))


def forget_ahead(conn: Connection, follow_id: int, epoch: str, through_page: int) -> None:
    """Forget what was kept of pages that are here now."""
    c = ahead_pages.c
    here = [c.follow_id == follow_id, c.epoch == epoch, c.page <= through_page]
    conn.execute(delete(ahead_pages).where(*here))


def read_evidence(conn: Connection, issuer: str) -> list[Evidence]:
    """Return the evidence against an issuer (its origin), the oldest first."""
    rows = conn.execute(
        select(evidence)
        .join(issuers, issuers.c.id == evidence.c.issuer_id)
        .where(issuers.c.origin == issuer)
        .order_by(evidence.c.id)
    )
    return [
        Evidence(
            Feed(row.feed),
            row.epoch,
            row.page,
            json.loads(row.first),
            json.loads(row.second),
            row.found,
            row.cleared,
        )
        for row in rows
    ]


def resume(conn: Connection, follow_id: int, now: int) -> None:
    """Read a halted feed on, at an admin's word; its issuer's weights stay 0 until they are set.

    The feed is read anew as it is told now; what was found is kept, and is not held against the
    feed again.
    """
    follow = conn.execute(select(follows).where(follows.c.id == follow_id)).first()
    if follow is None or follow.halted is None:
        return
    against = [evidence.c.issuer_id == follow.issuer_id, evidence.c.feed == follow.feed]
    is_open = evidence.c.cleared.is_(None)
    conn.execute(update(evidence).where(*against, is_open).values(cleared=now))
    restart(conn, follow_id)
    for table in (remote_pages, ahead_pages):
        conn.execute(delete(table).where(table.c.follow_id == follow_id))
    goes_on: dict[str, object] = {"halted": None, "error": None, "tries": 0, "next_try": 0}
    forgotten: dict[str, object] = {"head_epoch": None, "head_page": None, "signed_head": None}
    conn.execute(update(follows).where(follows.c.id == follow_id).values(**goes_on, **forgotten))


def _contradictions(
    conn: Connection, follow: Row[Any], signed: Signed
) -> Iterator[tuple[int, JsonObject]]:
    """Yield each page that is known by another digest, with the document that shows it."""
    for table in (remote_pages, ahead_pages):
        c = table.c
        known = conn.execute(
            select(table)
            .where(
                c.follow_id == follow.id,
                c.epoch == signed.epoch,
                c.page.between(min(signed.digests), max(signed.digests)),
            )
            .order_by(c.page)
        )
        for row in known:
            if signed.digests.get(row.page, row.digest) != row.digest:
                is_held = table is ahead_pages
                yield row.page, json.loads(row.document) if is_held else _first(follow, row)


def _first(follow: Row[Any], page: Row[Any]) -> JsonObject:
    """Return what shows how a page was told that was read: its head, or digest and proof."""
    head = json.loads(follow.signed_head) if follow.signed_head else {}
    if (head.get("epoch"), head.get("page")) == (page.epoch, page.page) and (
        head.get("digestMultibase") == page.digest
    ):
        return dict(head)
    return {
        "id": page_url(Url(follow.actor_id), page.epoch, page.page),
        "attributedTo": follow.actor_id,
        "epoch": page.epoch,
        "page": page.page,
        "digestMultibase": page.digest,
        "verificationMethod": page.key_id,
        "received": page.received,
        "proof": None if page.proof is None else json.loads(page.proof),
    }


def cleared_from(conn: Connection, follow: Row[Any], epoch: str) -> int | None:
    """Return from which page of an epoch on an admin let contradictions rest, if anywhere."""
    c = evidence.c
    cleared = select(func.min(c.page)).where(
        c.issuer_id == follow.issuer_id,
        c.feed == follow.feed,
        c.epoch == epoch,
        c.cleared.is_not(None),
    )
    found: int | None = conn.scalar(cleared)
    return found


def convict(
    conn: Connection,
    follow: Row[Any],
    epoch: str,
    page: int,
    stories: tuple[JsonObject, JsonObject],
    now: int,
) -> None:
    """Keep two documents as evidence, let nothing of the issuer count, and tell the admin."""
    first, second = map(to_text, stories)
    row = insert_into(conn, evidence).values(
        issuer_id=follow.issuer_id,
        feed=follow.feed,
        epoch=epoch,
        page=page,
        first=first,
        second=second,
        found=now,
    )
    conn.execute(row.on_conflict_do_nothing())
    why = f"page {page} of epoch {epoch} is told in two ways"
    conn.execute(update(follows).where(follows.c.id == follow.id).values(halted=why, error=why))
    origin = select(issuers.c.origin).where(issuers.c.id == follow.issuer_id)
    end_weight(conn, str(conn.scalar(origin)), clean=True, flag=True)
    text = (
        f"{follow.actor_id} tells two stories: {why}, both signed by it. Nothing it says counts "
        "any more, and it is read no further; see `fediverdict peers show`."
    )
    tell(conn, KIND, text, follow.issuer_id, now=now)
