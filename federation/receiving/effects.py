"""What a received activity does: from its kind to what is written in the transaction of its row.

Whatever has to be asked of a peer is asked before, outside of any transaction. Every effect does
no harm when it is done twice, for a crash in between does it again.
"""

from collections.abc import Callable

from sqlalchemy import Connection, update

from cache.storage.feed_tables import follows
from federation.actors.actors import Actors
from federation.actors.changing import forget_actor
from federation.following import follow
from federation.following.followers import forget_follower, note_follow
from federation.instance import Instance
from federation.reading.applying import apply_page
from federation.reading.heads import Heads
from federation.receiving.disputes import note_dispute
from federation.settings import FederationSettings
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
)
from federation.wire.chain import Step
from federation.wire.page import VerifiedPage

Effect = Callable[[Connection], object]


class Effects:
    """Asks peers where an activity needs that, and returns what is then to be written."""

    def __init__(
        self,
        actors: Actors,
        verifier: Verifier,
        heads: Heads,
        instance: Instance,
        settings: FederationSettings,
    ) -> None:
        self._actors = actors
        self._verifier = verifier
        self._heads = heads
        self._instance = instance
        self._settings = settings

    async def of(self, activity: Activity) -> Effect:
        """Return the effect of an activity; raises a `FederationError` where there can be none."""
        match activity:
            case Follow() | UndoFollow() | Answer():
                return await self._following(activity)
            case CreatePage() | AnnouncePage() | AnnounceHeads():
                return await self._reading(activity)
            case UpdateActor() | DeleteActor():
                return await self._changing(activity)
            case Flag():
                return lambda conn: note_dispute(conn, self._instance, self._settings, activity)
            case Ignored():
                return _nothing

    async def _following(self, activity: Follow | UndoFollow | Answer) -> Effect:
        match activity:
            case Follow():
                actor = await self._actors.get(activity.actor)
                return lambda conn: note_follow(
                    conn, self._instance, self._settings, activity, actor
                )
            case UndoFollow():
                return lambda conn: forget_follower(conn, activity)
            case Answer():
                now = self._instance.clock()
                return lambda conn: follow.note_answer(conn, activity, now)

    async def _reading(self, activity: CreatePage | AnnouncePage | AnnounceHeads) -> Effect:
        match activity:
            case CreatePage():
                actor = await self._actors.get(activity.actor)
                page = await self._verifier.page_of(activity.page, actor)
                return lambda conn: _take_page(conn, page, self._instance.clock())
            case AnnouncePage():
                return lambda conn: pull_soon(conn, activity.actor)
            case AnnounceHeads():
                return await self._heads.compare(activity)

    async def _changing(self, activity: UpdateActor | DeleteActor) -> Effect:
        """Believe nothing of what an actor says of itself but what its own URL answers."""
        match activity:
            case UpdateActor():
                await self._actors.renew(activity.actor)  # which takes over what it says now
                return _nothing
            case DeleteActor():
                if not await self._actors.is_gone(activity.actor):
                    return _nothing
                return lambda conn: forget_actor(conn, activity.actor, self._instance.clock())


def _nothing(_conn: Connection) -> None:
    """Write nothing."""


def _take_page(conn: Connection, page: VerifiedPage, now: int) -> None:
    """Apply a page that comes next; one that does not makes us pull what is missing."""
    feed_id = page.page.head.feed_id
    row = follow.by_actor(conn, feed_id)
    if row is None:
        return
    if apply_page(conn, row.id, page, now) not in (Step.NEXT, Step.NEW_EPOCH, Step.KNOWN):
        pull_soon(conn, feed_id)


def pull_soon(conn: Connection, actor_id: str) -> None:
    """Let the pull loop ask a followed feed at its next turn."""
    conn.execute(update(follows).where(follows.c.actor_id == actor_id).values(next_try=0))
