"""From what an admin types to the feed of a peer: `clean@host[:port]`, or the actor's URL.

Decides that the handle and the actor agree in both directions (WebFinger names the actor, the
actor calls itself by the handle) and that the actor is the feed of a Fediverdict.
"""

from dataclasses import dataclass
from http import HTTPStatus

from cache.verdict import Feed
from federation.actors.actors import Actors
from federation.actors.remote_actor import RemoteActor
from federation.actors.webfinger import (
    Handle,
    check_agrees,
    parse_handle,
    parse_webfinger,
    webfinger_url,
)
from federation.client import AnsweredWith, Client
from federation.errors import BadActor, BadHandle
from federation.origin import netloc_of, parse_url
from federation.outbound.media import Kind
from federation.settings import FederationSettings
from federation.wire.strictjson import JsonObject, parse


@dataclass(frozen=True, slots=True)
class FoundFeed:
    """A feed of a peer: its actor, which feed it is, and the handle that both sides agree on."""

    actor: RemoteActor
    feed: Feed
    handle: str


async def find_feed(
    text: str, client: Client, actors: Actors, settings: FederationSettings
) -> FoundFeed:
    """Find the feed that `text` names; raises a `FederationError` that says what is wrong."""
    http = settings.allow_private_addresses
    if text.startswith(("https://", "http://")):
        actor = await actors.fetch(parse_url(text, allow_http=http))
        if actor.name is None:
            message = f"{actor.id} has no preferredUsername"
            raise BadActor(message)
        handle = Handle(actor.name, actor.origin)
        actor_id = parse_webfinger(await _ask(handle, client, settings), handle, allow_http=http)
        if actor_id != actor.id:
            message = f"{netloc_of(actor.origin)} gives another actor for {handle}"
            raise BadHandle(message)
    else:
        handle = parse_handle(text, allow_http=http)
        actor_id = parse_webfinger(await _ask(handle, client, settings), handle, allow_http=http)
        actor = await actors.fetch(actor_id)
    check_agrees(handle, actor)
    if actor.feed is None:
        message = f"{handle} is an actor, but not the feed of a Fediverdict"
        raise BadActor(message)
    return FoundFeed(actor, actor.feed, str(handle))


async def _ask(handle: Handle, client: Client, settings: FederationSettings) -> JsonObject:
    limit = settings.document_bytes
    try:
        answer = await client.get(webfinger_url(handle), Kind.JRD, limit)
    except AnsweredWith as error:
        host = netloc_of(handle.origin)
        if error.code == HTTPStatus.GONE:
            message = f"{host} answers 410: {handle} is gone for good"
        elif error.code == HTTPStatus.NOT_FOUND:
            feeds = f"feeds are called clean@{host}, flagged@{host}"
            message = f"{host} knows nobody called {handle}; {feeds}"
        else:
            raise
        raise BadHandle(message) from error
    return parse(answer.body, limit)
