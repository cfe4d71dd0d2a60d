"""What anybody may fetch without signing: our actors, WebFinger, NodeInfo, host-meta.

Decides content types and how long an answer may be kept. Everything here may be read from any
web page (`Access-Control-Allow-Origin`). An actor's document is asked for again each time, at the
price of a 304: who was told of a new key must not be given the old one by a cache.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from federation.actors import hostmeta, nodeinfo, webfinger
from federation.actors.retiring import gone
from federation.addresses import FEEDS, INSTANCE_NAME
from federation.errors import BadRequest, NotFound
from federation.instance import Instance
from federation.outbound import media
from federation.wire.strictjson import to_bytes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NODEINFO_TYPE: Final = f'application/json; profile="{nodeinfo.SCHEMA}#"'
KEPT: Final = "public, max-age=600"
ASKED_AGAIN: Final = "public, no-cache"
MAX_RELS: Final = 16
"""`rel` parameters that one question of WebFinger may have."""


class Discovery:
    """Answers what is public of this instance; `rules` are name -> expression.

    `refresh` brings the instance's keys up to date, before an actor is shown.
    """

    def __init__(
        self,
        instance: Instance,
        version: str,
        rules: Mapping[str, str],
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        self._instance = instance
        self._refresh = refresh
        base = instance.base
        self._nodeinfo = nodeinfo.build_nodeinfo(base, version, rules)
        self._links = nodeinfo.build_links(base)

    def handlers(self) -> dict[str, Handler]:
        """Return what answers a GET, by path."""
        return {
            "/.well-known/webfinger": self.webfinger,
            "/.well-known/host-meta": self.host_meta,
            "/.well-known/host-meta.json": self.host_meta_json,
            "/.well-known/nodeinfo": self.nodeinfo_links,
            nodeinfo.PATH: self.nodeinfo,
            f"/{INSTANCE_NAME}": self.actor,
            "/feeds/{name}": self.actor,
        }

    async def actor(self, request: web.Request) -> web.Response:
        """Answer with an actor document."""
        name = request.match_info.get("name", INSTANCE_NAME)
        if name != INSTANCE_NAME and name not in FEEDS:
            raise NotFound("no actor of this instance is called so")
        await self._refresh()
        if self._instance.retired is not None:  # who was told so looks at once, and only once
            return gone(request, self._instance)
        body = to_bytes(self._instance.document(name))
        return _answer(request, body, media.ACTIVITY, ASKED_AGAIN)

    async def webfinger(self, request: web.Request) -> web.Response:
        """Answer which actor a handle names (RFC 7033)."""
        resource, rels = request.query.get("resource"), request.query.getall("rel", [])
        if not resource or len(rels) > MAX_RELS:
            raise BadRequest(f"WebFinger wants a resource, and at most {MAX_RELS} rel")
        document = webfinger.build_webfinger(resource, self._instance.base)
        if rels:  # RFC 7033, section 4.3
            document["links"] = [link for link in document["links"] if link["rel"] in rels]
        return _answer(request, to_bytes(document), media.JRD, KEPT)

    async def nodeinfo_links(self, request: web.Request) -> web.Response:
        """Answer where NodeInfo stands."""
        return _answer(request, to_bytes(self._links), "application/json", KEPT)

    async def nodeinfo(self, request: web.Request) -> web.Response:
        """Answer what software this is."""
        return _answer(request, to_bytes(self._nodeinfo), NODEINFO_TYPE, KEPT)

    async def host_meta(self, request: web.Request) -> web.Response:
        """Answer where WebFinger is, as XML unless only JSON is wanted (RFC 6415, section 3)."""
        if "json" in request.headers.get("Accept", ""):
            return await self.host_meta_json(request)
        body = hostmeta.build_xml(self._instance.base).encode()
        return _answer(request, body, f"{hostmeta.XRD}; charset=utf-8", KEPT)

    async def host_meta_json(self, request: web.Request) -> web.Response:
        """Answer where WebFinger is, as JSON."""
        document = hostmeta.build_json(self._instance.base)
        return _answer(request, to_bytes(document), "application/json", KEPT)


def _answer(request: web.Request, body: bytes, content_type: str, caching: str) -> web.Response:
    """Answer with the body, or with 304 to whoever has it already (RFC 9110, section 13.1.2)."""
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": caching,
        "ETag": f'"{tag}"',
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers | {"Content-Type": content_type})
