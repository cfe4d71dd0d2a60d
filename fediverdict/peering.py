"""Joins the parts that a command needs to speak with peers, without the loops of `serve`."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata

from cache.database import Store
from federation.actors import Actors
from federation.client import Client
from federation.discover import FoundFeed, find_feed
from federation.instance import Instance
from federation.keystore import ensure_keys
from federation.origin import parse_origin
from federation.settings import FederationSettings
from fediverdict.config import Config


def clock() -> int:
    """Return UTC epoch seconds."""
    return int(time.time())


def user_agent(config: Config) -> str:
    """Return how this instance names itself to peers."""
    return f"Fediverdict/{metadata.version('fediverdict')} (+{config.instance.base_url})"


def own_instance(config: Config, store: Store) -> Instance:
    """Return this instance with its keys."""
    base = parse_origin(config.instance.base_url, allow_http=True)
    return Instance(base, store.write_now(ensure_keys, clock()), clock)


@dataclass(frozen=True)
class Peering:
    """What a command needs to find a peer's feed."""

    instance: Instance
    client: Client
    actors: Actors
    settings: FederationSettings

    async def find(self, text: str) -> FoundFeed:
        """Find the feed of a handle or URL; raises a FederationError that says what is wrong."""
        return await find_feed(text, self.client, self.actors, self.settings)


@asynccontextmanager
async def peering(config: Config, store: Store) -> AsyncIterator[Peering]:
    """Give the parts, and close the client afterwards."""
    instance = own_instance(config, store)
    settings = config.federation
    client = Client(settings, instance.sign, user_agent(config))
    actors = Actors(store, client, settings, clock, instance.id)
    try:
        yield Peering(instance, client, actors, settings)
    finally:
        await client.close()
