"""The one outbound client for URLs that strangers chose.

Its law: it connects to public addresses only, judged on the very address the socket will go
to (names and literals alike, so a name that changes its address gains nothing), and never to a
domain that the admin blocked; it never uses a proxy or the environment; it reads at most
`max_bytes` *after* decompression, within `fetch_seconds` in all; it follows at most
`redirects` redirects, each within the same origin; it takes only the content types of
`media.py`. What a document says, and whether it is believed, is left to the callers.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from federation.errors import BlockedAddress, FetchFailed, TooLarge, WrongContentType
from federation.origin import Url, origin_of, parse_url
from federation.outbound import media
from federation.outbound.address import is_public
from federation.outbound.blocking import Blocks
from federation.settings import FederationSettings

Sign = Callable[[str, str, Url, bytes | None], Mapping[str, str]]
"""(actor id, method, url, body or None) -> the headers that sign the request."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document as it came: the URL that answered at last, and the decoded body."""

    url: Url
    body: bytes


@dataclass(frozen=True, slots=True)
class Posted:
    """What an inbox answered: HTTP status, and `Retry-After` in seconds where given."""

    status: int
    retry_after: int | None


class AnsweredWith(FetchFailed):
    """A peer answered with another HTTP status than 200; `code` holds it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """Fetches documents and delivers activities; see the module for its law."""

    def __init__(
        self,
        settings: FederationSettings,
        sign: Sign,
        user_agent: str,
        blocks: Blocks | None = None,
    ) -> None:
        self._settings = settings
        self.blocks = blocks or Blocks(settings.blocked_domains)
        self._sign = sign
        self._session: aiohttp.ClientSession | None = None
        self._headers = {"User-Agent": user_agent}

    async def get(
        self, url: Url, kind: media.Kind, max_bytes: int, as_actor: str | None = None
    ) -> Fetched:
        """Fetch `url`, signed by `as_actor` if given; raises a `FederationError`."""
        async with self._limits(url):
            for _ in range(self._settings.redirects + 1):
                headers = {"Accept": kind.value} | self._signature(as_actor, "GET", url, None)
                async with self._request("GET", url, headers) as answer:
                    if answer.status not in (301, 302, 303, 307, 308):
                        return await _read(answer, url, kind, max_bytes)
                    url = self._redirect(url, answer.headers.get("Location", ""))
        message = f"{url}: more than {self._settings.redirects} redirects"
        raise FetchFailed(message)

    async def post(self, url: Url, body: bytes, as_actor: str) -> Posted:
        """Deliver an activity, signed by `as_actor`; redirects are an answer, never followed."""
        headers = {"Content-Type": media.ACTIVITY}
        headers |= self._signature(as_actor, "POST", url, body)
        async with self._limits(url), self._request("POST", url, headers, body) as answer:
            return Posted(answer.status, _seconds(answer.headers.get("Retry-After")))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _signature(
        self, actor: str | None, method: str, url: Url, body: bytes | None
    ) -> dict[str, str]:
        return {} if actor is None else dict(self._sign(actor, method, url, body))

    @asynccontextmanager
    async def _limits(self, url: Url) -> AsyncIterator[None]:
        """Bound the whole exchange in time, and name every failure of the network."""
        try:
            async with asyncio.timeout(self._settings.fetch_seconds):
                yield
        except TimeoutError:
            message = f"{url}: no full answer within {self._settings.fetch_seconds} s"
            raise FetchFailed(message) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(getattr(error, "os_error", None), _AddressError):
                message = f"{url} leads to an address that is not a public host"
                raise BlockedAddress(message) from error
            message = f"{url}: {error or type(error).__name__}"
            raise FetchFailed(message) from error

    @asynccontextmanager
    async def _request(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        self._check_scheme(url)
        await self.blocks.refuse(url)
        async with self._open().request(
            method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
        ) as answer:
            yield answer

    def _check_scheme(self, url: Url) -> None:
        if not url.startswith("https://") and not self._settings.allow_private_addresses:
            message = f"{url} is not an https URL"
            raise BlockedAddress(message)

    def _redirect(self, url: Url, location: str) -> Url:
        joined = str(URL(url, encoded=True).join(URL(location)))
        target = parse_url(joined, allow_http=self._settings.allow_private_addresses)
        if not location or origin_of(target) != origin_of(url):
            message = f"{url} redirects to another origin"
            raise FetchFailed(message)
        return target

    def _open(self) -> aiohttp.ClientSession:
        """Make the session at first use, inside the running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._settings.connections,
                limit_per_host=self._settings.connections_per_host,
                socket_factory=None if self._settings.allow_private_addresses else _guarded,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session


class _AddressError(OSError):
    """The socket would go to an address that is not public."""


def _guarded(info: tuple[Any, ...]) -> socket.socket:
    """Make the socket for one `getaddrinfo` row, unless its address is not public."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        message = "not a public address"
        raise _AddressError(message)
    return socket.socket(family=family, type=kind, proto=protocol)


async def _read(
    answer: aiohttp.ClientResponse, url: Url, kind: media.Kind, max_bytes: int
) -> Fetched:
    if answer.status != 200:
        message = f"{url} answered {answer.status}"
        raise AnsweredWith(message, answer.status)
    if not media.fits(kind, answer.headers.get("Content-Type")):
        message = f"{url} answered with content type {answer.headers.get('Content-Type')!r}"
        raise WrongContentType(message)
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):  # decoded bytes
        body += chunk
        if len(body) > max_bytes:
            answer.close()
            message = f"{url} is larger than {max_bytes} bytes"
            raise TooLarge(message)
    return Fetched(url, bytes(body))


def _seconds(retry_after: str | None) -> int | None:
    """Read `Retry-After` in seconds; the form with a date is not worth its parser."""
    text = (retry_after or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
