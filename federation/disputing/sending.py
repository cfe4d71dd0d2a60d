"""Disputing what a peer attests: which of its rows are held here, and the Flag that names them.

Decides what may be disputed: rows that stand here, of a feed that we follow and that accepted us,
no more a day than a peer takes (`federation.disputes_per_day`), and the same words about the same
row once. What comes of it shows in the peer's feed alone: the row is retracted, or it stays. Writes
rows and deliveries in the caller's transaction, so that the CLI may call it while `serve` runs.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from cache.storage.feed_tables import follows
from cache.storage.peer_tables import disputes
from cache.storage.tables import images, issuers, verdicts
from cache.verdict import Feed
from federation.addresses import FEED_NAMES, attestation_url
from federation.disputing.names import AttestationName
from federation.disputing.text import plain
from federation.errors import NotFound, TooManyDisputes
from federation.following.follow import ACCEPTED
from federation.instance import Instance
from federation.origin import Origin, Url
from federation.outbound.waiting import enqueue
from federation.settings import FederationSettings
from federation.wire.activity import MAX_DISPUTED
from federation.wire.composing import build_flag

_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Held:
    """A row of a peer that is held here."""

    name: AttestationName
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a dispute goes to: the peer, its feed's actor, and that actor's inbox."""

    origin: Origin
    actor_id: Url
    inbox: Url


def held_of_picture(conn: Connection, origin: str, sha256: bytes) -> list[Held]:
    """Return the rows of a peer on a picture; those of which no place is known cannot be named."""
    found = conn.execute(_HELD.where(issuers.c.origin == origin, images.c.sha256 == sha256))
    return [_held(*row) for row in found]


def held_at(conn: Connection, origin: str, name: AttestationName) -> list[Held]:
    """Return the row of a peer at a place, if it is held here."""
    c = verdicts.c
    place = (c.feed == int(name.feed)) & (c.epoch == name.epoch) & (c.seq == name.seq)
    return [_held(*row) for row in conn.execute(_HELD.where(issuers.c.origin == origin, place))]


def followed_actor(conn: Connection, origin: str, feed: Feed) -> Url:
    """Return the feed's actor, which accepted us as its follower; raises `NotFound`."""
    query = (
        select(follows.c.actor_id)
        .join(issuers, issuers.c.id == follows.c.issuer_id)
        .where(issuers.c.origin == origin, follows.c.feed == int(feed))
        .where(follows.c.state == ACCEPTED)
    )
    actor_id = conn.execute(query).scalar()
    if actor_id is None:
        message = f"the {FEED_NAMES[feed]} feed of {origin} is not followed, so it would not listen"
        raise NotFound(message)
    return Url(actor_id)


def send_dispute(
    conn: Connection,
    instance: Instance,
    settings: FederationSettings,
    target: Target,
    rows: Sequence[Held],
    text: str,
) -> list[Url]:
    """Send one Flag that names `rows`, of one feed, and return their ids.

    Rows that were disputed in the same words already are left out. Raises `TooManyDisputes` past
    what the peer takes within a day.
    """
    words, now = plain(text), instance.clock()
    rows = [row for row in rows if not _was_sent(conn, target, row, words)][:MAX_DISPUTED]
    if not rows:
        return []
    c = disputes.c
    today = (c.origin == target.origin) & (c.is_ours == 1) & (c.created > now - _SECONDS_PER_DAY)
    limit = settings.disputes_per_day
    if (conn.scalar(select(func.count()).where(today)) or 0) + len(rows) > limit:
        message = f"{target.origin} was sent {limit} disputes within a day, and takes no more"
        raise TooManyDisputes(message)
    activity_id = f"{instance.id}/disputes/{secrets.token_hex(16)}"
    ids = [
        attestation_url(target.origin, row.name.feed, row.name.epoch, row.name.seq) for row in rows
    ]
    conn.execute(disputes.insert(), [_values(activity_id, target, row, words, now) for row in rows])
    flag = build_flag(activity_id, instance.id, target.actor_id, ids, words)
    enqueue(conn, target.inbox, flag, now)
    return ids


def _was_sent(conn: Connection, target: Target, row: Held, text: str) -> bool:
    c, name = disputes.c, row.name
    place = (c.feed == int(name.feed)) & (c.epoch == name.epoch) & (c.seq == name.seq)
    mine = (c.origin == target.origin) & (c.is_ours == 1) & (c.text == text)
    return conn.execute(select(c.id).where(place, mine).limit(1)).first() is not None


def _values(activity_id: str, target: Target, row: Held, text: str, now: int) -> dict[str, object]:
    return {
        "is_ours": 1,
        "activity_id": activity_id,
        "origin": target.origin,
        "actor_id": target.actor_id,
        "feed": int(row.name.feed),
        "epoch": row.name.epoch,
        "seq": row.name.seq,
        "sha256": row.sha256,
        "text": text,
        "created": now,
    }


_HELD = (
    select(verdicts.c.feed, verdicts.c.epoch, verdicts.c.seq, images.c.sha256)
    .join(images, images.c.id == verdicts.c.image_id)
    .join(issuers, issuers.c.id == verdicts.c.issuer_id)
    .where(verdicts.c.seq.is_not(None), verdicts.c.feed.in_([int(feed) for feed in FEED_NAMES]))
    .order_by(verdicts.c.id)
)


def _held(feed: int, epoch: str, seq: int, sha256: bytes) -> Held:
    return Held(AttestationName(Feed(feed), epoch, seq), bytes(sha256))
