"""What peers dispute of ours: `Flag`, from approved followers of that very feed alone.

Decides whose disputes are heard and how many: `federation.disputes_per_day` attestations of one
peer, and `WAITING_DISPUTES` unanswered ones in all. Each brings its picture before a person
(`case_disputes`); what a person finds is answered by the feed itself, where the row is retracted
or stays. Whether a row is there, or under embargo, shows in no answer: all that was taken down is
answered 202, and of what does not stand there nothing is written.
"""

import logging
from typing import Final

from sqlalchemy import Connection, Row, delete, func, select

from cache.cases.case_disputes import bring_before_person
from cache.cases.cases import is_unanswered
from cache.storage.feed_tables import feed_rows, followers, inbox
from cache.storage.peer_tables import disputes
from cache.verdict import Decision, Feed
from federation.addresses import FEED_NAMES
from federation.disputing.names import AttestationName, names_of
from federation.disputing.text import plain
from federation.errors import NotAsked, TooManyDisputes
from federation.following.followers import APPROVED
from federation.instance import Instance
from federation.origin import origin_of
from federation.settings import FederationSettings
from federation.wire.activity import Flag

_log = logging.getLogger(__name__)
SECONDS_PER_DAY: Final = 86_400
WAITING_DISPUTES: Final = 10_000
"""Disputes of all peers that nobody answered yet; past them none is taken."""

KEPT_DAYS: Final = 90
"""How long a dispute is kept once it was answered."""

KEPT_DAYS_UNANSWERED: Final = 366
"""How long one is kept that is never answered: no attestation lives longer."""


def may_dispute(
    conn: Connection, instance: Instance, settings: FederationSettings, flag: Flag
) -> bool:
    """Tell whether a Flag names attestations of ours.

    Raises `NotAsked` unless its actor is an approved follower of each feed it names, and
    `TooManyDisputes` past the limits.
    """
    named = names_of(instance.base, flag.objects)
    for feed in {name.feed for name in named}:
        _check_follower(conn, flag.actor, feed)
    if named:
        _check_room(conn, flag, len(named), settings.disputes_per_day, instance.clock())
    return bool(named)


def note_dispute(
    conn: Connection, instance: Instance, settings: FederationSettings, flag: Flag
) -> None:
    """Write down what is disputed of rows that stand, and bring their pictures before a person."""
    now = instance.clock()
    for name in names_of(instance.base, flag.objects):
        row = _standing(conn, name, now)
        if row is None or not _is_approved(conn, flag.actor, name.feed) or _known(conn, flag, name):
            continue
        if _made_today(conn, flag, now) >= settings.disputes_per_day:
            _log.info("too many disputes", extra={"action": "dispute_dropped", "actor": flag.actor})
            return
        _note(conn, flag, name, bytes(row.sha256), now)


def forget_disputes(conn: Connection, now: int, limit: int) -> int:
    """Forget at most `limit` disputes that are over, of either direction; return how many."""
    c = disputes.c
    over = (c.answered < now - KEPT_DAYS * SECONDS_PER_DAY) | (
        c.created < now - KEPT_DAYS_UNANSWERED * SECONDS_PER_DAY
    )
    ids = conn.execute(select(c.id).where(over).limit(limit)).scalars().all()
    conn.execute(delete(disputes).where(c.id.in_(ids)))
    return len(ids)


def _check_follower(conn: Connection, actor: str, feed: Feed) -> None:
    if not _is_approved(conn, actor, feed):
        message = f"{actor} disputes rows of the {FEED_NAMES[feed]} feed, which it may not read"
        raise NotAsked(message)


def _is_approved(conn: Connection, actor: str, feed: Feed) -> bool:
    c = followers.c
    mine = select(c.id).where(c.actor_id == actor, c.feed == int(feed), c.state == APPROVED)
    return conn.execute(mine).first() is not None


def _check_room(conn: Connection, flag: Flag, number: int, limit: int, now: int) -> None:
    """Count Flags as well, so that rows which are not there cannot be asked for without end."""
    origin, c = origin_of(flag.actor), inbox.c
    flags = select(func.count()).where(
        c.origin == origin, c.kind == Flag.__name__, c.received > now - SECONDS_PER_DAY
    )
    if (
        _made_today(conn, flag, now) + number > limit
        or (conn.scalar(flags.where(c.activity_id != flag.id)) or 0) >= limit
    ):
        message = f"{origin} may dispute {limit} attestations a day"
        raise TooManyDisputes(message)
    if (conn.scalar(select(func.count()).where(is_unanswered)) or 0) >= WAITING_DISPUTES:
        message = f"{WAITING_DISPUTES} disputes wait for an answer already"
        raise TooManyDisputes(message)


def _made_today(conn: Connection, flag: Flag, now: int) -> int:
    """Count what the peer disputed within a day, by other activities or by this one."""
    c = disputes.c
    made = select(func.count()).where(
        c.origin == origin_of(flag.actor), c.is_ours == 0, c.created > now - SECONDS_PER_DAY
    )
    return conn.scalar(made) or 0


def _standing(conn: Connection, name: AttestationName, now: int) -> Row[tuple[bytes]] | None:
    """Return the row that is disputed, if it still says anything."""
    c = feed_rows.c
    place = (c.feed == int(name.feed)) & (c.epoch == name.epoch) & (c.seq == name.seq)
    return conn.execute(
        select(c.sha256).where(place, c.op == 0, c.live, c.expires > now)
    ).one_or_none()


def _known(conn: Connection, flag: Flag, name: AttestationName) -> bool:
    c = disputes.c
    place = (c.feed == int(name.feed)) & (c.epoch == name.epoch) & (c.seq == name.seq)
    same = select(c.id).where(c.activity_id == flag.id, place)
    return conn.execute(same).first() is not None


def _note(conn: Connection, flag: Flag, name: AttestationName, sha256: bytes, now: int) -> None:
    origin = origin_of(flag.actor)
    said = Decision.CLEAN if name.feed is Feed.CLEAN else Decision.FLAGGED
    reason = f"{origin} disputes that we call it {said}."
    case_id = bring_before_person(conn, sha256, said, reason, now=now)
    conn.execute(
        disputes.insert().values(
            is_ours=0,
            activity_id=flag.id,
            origin=origin,
            actor_id=flag.actor,
            feed=int(name.feed),
            epoch=name.epoch,
            seq=name.seq,
            sha256=sha256,
            case_id=case_id,
            text=plain(flag.text),
            created=now,
        )
    )
