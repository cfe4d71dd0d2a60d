"""WebFinger (RFC 7033): from a handle to an actor, and back.

Decides which resources are ours and whether a peer's answer and its actor agree. A handle's
host is the host of the actor's id: delegation to another host is not taken, so both directions
agree by looking at two documents.
"""

import string
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from federation import addresses
from federation.actors.remote_actor import RemoteActor
from federation.context import ACTIVITYSTREAMS
from federation.errors import BadHandle, BadRequest, NotFound, WrongOrigin
from federation.origin import Origin, Url, exact_url, netloc_of, origin_of, parse_origin
from federation.outbound import media
from federation.wire.strictjson import JsonObject

ACTIVITY_TYPES: Final = (
    media.ACTIVITY,
    f'application/ld+json; profile="{ACTIVITYSTREAMS}"',
)
INSTANCE_REL: Final = f"{ACTIVITYSTREAMS}#Application"  # FEP-2677, FEP-d556
MAX_HANDLE_CHARACTERS: Final = 320
_NAME_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + "_-.")


@dataclass(frozen=True, slots=True)
class Handle:
    """`name@host[:port]`."""

    name: str
    origin: Origin

    def __str__(self) -> str:
        return f"{self.name}@{netloc_of(self.origin)}"


def parse_handle(text: str, *, allow_http: bool = False) -> Handle:
    """Read `name@host[:port]`, with or without a leading `@` or `acct:`; else `BadHandle`.

    With `allow_http` the host is asked over http when it is loopback or names a port.
    """
    name, at, host = text.strip().removeprefix("acct:").removeprefix("@").partition("@")
    if not at or not name or not _NAME_CHARACTERS.issuperset(name):
        raise BadHandle("a handle looks like clean@example.com")
    if len(text) > MAX_HANDLE_CHARACTERS or set("/?#") & set(host):
        raise BadHandle("a handle looks like clean@example.com")
    scheme = "http" if allow_http and _is_local(host) else "https"
    try:
        return Handle(name, parse_origin(f"{scheme}://{host}", allow_http=allow_http))
    except BadRequest as error:
        raise BadHandle("a handle looks like clean@example.com") from error


def webfinger_url(handle: Handle) -> Url:
    """Return where to ask for `handle`."""
    resource = quote(f"acct:{handle}", safe="")
    return Url(f"{handle.origin}/.well-known/webfinger?resource={resource}")


def build_webfinger(resource: str, base: Origin) -> JsonObject:
    """Answer for one of our actors, named by `acct:`, by its id or (the instance) by the origin.

    Raises `NotFound` for everything else.
    """
    name = _own_name(resource, base)
    url = addresses.actor_url(base, name) if name else None
    if name is None or url is None:
        raise NotFound("no actor of this instance is called so")
    links: list[dict[str, Any]] = [{"rel": "self", "type": media.ACTIVITY, "href": url}]
    if name == addresses.INSTANCE_NAME:
        links.append({"rel": INSTANCE_REL, "type": media.ACTIVITY, "href": url})
    subject = base if resource in (base, base + "/") else f"acct:{name}@{netloc_of(base)}"
    return {"subject": subject, "aliases": [url], "links": links}


def parse_webfinger(document: JsonObject, handle: Handle, *, allow_http: bool = False) -> Url:
    """Return the actor's id that a peer gives for `handle`, on the handle's own origin."""
    if document.get("subject") != f"acct:{handle}":
        raise BadHandle(f"the peer does not answer for {handle} but for another")
    links = document.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and _is_actor_link(link):
            return _on_origin(exact_url(link.get("href"), allow_http=allow_http), handle)
    raise BadHandle(f"the peer knows no actor called {handle}")


def check_agrees(handle: Handle, actor: RemoteActor) -> None:
    """Check that the actor calls itself by the handle that led to it; else `BadHandle`."""
    if actor.name != handle.name or actor.origin != handle.origin:
        raise BadHandle(f"{actor.id} does not call itself {handle}")


def _on_origin(url: Url, handle: Handle) -> Url:
    if origin_of(url) != handle.origin:
        raise WrongOrigin(f"the actor of {handle} is on another origin, {origin_of(url)}")
    return url


def _own_name(resource: str, base: Origin) -> str | None:
    if resource in (base, base + "/"):
        return addresses.INSTANCE_NAME
    if resource.startswith("acct:"):
        name, _, host = resource.removeprefix("acct:").partition("@")
        return name if host.lower() == netloc_of(base) else None
    names = (addresses.INSTANCE_NAME, *addresses.FEEDS)
    return next((name for name in names if addresses.actor_url(base, name) == resource), None)


def _is_actor_link(link: JsonObject) -> bool:
    return link.get("rel") == "self" and link.get("type") in ACTIVITY_TYPES


def _is_local(host: str) -> bool:
    return ":" in host or host in ("localhost", "127.0.0.1")
