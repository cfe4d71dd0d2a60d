"""A pict-rs server in memory: the internal API and the originals, as pict-rs 0.5 answers them.

A slug is the base64 of the hash a page begins with; an unknown one begins at the newest, as
there. `store` adds an original; `tamper` serves other bytes for it, `stall` never answers.
"""

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

FORMATS = {"jpeg": 3, "png": 4}


@dataclass
class Original:
    body: bytes
    aliases: list[str]
    created: datetime
    format: str = "jpeg"
    details: bool = True
    served: bytes | None = None

    @property
    def hash(self):
        size = len(self.body).to_bytes(6, "big")
        return hashlib.sha256(self.body).digest() + size + bytes([FORMATS[self.format]])

    @property
    def slug(self):
        return base64.urlsafe_b64encode(self.hash).decode()


@dataclass
class Pictrs:
    """`url` names it while it runs; `requests` holds every request as `METHOD path?query`."""

    token: str = "the-token"
    originals: list[Original] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    stall: bool = False
    redirect_to: str | None = None
    url: str = ""

    def store(self, body, *aliases, created=None, **named):
        """Add an original; the later, the newer."""
        if created is None:
            latest = max((one.created.timestamp() for one in self.originals), default=1_795e6)
            created = datetime.fromtimestamp(latest + 1, UTC)
        names = list(aliases) or [f"{hashlib.md5(body).hexdigest()}.jpg"]
        self.originals.append(Original(body, names, created, **named))
        return self.originals[-1]

    async def start(self):
        application = web.Application(client_max_size=1)
        application.router.add_get("/internal/hashes", self._internal(self._hashes))
        application.router.add_post("/internal/purge", self._internal(self._purge))
        application.router.add_get("/image/original/{alias}", self._original)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self):
        await self._runner.cleanup()

    async def _note(self, request):
        self.requests.append(f"{request.method} {request.path_qs}")
        self.tokens.append(request.headers.get("X-Api-Token"))
        if self.stall:
            await asyncio.sleep(60)

    def _internal(self, handler):
        async def answer(request):
            await self._note(request)
            if request.headers.get("X-Api-Token") != self.token:
                return web.json_response({"msg": "Invalid API token"}, status=401)
            return handler(request)

        return answer

    def _hashes(self, request):
        return web.json_response(self.page(**request.query))

    def page(self, slug=None, timestamp=None, limit=100):
        """Return the answer to `GET /internal/hashes`."""
        ordered = sorted(self.originals, key=lambda one: (one.created, one.hash), reverse=True)
        limit, start = int(limit), 0
        if timestamp is not None:
            start = sum(one.created > datetime.fromisoformat(timestamp) for one in ordered)
        elif slug is not None:
            slugs = [one.slug for one in ordered]
            start = slugs.index(slug) if slug in slugs else 0
        page = ordered[start : start + limit]
        following = ordered[start + limit : start + limit + 1]
        before = ordered[max(0, start - limit)] if start else None
        answer = {
            "limit": limit,
            "current": page[0].slug if page else None,
            "next": following[0].slug if following else None,
            "prev": before.slug if before else None,
            "hashes": [self._listed(one) for one in page],
        }
        return {"msg": "ok", "page": answer}

    def _listed(self, one):
        details = {
            "width": 8,
            "height": 8,
            "frames": None,
            "content_type": f"image/{one.format}",
            "created_at": one.created.isoformat().replace("+00:00", "Z"),
        }
        return {
            "hex": one.hash.hex(),
            "aliases": one.aliases,
            "details": details if one.details else None,
        }

    def _purge(self, request):
        found = self._find(request.query["alias"])
        if found is None:
            return web.json_response({"msg": "No alias"}, status=404)
        self.originals.remove(found)
        return web.json_response({"msg": "ok", "aliases": found.aliases})

    async def _original(self, request):
        await self._note(request)
        found = self._find(request.match_info["alias"])
        if found is None:
            return web.Response(status=404)
        if self.redirect_to:
            raise web.HTTPTemporaryRedirect(f"{self.redirect_to}{request.path}")
        return web.Response(body=found.body if found.served is None else found.served)

    def _find(self, alias):
        return next((one for one in self.originals if alias in one.aliases), None)
