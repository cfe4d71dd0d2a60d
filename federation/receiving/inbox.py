"""Receiving: every check in the order of the design, then one row stored, then 202.

Decides what is taken down, and acts on nothing; acting comes later, from `queue.py`. The order:
size and content type (`routes.py` reads no more than the limit) -> strict parse -> blocked
domain -> sender known (only a Follow from an unknown one may cause a key fetch) -> signature
-> signer is the actor -> same origin -> follow accepted -> proof of an inline page verified ->
de-duplicate on (actor's origin, id) -> row stored. Of what is refused only a count stays.
"""

import logging
from collections import Counter
from collections.abc import Callable

from sqlalchemy import Connection, func, select

from cache.storage.database import Store
from cache.storage.feed_tables import inbox
from cache.storage.rows import insert_into
from federation.actors.changing import is_bound
from federation.errors import FederationError, NotAsked, TooManyRequests, UnknownSender
from federation.following import follow
from federation.following.followers import check_limits, is_follower, own_feed
from federation.instance import Instance
from federation.origin import origin_of
from federation.outbound.blocking import Blocks
from federation.reading.heads import is_mutual
from federation.receiving.disputes import may_dispute
from federation.receiving.sender import sender_of
from federation.receiving.signed import SignedActivity
from federation.settings import FederationSettings
from federation.signing.request import Request
from federation.signing.verifying import Verifier
from federation.wire.activity import (
    Activity,
    AnnounceHeads,
    AnnouncePage,
    Answer,
    CreatePage,
    DeleteActor,
    Flag,
    Follow,
    Ignored,
    UndoFollow,
    UpdateActor,
    parse_activity,
)
from federation.wire.strictjson import parse

_log = logging.getLogger(__name__)
RECEIVED = "received"
FOLLOWS_KEPT = 100
"""Follow and Undo of one origin in `inbox_keep_seconds`, which is how long their rows are kept."""


class Inbox:
    """Takes down what peers send; `refusals` counts what was refused, by the cause's name."""

    def __init__(
        self,
        store: Store,
        verifier: Verifier,
        instance: Instance,
        settings: FederationSettings,
        blocks: Blocks,
    ) -> None:
        self._blocks = blocks
        self._store = store
        self._verifier = verifier
        self._instance = instance
        self._settings = settings
        self.refusals: Counter[str] = Counter()

    async def receive(self, request: Request) -> None:
        """Take down an activity, or raise the `FederationError` that refuses it."""
        try:
            await self._receive(request)
        except FederationError as error:
            name = type(error).__name__
            self.refusals[name] += 1
            _log.info("refused: %s", error, extra={"action": "inbox_refused", "cause": name})
            raise

    async def _receive(self, request: Request) -> None:
        limit, http = self._settings.activity_bytes, self._settings.allow_private_addresses
        document = parse(request.body, limit)
        activity = parse_activity(document, allow_http=http)
        await self._blocks.refuse(activity.actor)
        if not await self._is_worth_verifying(activity):
            return
        now = self._instance.clock()
        sender = await sender_of(self._verifier, request, document, activity.actor, now)
        signed = SignedActivity(activity, sender)
        if not await self._store.read(is_expected, self._instance, self._settings, signed):
            return
        if isinstance(activity, CreatePage):
            await self._verifier.page_of(activity.page, sender.actor)
        await self._store.write(
            take_down, signed, request.body, self._instance.clock, self._settings
        )

    async def _is_worth_verifying(self, activity: Activity) -> bool:
        """Let a stranger in with a Follow alone; what we would ignore anyway costs nothing."""
        if isinstance(activity, Ignored):
            return False
        if isinstance(activity, Follow):
            own_feed(self._instance, activity.object)
        elif not await self._verifier.knows(activity.actor):
            if isinstance(activity, UpdateActor | DeleteActor):
                return False  # servers tell everybody about every actor
            message = f"{activity.actor} is nobody that we have to do with"
            raise UnknownSender(message)
        return True


def is_expected(
    conn: Connection, instance: Instance, settings: FederationSettings, signed: SignedActivity
) -> bool:
    """Tell whether a verified activity asks for work; raises for one that nobody asked for."""
    activity = signed.activity
    match activity:
        case Follow():
            feed = own_feed(instance, activity.object)
            if not is_follower(conn, activity.actor):
                check_limits(conn, settings, feed, origin_of(activity.actor))
            return True
        case Answer():
            return _asked(follow.was_asked(conn, activity), activity.actor)
        case CreatePage() | AnnouncePage():
            row = follow.by_actor(conn, activity.actor)
            return _asked(row is not None and row.state == follow.ACCEPTED, activity.actor)
        case UndoFollow():
            return is_follower(conn, activity.actor)
        case UpdateActor() | DeleteActor():
            return is_bound(conn, activity.actor)
        case AnnounceHeads():
            return _asked(is_mutual(conn, signed.actor.origin), activity.actor)
        case Flag():
            return may_dispute(conn, instance, activity)
        case Ignored():
            return False


def _asked(asked: bool, actor: str) -> bool:
    if not asked:
        message = f"{actor} sends what nobody here asked it for"
        raise NotAsked(message)
    return True


def take_down(
    conn: Connection,
    signed: SignedActivity,
    body: bytes,
    clock: Callable[[], int],
    settings: FederationSettings,
) -> None:
    """Store the activity once; raises `TooManyRequests` when too many rows wait already."""
    waiting = select(func.count()).where(inbox.c.state == RECEIVED)
    if (conn.scalar(waiting) or 0) >= settings.inbox_rows:
        message = f"{settings.inbox_rows} activities wait to be acted on already"
        raise TooManyRequests(message)
    activity, origin = signed.activity, signed.actor.origin
    _check_follows(conn, activity, origin)
    row = insert_into(conn, inbox).values(
        origin=origin,
        activity_id=activity.id,
        actor_id=activity.actor,
        kind=type(activity).__name__,
        body=body.decode(),
        received=clock(),
        state=RECEIVED,
    )
    conn.execute(row.on_conflict_do_nothing(index_elements=["origin", "activity_id"]))


def _check_follows(conn: Connection, activity: Activity, origin: str) -> None:
    """Raise `TooManyRequests` where an origin follows and takes it back without end."""
    if not isinstance(activity, Follow | UndoFollow):
        return
    kinds = (Follow.__name__, UndoFollow.__name__)
    kept = select(func.count()).where(inbox.c.origin == origin, inbox.c.kind.in_(kinds))
    if (conn.scalar(kept) or 0) >= FOLLOWS_KEPT:
        message = f"{origin} sent {FOLLOWS_KEPT} Follow and Undo lately"
        raise TooManyRequests(message)
