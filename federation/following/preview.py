"""What a feed says of itself before we follow it: its actor, and the counts of its public outbox.

Decides nothing; it reads. What is told beside the head (rows, labels, pipelines) is for a person
to look at and believed by nobody: pages prove themselves. A member that is missing counts as not
told, a malformed one is an error.
"""

from dataclasses import dataclass

from federation.actors.actors import Actors
from federation.actors.discover import FoundFeed, find_feed
from federation.actors.remote_actor import RemoteActor
from federation.client import Client
from federation.errors import BadActor
from federation.origin import Url
from federation.outbound.media import Kind
from federation.settings import FederationSettings
from federation.wire.outbox import OutboxHead, parse_outbox
from federation.wire.strictjson import JsonObject, parse


@dataclass(frozen=True, slots=True)
class Told:
    """What an outbox tells; None for what it does not."""

    head: OutboxHead | None  # None: nothing was ever sealed
    rows: int | None = None  # that stand now
    week_rows: int | None = None  # sealed in the last seven days
    labels: tuple[str, ...] | None = None
    pipelines: tuple[str, ...] | None = None  # their ids
    sealed: int | None = None  # when the last page was, in epoch seconds


@dataclass(frozen=True, slots=True)
class Preview:
    """A feed and what it tells."""

    found: FoundFeed
    told: Told


async def preview_feed(
    name: str, client: Client, actors: Actors, settings: FederationSettings, as_actor: Url
) -> Preview:
    """Fetch and verify the feed that `name` names and read its outbox; changes nothing.

    Raises a `FederationError` that says what is wrong.
    """
    found = await find_feed(name, client, actors, settings)
    document, outbox = await fetch_outbox(found.actor, client, settings, as_actor)
    return Preview(found, read_told(document, found.actor.id, outbox))


async def fetch_outbox(
    actor: RemoteActor, client: Client, settings: FederationSettings, as_actor: Url
) -> tuple[JsonObject, Url]:
    """Return the outbox document of an actor and its id; raises a `FederationError`."""
    if actor.outbox is None:
        message = f"{actor.id} has no outbox"
        raise BadActor(message)
    limit = settings.document_bytes
    answer = await client.get(actor.outbox, Kind.ACTIVITY, limit, as_actor)
    return parse(answer.body, limit), actor.outbox


def read_told(document: JsonObject, feed_id: Url, outbox: Url) -> Told:
    """Return what an outbox tells; raises as `parse_outbox` does."""
    head = parse_outbox(document, feed_id, outbox)
    if head is None:
        return Told(None)
    volume = head.volume
    return Told(
        head,
        volume.rows if "rows" in document else None,
        volume.week_rows if "weekRows" in document else None,
        volume.labels if "labels" in document else None,
        tuple(one.id for one in volume.pipelines) if "pipelines" in document else None,
        volume.sealed if "sealed" in document else None,
    )
