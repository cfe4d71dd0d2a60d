"""NodeInfo 2.1: what software an instance runs, and where its instance actor is (FEP-2677)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cache.rules import parse
from federation import addresses
from federation.actors.webfinger import INSTANCE_REL
from federation.context import LABEL_PREFIX
from federation.errors import BadRequest, WrongOrigin
from federation.origin import Origin, Url, exact_url, origin_of
from federation.standards import FEPS, HTTP_SCHEMES
from federation.wire.page_head import WIRE
from federation.wire.strictjson import JsonObject

SCHEMA: Final = "http://nodeinfo.diaspora.software/ns/schema/2.1"
SOFTWARE: Final = "fediverdict"
PATH: Final = "/nodeinfo/2.1"
MAX_LINKS: Final = 32
MAX_TEXT_CHARACTERS: Final = 256


@dataclass(frozen=True, slots=True)
class NodeInfoLinks:
    """Where a peer's NodeInfo and its instance actor are."""

    nodeinfo: Url | None
    instance: Url | None


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a peer says of its software."""

    software: str
    version: str


def build_links(base: Origin) -> JsonObject:
    """Return `/.well-known/nodeinfo`."""
    return {
        "links": [
            {"rel": SCHEMA, "href": f"{base}{PATH}"},
            {"rel": INSTANCE_REL, "href": addresses.instance_url(base)},
        ]
    }


def build_nodeinfo(
    base: Origin, version: str, rules: Mapping[str, str] | None = None
) -> JsonObject:
    """Return `/nodeinfo/2.1`; it counts nobody, and its metadata says what is implemented here.

    `rules` are name -> expression; only the labels that they speak of are told.
    """
    feeds = {name: addresses.feed_url(base, feed) for name, feed in addresses.FEEDS.items()}
    return {
        "version": "2.1",
        "software": {"name": SOFTWARE, "version": version},
        "protocols": ["activitypub"],
        "services": {"inbound": [], "outbound": []},
        "openRegistrations": False,
        "usage": {"users": {}},
        "metadata": {
            "feeds": feeds,
            "wire": WIRE,
            "labels": [LABEL_PREFIX + label for label in _labels(rules or {})],
            "feps": [standard.name for standard in FEPS],
            "httpSignatures": list(HTTP_SCHEMES),
        },
    }


def parse_links(document: JsonObject, origin: Origin, *, allow_http: bool = False) -> NodeInfoLinks:
    """Return a peer's links, which must stay on its own origin."""
    links = document.get("links")
    if not isinstance(links, list) or len(links) > MAX_LINKS:
        raise BadRequest(f"NodeInfo has no links, or more than {MAX_LINKS}")
    found = {
        link["rel"]: link.get("href")
        for link in links
        if isinstance(link, dict) and isinstance(link.get("rel"), str)
    }
    return NodeInfoLinks(
        _link(found.get(SCHEMA), origin, allow_http),
        _link(found.get(INSTANCE_REL), origin, allow_http),
    )


def parse_nodeinfo(document: JsonObject) -> NodeInfo:
    """Return name and version of a peer's software."""
    software = document.get("software")
    if not isinstance(software, dict):
        raise BadRequest("NodeInfo names no software")
    name, version = software.get("name"), software.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        raise BadRequest("NodeInfo does not name its software and version")
    return NodeInfo(name[:MAX_TEXT_CHARACTERS], version[:MAX_TEXT_CHARACTERS])


def _labels(rules: Mapping[str, str]) -> list[str]:
    """Return the labels that the rules speak of: what pictures are judged by here."""
    return sorted(frozenset[str]().union(*(parse(text).labels for text in rules.values())))


def _link(href: object, origin: Origin, allow_http: bool) -> Url | None:
    if href is None:
        return None
    url = exact_url(href, allow_http=allow_http)
    if origin_of(url) != origin:
        raise WrongOrigin("NodeInfo links to another origin")
    return url
