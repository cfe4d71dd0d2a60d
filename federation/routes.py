"""The routes of federation for aiohttp: each handler reads, asks one part and answers.

Decides bodies, headers and how errors look: RFC 9457 problems with the safe text alone. Every
404 of pages and attestations is the same to the byte, with `Cache-Control: private, no-store`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import HttpVersion11

from federation.actors.discovery import Discovery
from federation.addresses import INSTANCE_NAME
from federation.documents import Documents
from federation.errors import (
    BadRequest,
    FederationError,
    Gone,
    NotFound,
    TooLarge,
    TooManyRequests,
    TooSlow,
    WrongContentType,
)
from federation.outbound import media
from federation.publishing.answering import Question
from federation.publishing.library import Served
from federation.receiving.inbox import Inbox
from federation.signing.request import Request
from federation.wire.strictjson import JsonObject, to_bytes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PRIVATE = {"Cache-Control": "private, no-store"}
MAX_PACKED = 32
"""How many times larger an activity may be than the packed body that it came in."""


class Routes:
    """Joins the documents and the inbox to URLs."""

    def __init__(
        self,
        documents: Documents,
        inbox: Inbox,
        discovery: Discovery,
        activity_bytes: int,
        body_seconds: float,
    ) -> None:
        self._documents = documents
        self._inbox = inbox
        self._discovery = discovery
        self._activity_bytes = activity_bytes
        self._body_seconds = body_seconds

    def table(self) -> list[web.RouteDef]:
        """Return every route of federation."""
        gets: dict[str, Handler] = {
            **self._discovery.handlers(),
            f"/{INSTANCE_NAME}/outbox": self.outbox,
            f"/{INSTANCE_NAME}/followers": self.followers,
            "/feeds/{name}/outbox": self.outbox,
            "/feeds/{name}/followers": self.followers,
            "/feeds/{name}/snapshot": self.manifest,
            "/feeds/{name}/snapshot/{place}/{part}": self.part,
            "/feeds/{name}/{epoch}/pages/{page}": self.page,
            "/attestations/{name}": self.attestation,
            "/attestations/{name}/{seq}": self.attestation,
        }
        posts = ("/inbox", f"/{INSTANCE_NAME}/inbox", "/feeds/{name}/inbox")
        return [
            *(
                web.get(path, _answered(handler), expect_handler=_expect)
                for path, handler in gets.items()
            ),
            *(web.post(path, _answered(self.inbox), expect_handler=_expect) for path in posts),
        ]

    async def outbox(self, request: web.Request) -> web.Response:
        """Answer how many pages a feed has."""
        return _json(await self._documents.outbox(_name(request)))

    async def followers(self, request: web.Request) -> web.Response:
        """Answer how many followers a feed has."""
        return _json(await self._documents.followers(_name(request)))

    async def page(self, request: web.Request) -> web.Response:
        """Answer an approved follower with a signed page, or several merged."""
        where = request.match_info
        found = await self._documents.page(
            _signable(request), where["name"], where["epoch"], where["page"]
        )
        if isinstance(found, Served):
            return _served(found)
        return web.Response(status=303, headers={"Location": found, **PRIVATE})

    async def manifest(self, request: web.Request) -> web.Response:
        """Answer an approved follower with the manifest of the newest snapshot."""
        name = request.match_info["name"]
        return _served(await self._documents.manifest(_signable(request), name))

    async def part(self, request: web.Request) -> web.Response:
        """Answer an approved follower with a part of a snapshot."""
        where = request.match_info
        found = await self._documents.part(
            _signable(request), where["name"], where["place"], where["part"]
        )
        return _served(found)

    async def attestation(self, request: web.Request) -> web.Response:
        """Answer an approved follower with what a feed says of one picture."""
        where, query = request.match_info, request.query
        question = Question(where.get("seq"), query.get("epoch"), query.get("sha256"))
        document = await self._documents.attestation(_signable(request), where["name"], question)
        return _json(document, headers=PRIVATE)

    async def inbox(self, request: web.Request) -> web.Response:
        """Take down an activity: 202, or the reason why not."""
        if "name" in request.match_info:
            self._documents.actor(request.match_info["name"])
        with self._inbox.counted():
            await self._take(request)
        return web.Response(status=202)

    async def _take(self, request: web.Request) -> None:
        if not media.fits(media.Kind.ACTIVITY, request.headers.get("Content-Type")):
            raise WrongContentType("an activity comes as application/activity+json")
        if (request.content_length or 0) > self._activity_bytes:
            raise TooLarge(f"an activity has at most {self._activity_bytes} bytes")
        forwarded = request.headers.getall("X-Forwarded-For", ())
        network = self._inbox.network_of(request.remote, forwarded)
        with self._inbox.bodies.taken(network):
            body = await self._body(request)
            await self._inbox.receive(_signable(request, body), network)

    async def _body(self, request: web.Request) -> bytes:
        """Read the body within its time; one that breaks off or cannot be unpacked is malformed."""
        try:
            async with asyncio.timeout(self._body_seconds):
                return await self._read(request)
        except TimeoutError:
            message = f"no full body within {self._body_seconds} s"
            raise TooSlow(message) from None
        except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
            raise BadRequest("the body cannot be read") from error

    async def _read(self, request: web.Request) -> bytes:
        """Read the body, at most the limit, counted after decompression."""
        body = bytearray()
        async for chunk in request.content.iter_chunked(65_536):
            body += chunk
            if len(body) > self._activity_bytes:
                message = f"an activity has at most {self._activity_bytes} bytes"
                raise TooLarge(message)
        packed = request.content.total_compressed_bytes if body else None
        if packed is not None and len(body) > MAX_PACKED * packed:
            message = f"{packed} bytes become {len(body)}"
            raise TooLarge(message)
        return bytes(body)


def _answered(handler: Handler) -> Handler:
    """Turn a `FederationError` into a problem document that tells no more than is safe."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except FederationError as error:
            return _problem(error)

    return answer


async def _expect(request: web.Request) -> None:
    """Take `100-continue` and pass over anything else (RFC 9110, section 10.1.1)."""
    if request.version == HttpVersion11 and request.headers["Expect"].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _problem(error: FederationError) -> web.Response:
    headers = PRIVATE if isinstance(error, NotFound | Gone) else {}
    if isinstance(error, TooManyRequests):
        headers = {"Retry-After": str(error.retry_seconds)}
    document = {"type": "about:blank", "title": error.public, "status": error.status}
    body = to_bytes(document)
    return web.Response(
        status=error.status, body=body, content_type="application/problem+json", headers=headers
    )


def _json(
    document: JsonObject,
    content_type: str = media.ACTIVITY,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    body = to_bytes(document)
    return web.Response(body=body, content_type=content_type, headers=headers)


def _served(document: Served) -> web.Response:
    headers = {**PRIVATE, "Vary": "Accept-Encoding"}
    if document.zipped:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=document.body, content_type=media.ACTIVITY, headers=headers)


def _name(request: web.Request) -> str:
    return request.match_info.get("name", INSTANCE_NAME)


def _signable(request: web.Request, body: bytes = b"") -> Request:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
    ]
    return Request(request.method, request.raw_path, headers, body)
