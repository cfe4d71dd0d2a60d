"""Who follows our feeds: pending -> approved | rejected; their Undo, or an admin, deletes it.

A rejection outlives an Undo: else a follower would shed it by undoing and asking again.

Decides who waits, who is approved by a setting and how many a host may have; the rest is an
admin's word. Approval is per actor and feed. Everything here writes rows and deliveries in the
caller's transaction and sends nothing itself, so the CLI may call it while `serve` runs.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from cache.storage.feed_tables import followers
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import FEED_NAMES
from federation.errors import NotFound, TooManyRequests
from federation.following.inboxes import APPROVED, REJECTED, is_needed
from federation.instance import Instance
from federation.origin import Url, netloc_of
from federation.outbound.waiting import enqueue, stop_pages
from federation.settings import FederationSettings
from federation.wire.activity import Follow, UndoFollow
from federation.wire.composing import build_answer

__all__ = ["APPROVED", "PENDING", "REJECTED"]

PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Follower:
    """An actor that follows one of our feeds, or asked to."""

    actor_id: str
    feed: Feed
    state: str
    created: int


def note_follow(
    conn: Connection,
    instance: Instance,
    settings: FederationSettings,
    follow: Follow,
    actor: RemoteActor,
) -> None:
    """Write down that `actor` asks to follow one of our feeds, and answer what is settled.

    Asking again keeps the state, takes over a new inbox and answers again. Raises `NotFound` for
    what is no feed of ours and `TooManyRequests` past the followers that a host may have.
    """
    feed = own_feed(instance, follow.object)
    known = _row(conn, feed, actor.id)
    if known is None:
        check_limits(conn, settings, feed, actor.origin)
        by_setting = feed is Feed.CLEAN and netloc_of(actor.origin) in settings.approve_clean
        state = APPROVED if by_setting else PENDING
        conn.execute(
            insert(followers).values(
                feed=int(feed),
                actor_id=actor.id,
                origin=actor.origin,
                inbox=actor.inbox,
                shared_inbox=actor.shared_inbox,
                state=state,
                follow_id=follow.id,
                created=instance.clock(),
            )
        )
    else:
        state = known.state
        same = followers.c.id == known.id
        conn.execute(
            update(followers)
            .where(same)
            .values(follow_id=follow.id, inbox=actor.inbox, shared_inbox=actor.shared_inbox)
        )
    if state != PENDING:
        _answer(conn, instance, actor.inbox, follow, accepted=state == APPROVED)


def forget_follower(conn: Connection, undo: UndoFollow) -> None:
    """Take back a Follow, as its actor asked; pages that wait for its inbox are not sent."""
    mine = followers.c.actor_id == undo.actor
    taken_back = mine & (followers.c.follow_id == undo.follow_id)
    rows = conn.execute(select(followers).where(taken_back, followers.c.state != REJECTED))
    for row in rows.all():
        conn.execute(delete(followers).where(followers.c.id == row.id))
        _stop_pages(conn, row)


def approve(conn: Connection, instance: Instance, actor_id: str, feed: Feed) -> None:
    """Let a follower read a feed, and tell it; raises `NotFound`."""
    _settle(conn, instance, _asking(conn, actor_id, feed), APPROVED)


def reject(conn: Connection, instance: Instance, actor_id: str, feed: Feed) -> None:
    """Refuse a follower, also one that was approved before, and tell it; raises `NotFound`."""
    row = _asking(conn, actor_id, feed)
    _stop_pages(conn, row)
    _settle(conn, instance, row, REJECTED)


def remove(conn: Connection, instance: Instance, actor_id: str, feed: Feed) -> None:
    """End that an actor follows a feed, and tell it unless it was told before.

    Nothing is remembered of it, a rejection neither: it may ask again. Raises `NotFound`.
    """
    row = _asking(conn, actor_id, feed)
    _stop_pages(conn, row)
    if row.state != REJECTED:
        _settle(conn, instance, row, REJECTED)
    conn.execute(delete(followers).where(followers.c.id == row.id))


def list_followers(conn: Connection, name: str | None = None) -> list[Follower]:
    """Return the followers of our feeds; `name` (actor id, origin or host) chooses some."""
    c = followers.c
    query = select(c.actor_id, c.feed, c.state, c.created).order_by(c.id)
    if name is not None:
        origins = (name, f"https://{name}", f"http://{name}")
        query = query.where(or_(c.actor_id == name, c.origin.in_(origins)))
    rows = conn.execute(query)
    return [Follower(row.actor_id, Feed(row.feed), row.state, row.created) for row in rows]


def count_approved(conn: Connection, feed: Feed) -> int:
    """Return how many actors may read `feed`."""
    approved = (followers.c.feed == int(feed)) & (followers.c.state == APPROVED)
    return conn.scalar(select(func.count()).where(approved)) or 0


def is_follower(conn: Connection, actor_id: str) -> bool:
    """Tell whether an actor has a row here, whatever its state."""
    mine = select(followers.c.id).where(followers.c.actor_id == actor_id)
    return conn.execute(mine).first() is not None


def own_feed(instance: Instance, actor_id: str) -> Feed:
    """Return which feed of ours `actor_id` names; raises `NotFound`."""
    for feed in FEED_NAMES:
        if instance.feed_id(feed) == actor_id:
            return feed
    message = f"{actor_id} is no feed of this instance"
    raise NotFound(message)


def check_limits(conn: Connection, settings: FederationSettings, feed: Feed, origin: str) -> None:
    """Raise `TooManyRequests` when a host has its followers of a feed, or too many wait."""
    same = (followers.c.origin == origin) & (followers.c.feed == int(feed))
    if (conn.scalar(select(func.count()).where(same)) or 0) >= settings.followers_per_host:
        message = f"{origin} has {settings.followers_per_host} followers of this feed already"
        raise TooManyRequests(message)
    waiting = select(func.count()).where(followers.c.state == PENDING)
    if (conn.scalar(waiting) or 0) >= settings.pending_followers:
        message = f"{settings.pending_followers} followers wait for approval already"
        raise TooManyRequests(message)


def _row(conn: Connection, feed: Feed, actor_id: str) -> Row[Any] | None:
    mine = (followers.c.feed == int(feed)) & (followers.c.actor_id == actor_id)
    return conn.execute(select(followers).where(mine)).first()


def _asking(conn: Connection, actor_id: str, feed: Feed) -> Row[Any]:
    row = _row(conn, feed, actor_id)
    if row is None:
        message = f"{actor_id} does not follow the {FEED_NAMES[feed]} feed; see `followers list`"
        raise NotFound(message)
    return row


def _settle(conn: Connection, instance: Instance, row: Row[Any], state: str) -> None:
    conn.execute(update(followers).where(followers.c.id == row.id).values(state=state))
    follow = Follow(Url(row.follow_id), Url(row.actor_id), instance.feed_id(Feed(row.feed)))
    _answer(conn, instance, Url(row.inbox), follow, accepted=state == APPROVED)


def _answer(
    conn: Connection, instance: Instance, inbox: Url, follow: Follow, *, accepted: bool
) -> None:
    answer_id = f"{follow.object}/answers/{secrets.token_hex(16)}"
    activity = build_answer(answer_id, follow, accepted=accepted)
    enqueue(conn, inbox, activity, instance.clock())


def _stop_pages(conn: Connection, row: Row[Any]) -> None:
    """Drop the pages of the feed that wait for the follower, and for nobody else there."""
    feed = Feed(row.feed)
    theirs = [url for url in (row.inbox, row.shared_inbox) if url is not None]
    alone = [url for url in theirs if not is_needed(conn, feed, url, without=row.id)]
    stop_pages(conn, feed, alone)
