"""Exchange of heads: whether the peers that follow a feed were all told one story.

Decides whom we tell (peers that follow us and that we follow) how far the feeds are that we follow,
and how often; and which of the heads that such a peer tells are looked at: those of feeds that we
follow, verified with the keys that we hold. Nothing is fetched for them. A head that differs from a
page that is here is evidence (`stories`); one that is ahead makes us pull, and is compared then.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, select, update

from cache.storage.database import Store
from cache.storage.feed_tables import followers, follows
from cache.storage.rows import upsert
from cache.storage.tables import issuers, notes
from federation.actors.actors import Actors
from federation.actors.remote_actor import RemoteActor
from federation.errors import FederationError
from federation.following.follow import ACCEPTED, by_actor
from federation.following.inboxes import APPROVED
from federation.instance import Instance
from federation.origin import Url
from federation.outbound.waiting import enqueue
from federation.reading.states import is_ahead, note_head
from federation.settings import FederationSettings
from federation.wire.activity import AnnounceHeads
from federation.wire.composing import INLINE_BYTES, build_heads
from federation.wire.feed_head import VerifiedHead, verify_head
from federation.wire.strictjson import JsonObject, to_bytes

_log = logging.getLogger(__name__)
MAX_HEADS_TOLD: Final = 40
"""Heads in one activity; it stays under `INLINE_BYTES` besides."""

_NOTE: Final = "heads-told"


class Heads:
    """Tells and compares the heads of followed feeds."""

    def __init__(
        self, store: Store, actors: Actors, instance: Instance, settings: FederationSettings
    ) -> None:
        self._store, self._actors = store, actors
        self._instance, self._settings = instance, settings

    async def tell(self) -> int:
        """Tell all mutual peers, unless that was done lately; return how many activities wait."""
        seconds = self._settings.heads_seconds
        return await self._store.write(_tell, self._instance, seconds)

    async def compare(self, activity: AnnounceHeads) -> Callable[[Connection], object]:
        """Return what comes of the heads that a peer told."""
        now = self._instance.clock()
        known: list[tuple[JsonObject, RemoteActor]] = []
        for document in activity.heads:
            feed_id = document.get("attributedTo")
            if isinstance(feed_id, str) and await self._store.read(_is_followed, feed_id):
                actor = await self._actors.known(feed_id)
                known += [] if actor is None else [(document, actor)]
        heads = await asyncio.to_thread(lambda: list(_verified(known, now)))
        return lambda conn: _note_all(conn, heads, now)


def is_mutual(conn: Connection, origin: str) -> bool:
    """Tell whether a peer follows us and we follow it: only such exchange heads."""
    theirs = select(followers.c.id).where(
        followers.c.origin == origin, followers.c.state == APPROVED
    )
    ours = (
        select(follows.c.id)
        .join(issuers, issuers.c.id == follows.c.issuer_id)
        .where(issuers.c.origin == origin, follows.c.state == ACCEPTED)
    )
    return all(conn.execute(query).first() is not None for query in (theirs, ours))


def _is_followed(conn: Connection, feed_id: str) -> bool:
    row = by_actor(conn, feed_id)
    return row is not None and row.state == ACCEPTED


def _verified(known: Iterable[tuple[JsonObject, RemoteActor]], now: int) -> Iterator[VerifiedHead]:
    """Yield the heads that their feeds signed; others say nothing of a feed.

    Nor does one under a key that was revoked since: whoever stole it signs heads of old pages too.
    """
    for document, actor in known:
        try:
            head = verify_head(document, actor, now)
        except FederationError as error:
            _log.info("%s: %s", actor.id, error, extra={"action": "head_refused"})
            continue
        if not actor.proof_keys[head.key_id].is_revoked:
            yield head


def _note_all(conn: Connection, heads: Sequence[VerifiedHead], now: int) -> None:
    for head in heads:
        follow = by_actor(conn, head.name.feed_id)
        if follow is None or not note_head(conn, follow.id, head, now):
            continue
        if is_ahead(conn, follow, head.name) and not follow.tries:
            conn.execute(update(follows).where(follows.c.id == follow.id).values(next_try=0))


# --- telling ---------------------------------------------------------------------------------
def _tell(conn: Connection, instance: Instance, seconds: int) -> int:
    now = instance.clock()
    told = conn.scalar(select(notes.c.value).where(notes.c.name == _NOTE))
    if told is not None and now - seconds < int(told) <= now:
        return 0
    note = upsert(conn.dialect.name, notes, ("name",), ("value",))
    conn.execute(note, {"name": _NOTE, "value": str(now)})
    waiting = 0
    for origin, inbox in _mutual_peers(conn):
        for some in batched(_heads_for(conn, origin)):
            enqueue(conn, inbox, _activity(instance, inbox, some, now), now)
            waiting += 1
    return waiting


def _activity(instance: Instance, inbox: Url, heads: list[JsonObject], now: int) -> JsonObject:
    said = hashlib.sha256(json.dumps([inbox, now, heads], sort_keys=True).encode()).hexdigest()
    return build_heads(f"{instance.id}/heads/{said[:32]}", instance.id, heads)


def batched(heads: Sequence[JsonObject]) -> Iterator[list[JsonObject]]:
    """Yield heads in lists that each fit into one activity."""
    some: list[JsonObject] = []
    octets = spare = 1_024  # for the activity around them
    for head in heads:
        size = len(to_bytes(head)) + 1
        if spare + size >= INLINE_BYTES:  # padded by whoever signed it
            continue
        if some and (len(some) == MAX_HEADS_TOLD or octets + size >= INLINE_BYTES):
            yield some
            some, octets = [], spare
        some.append(head)
        octets += size
    if some:
        yield some


def _mutual_peers(conn: Connection) -> list[tuple[str, Url]]:
    """Return origin and inbox of every peer that follows us and that we follow."""
    c = followers.c
    rows = conn.execute(select(c.origin, c.inbox).where(c.state == APPROVED).order_by(c.id))
    inboxes: dict[str, Url] = {}
    for row in rows:
        inboxes.setdefault(row.origin, Url(row.inbox))
    return [(origin, inbox) for origin, inbox in inboxes.items() if is_mutual(conn, origin)]


def _heads_for(conn: Connection, origin: str) -> list[JsonObject]:
    """Return the signed heads of all feeds that we follow, but for the peer's own."""
    heads = (
        select(follows.c.signed_head)
        .join(issuers, issuers.c.id == follows.c.issuer_id)
        .where(
            issuers.c.origin != origin,
            follows.c.state == ACCEPTED,
            follows.c.signed_head.is_not(None),
        )
        .order_by(follows.c.id)
    )
    return [json.loads(text) for text in conn.execute(heads).scalars()]
