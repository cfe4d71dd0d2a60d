"""The one outbound client for URLs that strangers chose.

Its law: it connects to public addresses only, judged on the very address the socket will go
to (names and literals alike, so a name that changes its address gains nothing), and never to a
domain that the admin blocked; it never uses a proxy or the environment; it reads at most
`max_bytes` *after* decompression, within `fetch_seconds` in all; it follows at most
`redirects` redirects, each within the same origin; it takes only the content types of
`media.py`. A signed request that may not have been understood is sent once more with the other
kind of signature (`signing/knocks.py`). What a document says, and whether it is believed, is
left to the callers.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from federation.errors import BlockedAddress, FetchFailed, WrongContentType
from federation.origin import Url, origin_of, parse_url
from federation.outbound import media
from federation.outbound.blocking import Blocks
from federation.outbound.body import read_body
from federation.outbound.guard import NotPublic, guarded_socket
from federation.outbound.retry_after import retry_after_seconds
from federation.settings import FederationSettings
from federation.signing.identity import Scheme
from federation.signing.knocks import FIRST, Knocks, may_be_the_scheme, other

Sign = Callable[[str, str, Url, bytes | None, Scheme], Mapping[str, str]]
"""(actor id, method, url, body or None, scheme) -> the headers that sign the request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it is meant; `actor` signs it, where there is one."""

    method: str
    url: Url
    headers: Mapping[str, str]
    actor: str | None = None
    body: bytes | None = None


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


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer just as it came, for whoever judges answers; names of headers in lower case."""

    url: Url
    status: int
    headers: Mapping[str, str]
    body: bytes


class AnsweredWith(FetchFailed):
    """A peer answered with another HTTP status than 200; `code` holds it, and the seconds it asks
    to be left alone, where it says so.
    """

    def __init__(self, message: str, code: int, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after = code, retry_after


class Client:
    """Fetches documents and delivers activities; see the module for its law."""

    def __init__(
        self,
        settings: FederationSettings,
        sign: Sign,
        user_agent: str,
        blocks: Blocks | None = None,
        knocks: Knocks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self.blocks = blocks or Blocks(settings.blocked_domains)
        self._knocks = knocks
        self._clock = clock
        self._sign = sign
        self._session: aiohttp.ClientSession | None = None
        self._headers = {"User-Agent": user_agent}

    async def get(
        self, url: Url, kind: media.Kind, max_bytes: int, as_actor: str | None = None
    ) -> Fetched:
        """Fetch `url`, signed by `as_actor` if given; raises a `FederationError`."""
        async with self._limits(url):
            for _ in range(self._settings.redirects + 1):
                asked = Asked("GET", url, {"Accept": kind.value}, as_actor)
                async with self._answer(asked) as answer:
                    if answer.status not in (301, 302, 303, 307, 308):
                        self._check_answer(answer, url, kind)
                        return Fetched(url, await read_body(answer, url, max_bytes))
                    url = self._redirect(url, answer.headers.get("Location", ""))
        message = f"{url}: more than {self._settings.redirects} redirects"
        raise FetchFailed(message)

    async def post(self, url: Url, body: bytes, as_actor: str) -> Posted:
        """Deliver an activity, signed by `as_actor`; redirects are an answer, never followed."""
        asked = Asked("POST", url, {"Content-Type": media.ACTIVITY}, as_actor, body)
        async with self._limits(url), self._answer(asked) as answer:
            return Posted(answer.status, self._retry_after(answer))

    async def look(
        self,
        asked: Asked,
        max_bytes: int,
        scheme: Scheme = FIRST,
    ) -> Seen:
        """Ask once, in one scheme, and return what came: no second try, no redirect followed."""
        async with self._limits(asked.url), self._request(asked, scheme) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            body = await read_body(answer, asked.url, max_bytes)
            return Seen(asked.url, answer.status, headers, body)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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
            if isinstance(getattr(error, "os_error", None), NotPublic):
                message = f"{url} leads to an address that is not a public host"
                raise BlockedAddress(message) from error
            message = f"{url}: {error or type(error).__name__}"
            raise FetchFailed(message) from error

    @asynccontextmanager
    async def _answer(self, asked: Asked) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and once more in the other scheme where the first may not have been understood."""
        known = await self._known(asked)
        first = known or FIRST
        async with self._request(asked, first) as answer:
            if asked.actor is None or not _may_be_the_scheme(answer, is_known=known is not None):
                if asked.method == "POST" and answer.status < 300:
                    await self._note(asked, first, known)
                yield answer
                return
        second = other(first)
        async with self._request(asked, second) as answer:
            if answer.status < 400:
                await self._note(asked, second, known)
            yield answer

    async def _known(self, asked: Asked) -> Scheme | None:
        if asked.actor is None or self._knocks is None:
            return None
        return await self._knocks.known(origin_of(asked.url))

    async def _note(self, asked: Asked, scheme: Scheme, known: Scheme | None) -> None:
        """Remember the scheme that worked, if that is news."""
        if self._knocks is not None and scheme is not known:
            await self._knocks.note(origin_of(asked.url), scheme)

    @asynccontextmanager
    async def _request(self, asked: Asked, scheme: Scheme) -> AsyncIterator[aiohttp.ClientResponse]:
        self._check_scheme(asked.url)
        await self.blocks.refuse(asked.url)
        headers = dict(asked.headers)
        if asked.actor is not None:
            headers |= self._sign(asked.actor, asked.method, asked.url, asked.body, scheme)
        async with self._open().request(
            asked.method,
            URL(asked.url, encoded=True),
            headers=headers,
            data=asked.body,
            allow_redirects=False,
        ) as answer:
            yield answer

    def _check_answer(self, answer: aiohttp.ClientResponse, url: Url, kind: media.Kind) -> None:
        if answer.status != 200:
            message = f"{url} answered {answer.status}"
            raise AnsweredWith(message, answer.status, self._retry_after(answer))
        content_type = answer.headers.get("Content-Type")
        if not media.fits(kind, content_type):
            message = f"{url} answered with content type {content_type!r}"
            raise WrongContentType(message)

    def _retry_after(self, answer: aiohttp.ClientResponse) -> int | None:
        return retry_after_seconds(answer.headers.get("Retry-After"), int(self._clock()))

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
                socket_factory=None if self._settings.allow_private_addresses else guarded_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session


def _may_be_the_scheme(answer: aiohttp.ClientResponse, *, is_known: bool) -> bool:
    asks_to_wait = "Retry-After" in answer.headers
    return may_be_the_scheme(answer.status, is_known=is_known, asks_to_wait=asks_to_wait)
