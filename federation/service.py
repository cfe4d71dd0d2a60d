"""Federation, joined: the parts, the routes, and the loops that run while `serve` does.

The loops poll the database, so what the CLI or another process writes is acted on within
`poll_seconds`. Stopping cancels them; every one may be cut off anywhere and goes on from the
database at the next start.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from importlib import metadata
from pathlib import Path

from aiohttp import web
from sqlalchemy import Connection

from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.verdict import Feed
from federation.actors.actors import Actors
from federation.actors.announcing import Announcer
from federation.actors.changing import note_update
from federation.actors.discover import FoundFeed, find_feed
from federation.actors.discovery import Discovery
from federation.actors.remote_actor import RemoteActor
from federation.actors.retiring import until_retired
from federation.client import Client
from federation.documents import Documents
from federation.errors import BadHandle, HasEnded
from federation.following import follow, followers
from federation.following.ending import end_ties
from federation.following.preview import Preview, preview_feed
from federation.instance import Instance
from federation.origin import Url
from federation.outbound.blocking import Blocks
from federation.outbound.delivery import Deliverer
from federation.publishing.answering import Answers
from federation.publishing.feeds import Feeds
from federation.publishing.head import HeadFile
from federation.publishing.library import Library
from federation.publishing.upkeep import TURN_SECONDS, Upkeep
from federation.reading.asking import Asking
from federation.reading.forgetting import forget_pages, old_pages
from federation.reading.heads import Heads
from federation.reading.pull import Puller, pull_all_soon
from federation.reading.revoking import withdraw_revoked
from federation.receiving.disputes import forget_disputes
from federation.receiving.effects import Effects
from federation.receiving.inbox import Inbox
from federation.receiving.queue import Queue
from federation.routes import Routes
from federation.settings import FederationSettings, FeedSettings
from federation.signing.knocks import Knocks
from federation.signing.verifying import Verifier

_log = logging.getLogger(__name__)
_TIDY_ROWS = 1_000  # forgotten in one transaction
_TIDY_SECONDS = 3_600


class Federation:
    """Everything that talks ActivityPub for one instance; `rules` are name -> expression."""

    def __init__(
        self,
        store: Store,
        instance: Instance,
        settings: FederationSettings,
        feed_settings: FeedSettings,
        *,
        state_dir: Path,
        user_agent: str,
        rules: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._instance = instance
        self._settings = settings
        self.blocks = Blocks(settings.blocked_domains, store, settings.poll_seconds)
        knocks = Knocks(store, instance.clock)
        self.client = Client(
            settings, instance.sign, user_agent, self.blocks, knocks, instance.clock
        )
        self.actors = Actors(
            store, self.client, settings, instance.clock, instance.id, take_over_actor
        )
        self.announcer = Announcer(store, instance)
        verifier = Verifier(self.actors, instance)
        self.feeds = Feeds(store, instance, feed_settings, rules or {}, HeadFile(state_dir))
        self.inbox = Inbox(store, verifier, instance, settings, self.blocks)
        self.heads = Heads(store, self.actors, instance, settings)
        effects = Effects(self.actors, verifier, self.heads, instance, settings)
        self.queue = Queue(store, effects, instance, settings)
        self.deliverer = Deliverer(store, self.client, settings, instance, self.feeds.note_heads)
        self.puller = Puller(store, self.client, self.actors, verifier, instance, settings)
        answers = Answers(store, instance, self.feeds, settings.attestations_per_minute)
        self.library = Library(store, instance, settings.served_bytes, settings.merged_per_minute)
        self.upkeep = Upkeep(store, instance)
        documents = Documents(
            store, instance, self.feeds, verifier, answers, self.library, self.blocks
        )
        self.asking = Asking(store, self.client, self.actors, verifier, instance, settings)
        version = metadata.version("fediverdict")
        self._routes = Routes(
            documents,
            self.inbox,
            Discovery(instance, version, rules or {}, self.announcer.refresh),
            settings.activity_bytes,
            settings.fetch_seconds,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def refusals(self) -> Counter[str]:
        """How many inbound activities were refused, by cause."""
        return self.inbox.refusals

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that peers use, for the application of `serve`."""
        return until_retired(self._routes.table(), self._instance)

    def steps(self) -> dict[str, Callable[[], Awaitable[int]]]:
        """Return what is done again and again every `poll_seconds`."""
        return {
            "announce": self.announcer.run_once,
            "seal": self._while_it_lives(self.feeds.seal),
            "deliver": self.deliverer.run_once,
            "act": self._while_it_lives(self.queue.run_once),
            "pull": self._while_it_lives(self.puller.run_once),
        }

    async def start(self) -> None:
        """Begin epochs where needed, then run the loops until `stop`."""
        await self.announcer.run_once()
        await self.feeds.start()
        await self._store.write(pull_all_soon)
        await self._store.write(end_ties, self._settings.blocked_domains)
        poll, steps = self._settings.poll_seconds, self.steps()
        self._tasks = [
            *(asyncio.create_task(_forever(step, poll), name=name) for name, step in steps.items()),
            asyncio.create_task(_forever(self._tidy, _TIDY_SECONDS), name="tidy"),
            asyncio.create_task(
                _forever(self._while_it_lives(self.heads.tell), self._settings.heads_seconds),
                name="heads",
            ),
            asyncio.create_task(
                _forever(self._while_it_lives(self.upkeep.run_once), TURN_SECONDS), name="upkeep"
            ),
        ]

    async def stop(self) -> None:
        """End the loops and close all connections."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self.library.close()
        await self.asking.close()
        await self.client.close()

    def _while_it_lives(self, step: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
        """Return a step of a loop that does nothing once the instance has ended for good."""

        async def guarded() -> int:
            return 0 if self._instance.retired is not None else await step()

        return guarded

    async def _tidy(self) -> None:
        await self.queue.tidy()
        await self.deliverer.tidy()
        store, now = self._store, self._instance.clock()
        while await store.write(forget_disputes, now, _TIDY_ROWS):
            pass
        while pages := await store.read(old_pages, now, _TIDY_ROWS):
            await store.write(forget_pages, pages)

    async def follow(self, name: str, defaults: PeerDefaults) -> str:
        """Ask to follow the feed `name` (`clean@host` or URL) and return the follow's state."""
        found = await find_feed(name, self.client, self.actors, self._settings)
        return await self.request(found, defaults)

    async def request(self, found: FoundFeed, defaults: PeerDefaults) -> str:
        """Ask to follow a feed that was found, and return the follow's state."""
        self._check_other(found)
        if self._instance.retired is not None:
            message = "this instance has ended for good; it follows nobody"
            raise HasEnded(message)
        return await self._store.write(follow.request_follow, self._instance, found, defaults)

    async def preview(self, name: str) -> Preview:
        """Return what the feed `name` (`clean@host` or URL) says of itself; asks for nothing."""
        parts = self.client, self.actors, self._settings
        preview = await preview_feed(name, *parts, self._instance.id)
        self._check_other(preview.found)
        return preview

    def _check_other(self, found: FoundFeed) -> None:
        if found.actor.origin == self._instance.base:  # our own verdicts would count twice
            message = f"{found.handle} is a feed of this instance itself"
            raise BadHandle(message)

    async def unfollow(self, name: str) -> None:
        """End following the feed `name` (handle or actor id) and drop its verdicts."""
        row = await self._store.read(follow.named, name)
        actor = await self.actors.get(Url(row.actor_id))
        await self._store.write(follow.unfollow, self._instance, actor.id, actor.inbox)

    async def approve(self, actor_id: str, feed: Feed) -> None:
        """Let a follower read a feed, and tell it."""
        await self._store.write(followers.approve, self._instance, actor_id, feed)

    async def reject(self, actor_id: str, feed: Feed) -> None:
        """Refuse a follower of a feed, and tell it."""
        await self._store.write(followers.reject, self._instance, actor_id, feed)


def take_over_actor(conn: Connection, actor: RemoteActor) -> None:
    """Let what a fetched actor says hold here: its inboxes, and which keys were stolen."""
    note_update(conn, actor)
    withdraw_revoked(conn, actor)


async def _forever(step: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
    """Run `step` again and again; a fault is logged and does not end the loop."""
    while True:
        try:
            await step()
        except Exception:  # noqa: BLE001
            _log.exception("a loop of federation failed", extra={"action": "loop_failed"})
        await asyncio.sleep(pause_seconds)
