"""The HTTP API: scan a picture, look fingerprints up, and say that all is well.

Bearer tokens with scopes; JSON out; errors are problem details. Distances are shown to tokens
with the scope `admin` only: they would be an oracle for whoever wants to evade a match.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from aiohttp import BodyPartReader, hdrs, web

from cache.storage.database import Store
from cache.storage.rows import batches
from cache.storage.tokens import Scope, Token, check_token
from cache.verdict import Decision
from federation.errors import FederationError
from federation.origin import Origin, netloc_of, parse_origin
from fediverdict.answers import answer_json
from fediverdict.config import Config, Share, peers_of_hosts
from fediverdict.jobs import Job, Jobs
from fediverdict.judge import LOOK_BATCH, Answer, Judge
from fediverdict.places import ByteRoom, Places
from fediverdict.problems import Problem

T = TypeVar("T")

CHUNK_BYTES = 65_536
HASH_BYTES = 32
MAX_WAIT_SECONDS = 600


@dataclass(frozen=True)
class LookupItem:
    """Fingerprints of one picture as a client gives them; fits FingerprintLike."""

    sha256: bytes
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    phash: bytes | None = None


@dataclass(frozen=True, slots=True)
class ScanCall:
    """What a client asks of a scan: who it is, and what the query says."""

    token: Token
    share: Share
    origin: Origin | None = None
    background: bool = False
    wait_seconds: float | None = None  # None: as long as it takes

    @property
    def shows_distance(self) -> bool:
        """Whether the token may see distances."""
        return Scope.ADMIN in self.token.scopes


class Api:
    """The handlers, given the parts they use."""

    def __init__(self, config: Config, store: Store, judge: Judge) -> None:
        self._config, self._store, self._judge = config, store, judge
        http, self._peers_of_hosts = config.http, peers_of_hosts(config)
        self._places = Places(http.concurrent_scans, http.waiting_scans)
        self._background = ByteRoom(http.background_bytes)
        self._jobs = Jobs(http.jobs, http.job_seconds)
        self._reading: set[asyncio.Timeout] = set()
        self._stopping = False

    async def stop(self, _app: web.Application) -> None:
        """Refuse bodies from now on, and let go of those that are being read.

        aiohttp takes no more of them once it shuts down, and would wait a minute for the rest.
        """
        self._stopping = True
        self._judge.stop_waiting()
        for body in self._reading:
            if not body.expired():
                body.reschedule(asyncio.get_running_loop().time())

    async def close(self, _app: web.Application) -> None:
        """Let go of the jobs that nobody can fetch any more."""
        await self._jobs.close()

    def routes(self) -> list[web.RouteDef]:
        """Return every route of the API."""
        return [
            web.post("/api/v1/scan", self.scan),
            web.get("/api/v1/jobs/{id}", self.job),
            web.post("/api/v1/lookup", self.lookup),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
        ]

    async def scan(self, request: web.Request) -> web.Response:
        """Judge one picture, given as the raw body or as the multipart field `file`."""
        token = await self._allowed(request, Scope.SCAN)
        call = self._call(request, token)
        ends = _ends(call.wait_seconds)
        async with AsyncExitStack() as place:
            await place.enter_async_context(self._places.take())
            data, name = await self._body(request, _picture, self._config.limits.image_bytes)
            if data is None:
                limit = f"The picture is over {self._config.limits.image_bytes} bytes."
                return web.json_response(answer_json(Answer(Decision.OVER_LIMIT, limit)))
            if ends is None:
                return _answered(await self._judged(call, data, name, place), call)
            job = self._jobs.start(
                token.name, lambda: self._judged(call, data, name, place.pop_all())
            )
        return await self._in_time(job, call, ends)

    async def job(self, request: web.Request) -> web.Response:
        """Answer for a picture that took longer than its sender would wait."""
        token = await self._allowed(request, Scope.SCAN)
        job = self._jobs.find(request.match_info["id"], token.name)
        if job is None:
            raise Problem(404, "There is no such job, or no more; send the picture again.")
        if not job.task.done():
            return _later(job)
        return _answered(job.task.result(), ScanCall(token, "off"))

    async def _in_time(self, job: Job, call: ScanCall, ends: float) -> web.Response:
        """Answer when the job ends, or with its URL when the time is up."""
        left = max(0.0, ends - asyncio.get_running_loop().time())
        await asyncio.wait([job.task], timeout=left)
        if not job.task.done():
            return _later(job)
        self._jobs.forget(job)
        return _answered(job.task.result(), call)

    async def _judged(
        self, call: ScanCall, data: bytes, name: str | None, place: AsyncExitStack
    ) -> Answer:
        """Judge a picture in the place that is held for it; one that waits for a page holds none.

        Past the bytes that may wait so, it is judged without waiting.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(place)
            origin = call.origin
            if call.background and origin is not None and self._background.has(len(data)):
                held.enter_context(self._background.hold(len(data)))
                await place.aclose()
                await self._judge.ask_origin(data, origin, background=True)
                await held.enter_async_context(self._places.take(first=True))
                origin = None
            return await self._judge.judge(
                data,
                call.share,
                name=name,
                origin=origin,
                hasty=self._config.decide.fast_clean,
            )

    def _call(self, request: web.Request, token: Token) -> ScanCall:
        query = request.query
        return ScanCall(
            token,
            self._share(request),
            self._origin(query.get("origin")),
            background=_flag(query, "background"),
            wait_seconds=_seconds(query.get("wait")),
        )

    def _origin(self, text: str | None) -> Origin | None:
        """Return who judges the pictures of the host that one came from: itself, or a peer."""
        if text is None:
            return None
        try:
            http = self._config.federation.allow_private_addresses
            origin = parse_origin(text, allow_http=http)
        except FederationError as error:
            raise Problem(400, "origin is https://HOST, without path or user.") from error
        return self._peers_of_hosts.get(netloc_of(origin), origin)

    def _share(self, request: web.Request) -> Share:
        """Return whether the verdict may be published: always, never, or for public pictures."""
        if self._config.api.share == "public":
            return "all" if _flag(request.query, "public") else "off"
        return self._config.api.share

    async def lookup(self, request: web.Request) -> web.Response:
        """Decide on fingerprints, without a picture and without a scan."""
        token = await self._allowed(request, Scope.LOOKUP)
        body = await self._body(request, _json, self._config.http.lookup_bytes)
        items = _items(body)
        if len(items) > self._config.http.lookup_items:
            raise Problem(413, f"At most {self._config.http.lookup_items} items a call.")
        shown, decisions = Scope.ADMIN in token.scopes, []
        for some in batches(items, LOOK_BATCH):
            looks = await self._judge.look_up_many(some)
            decisions += [
                answer_json(replace(look, fingerprint=item).answer(), show_distance=shown)
                for item, look in zip(some, looks, strict=True)
            ]
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


def _answered(answer: Answer, call: ScanCall) -> web.Response:
    return web.json_response(answer_json(answer, show_distance=call.shows_distance))


def _later(job: Job) -> web.Response:
    url = f"/api/v1/jobs/{job.id}"
    headers = {hdrs.LOCATION: url, hdrs.RETRY_AFTER: "1"}
    return web.json_response({"job": url}, status=202, headers=headers)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 4 or int(text) > MAX_WAIT_SECONDS:
        raise Problem(400, f"wait is a number of seconds, 0..{MAX_WAIT_SECONDS}.")
    return float(text)


def _ends(seconds: float | None) -> float | None:
    return None if seconds is None else asyncio.get_running_loop().time() + seconds


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Return a switch of the query: 1 is on, 0 or nothing is off, anything else a fault."""
    if (text := query.get(name, "0")) not in ("0", "1"):
        raise Problem(400, f"{name} is 1 or 0.")
    return text == "1"


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
