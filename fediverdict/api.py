"""The HTTP API: scan a picture, look fingerprints up, and say that all is well.

Bearer tokens with scopes; JSON out; errors are problem details. Distances are shown to tokens
with the scope `admin` only: they would be an oracle for whoever wants to evade a match.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from aiohttp import BodyPartReader, hdrs, web

from cache.database import Store
from cache.tokens import Scope, Token, check_token
from cache.verdict import Decision
from fediverdict.answers import answer_json
from fediverdict.config import Config, Share
from fediverdict.judge import Answer, Judge
from fediverdict.problems import Problem

T = TypeVar("T")

CHUNK_BYTES = 65_536
HASH_BYTES = 32


@dataclass(frozen=True)
class LookupItem:
    """Fingerprints of one picture as a client gives them; fits FingerprintLike."""

    sha256: bytes
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    phash: bytes | None = None


class Api:
    """The handlers, given the parts they use."""

    def __init__(self, config: Config, store: Store, judge: Judge) -> None:
        self._config, self._store, self._judge = config, store, judge
        self._places = asyncio.Semaphore(config.http.concurrent_scans)
        self._reading: set[asyncio.Timeout] = set()
        self._stopping = False

    async def stop(self, _app: web.Application) -> None:
        """Refuse bodies from now on, and let go of those that are being read.

        aiohttp takes no more of them once it shuts down, and would wait a minute for the rest.
        """
        self._stopping = True
        for body in self._reading:
            if not body.expired():
                body.reschedule(asyncio.get_running_loop().time())

    def routes(self) -> list[web.RouteDef]:
        """Return every route of the API."""
        return [
            web.post("/api/v1/scan", self.scan),
            web.post("/api/v1/lookup", self.lookup),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
        ]

    async def scan(self, request: web.Request) -> web.Response:
        """Judge one picture, given as the raw body or as the multipart field `file`."""
        token = await self._allowed(request, Scope.SCAN)
        async with self._places:
            data, name = await self._body(request, _picture, self._config.limits.image_bytes)
            if data is None:
                limit = f"The picture is over {self._config.limits.image_bytes} bytes."
                return web.json_response(answer_json(Answer(Decision.OVER_LIMIT, limit)))
            answer = await self._judge.judge(data, self._share(request), name=name)
        return web.json_response(answer_json(answer, show_distance=Scope.ADMIN in token.scopes))

    def _share(self, request: web.Request) -> Share:
        """Return whether the verdict may be published: always, never, or for public pictures."""
        if self._config.api.share == "public":
            return "all" if request.query.get("public") == "1" else "off"
        return self._config.api.share

    async def lookup(self, request: web.Request) -> web.Response:
        """Decide on fingerprints, without a picture and without a scan."""
        token = await self._allowed(request, Scope.LOOKUP)
        body = await self._body(request, _json, self._config.http.lookup_bytes)
        items = _items(body)
        if len(items) > self._config.http.lookup_items:
            raise Problem(413, f"At most {self._config.http.lookup_items} items a call.")
        shown, decisions = Scope.ADMIN in token.scopes, []
        for item in items:
            look = replace(await self._judge.look_up(item), fingerprint=item)
            decisions.append(answer_json(look.answer(), show_distance=shown))
            await asyncio.sleep(0)  # let others in: on SQLite a look-up runs in the loop
        return web.json_response({"decisions": decisions})

    async def healthz(self, _request: web.Request) -> web.Response:
        """Say that the process answers."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Say whether pictures can be judged: ready, loading the model, or failed to load it."""
        state = self._judge.scanner.state if self._judge.scanner else "ready"
        return web.json_response({"status": state}, status=200 if state == "ready" else 503)

    async def _body(
        self, request: web.Request, read: Callable[[web.Request, int], Awaitable[T]], limit: int
    ) -> T:
        """Read a body within the time there is; a compressed one may be cut short unnoticed."""
        if hdrs.CONTENT_ENCODING in request.headers:
            raise Problem(415, "Send the body as it is, without Content-Encoding.")
        seconds = 0.0 if self._stopping else self._config.http.body_seconds
        try:
            async with asyncio.timeout(seconds) as body:
                self._reading.add(body)
                try:
                    return await read(request, limit)
                finally:
                    self._reading.discard(body)
        except TimeoutError as error:
            if self._stopping:
                raise Problem(503, "The server is stopping; send it again.") from error
            raise Problem(408, f"The body took more than {seconds:g} seconds.") from error

    async def _allowed(self, request: web.Request, scope: Scope) -> Token:
        kind, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        token = None
        if kind.lower() == "bearer" and value:
            token = await self._store.read(check_token, value.strip())
        if token is None:
            raise Problem(401, "A bearer token is needed; see `fediverdict tokens create`.")
        if scope not in token.scopes:
            raise Problem(403, f"This token has not the scope {scope}.")
        return token


async def _picture(request: web.Request, limit: int) -> tuple[bytes | None, str | None]:
    """Return the picture's bytes, None when there are more than `limit`, and what it claims to be.

    The claim is a media type or a file name, None where neither tells of a picture.
    """
    if request.content_type != "multipart/form-data":
        name = _media_type(request.headers)
        return await _read(request.content.iter_chunked(CHUNK_BYTES), limit), name
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                name = _media_type(part.headers) or part.filename
                return await _read(_chunks(part), limit), name
    except (ValueError, AssertionError, RecursionError) as error:
        raise Problem(400, "The multipart body is broken.") from error
    raise Problem(400, "The multipart body has no field `file`.")


def _media_type(headers: Mapping[str, str]) -> str | None:
    told = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    return told if told.startswith(("image/", "video/")) else None


async def _read(chunks: Any, limit: int) -> bytes | None:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


async def _chunks(part: BodyPartReader) -> Any:
    while chunk := await part.read_chunk(CHUNK_BYTES):
        yield chunk


async def _json(request: web.Request, limit: int) -> Any:
    data = await _read(request.content.iter_chunked(CHUNK_BYTES), limit)
    if data is None:
        raise Problem(413, f"The body is over {limit} bytes.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "The body is not JSON.") from error


def _items(body: Any) -> list[LookupItem]:
    items = body.get("items") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise Problem(400, 'The body must be {"items": [...]}.')
    return [_item(item) for item in items]


def _item(item: Any) -> LookupItem:
    known = {"sha256", "content", "pdq", "pdq_quality"}
    if not isinstance(item, dict) or not item or set(item) - known:
        raise Problem(400, f"An item is an object with some of {', '.join(sorted(known))}.")
    quality = item.get("pdq_quality")
    if quality is not None and (type(quality) is not int or not 0 <= quality <= 100):
        raise Problem(400, "pdq_quality is an integer 0..100.")
    return LookupItem(
        sha256=_hash(item, "sha256") or b"",
        content=_hash(item, "content"),
        pdq=_hash(item, "pdq"),
        pdq_quality=quality,
    )


def _hash(item: Mapping[str, Any], name: str) -> bytes | None:
    text = item.get(name)
    if text is None:
        return None
    try:
        value = bytes.fromhex(text) if len(text) == 2 * HASH_BYTES else _base64url(text)
    except (TypeError, ValueError, binascii.Error) as error:
        raise Problem(400, f"{name} is 32 bytes in hex or base64url.") from error
    if len(value) != HASH_BYTES:
        raise Problem(400, f"{name} is 32 bytes in hex or base64url.")
    return value


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
