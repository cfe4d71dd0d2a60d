"""What a feed says of itself before we follow it: its actor, and the counts of its public outbox.

Decides nothing; it reads. What is told beside the head (rows, labels, pipelines) is for a person
to look at and believed by nobody: pages prove themselves. A member that is missing or malformed
counts as not told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from federation.actors.actors import Actors
from federation.actors.discover import FoundFeed, find_feed
from federation.actors.remote_actor import RemoteActor
from federation.client import Client
from federation.context import LABEL_PREFIX
from federation.errors import BadActor, FederationError
from federation.origin import Url
from federation.outbound.media import Kind
from federation.settings import FederationSettings
from federation.wire.outbox import OutboxHead, parse_outbox
from federation.wire.page_tables import MAX_PIPELINES, parse_labels
from federation.wire.pipeline import parse_pipeline
from federation.wire.strictjson import MAX_INTEGER, JsonObject, parse
from federation.wire.times import from_rfc3339

T = TypeVar("T")
_HEX: Final = frozenset("0123456789abcdef")
_ID_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """What an outbox tells; None for what it does not."""

    head: OutboxHead | None  # None: nothing was ever sealed
    rows: int | None = None  # that stand now
    week_rows: int | None = None  # sealed in the last seven days
    labels: tuple[str, ...] | None = None
    pipelines: tuple[str, ...] | None = None  # their ids
    sealed: int | None = None  # when the last page was, in epoch seconds
    merged_through: int | None = None  # the last page that is served merged too
    has_snapshot: bool | None = None


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
    return Told(
        parse_outbox(document, feed_id, outbox),
        _told(_count, document.get("rows")),
        _told(_count, document.get("weekRows")),
        _told(_labels, document.get("labels")),
        _told(_pipelines, document.get("pipelines")),
        _told(_time, document.get("sealed")),
        _told(_count, document.get("mergedThrough")),
        _told(bool, document.get("snapshot")),
    )


def _told(read: Callable[[Any], T], value: object) -> T | None:
    if value is None:
        return None
    try:
        return read(value)
    except (FederationError, ValueError):
        return None


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        message = "not a count"
        raise ValueError(message)
    return value


def _labels(value: object) -> tuple[str, ...]:
    """Read labels, with or without their prefix."""
    items = value if isinstance(value, list) else [value]
    names = [str(one).removeprefix(LABEL_PREFIX) for one in items]
    return parse_labels([LABEL_PREFIX + name for name in names])


def _pipelines(value: object) -> tuple[str, ...]:
    """Read pipelines, described or named by their ids."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_PIPELINES:
        message = "too many pipelines"
        raise ValueError(message)
    return tuple(_pipeline(one) for one in items)


def _pipeline(value: object) -> str:
    if isinstance(value, str) and len(value) == _ID_CHARACTERS and set(value) <= _HEX:
        return value
    return parse_pipeline(value).id


def _time(value: object) -> int:
    return from_rfc3339(value) if isinstance(value, str) else _count(value)
