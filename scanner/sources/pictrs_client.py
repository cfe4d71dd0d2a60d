"""The HTTP calls to one pict-rs server, and what its answers must look like; nothing is decided.

Answers are read up to a limit and checked before use. The token goes to the internal API alone,
never along a redirect. The facts are in pict-rs's documentation of its internal API (0.5).
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from scanner.errors import OverLimit, SourceChanged, SourceError, SourceUnreachable
from scanner.sources.settings import PictrsSettings

CHUNK_BYTES = 65_536
LATEST = 253_402_300_799
"""The last second, in epoch seconds, that a date can name."""
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Details(_Answer):
    """What pict-rs says of an original; other fields are not needed."""

    created_at: datetime | None = None


class Hash(_Answer):
    """One original: sha256, 6 bytes of size and 1 byte of format, and the names it goes by."""

    hex: Annotated[str, Field(pattern=r"^[0-9a-f]{78}$")]
    aliases: Annotated[tuple[str, ...], Field(max_length=1_000_000)] = ()
    details: Details | None = None

    @property
    def created(self) -> float | None:
        """When it was stored, in epoch seconds."""
        at = self.details.created_at if self.details else None
        if at is None:
            return None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class Page(_Answer):
    """A page of hashes, newest first."""

    current: str | None = None
    next: str | None = None
    hashes: tuple[Hash, ...]


class _PageAnswer(_Answer):
    page: Page


class PictrsClient:
    """Asks one server; its session opens with the first call."""

    def __init__(self, settings: PictrsSettings) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def page(self, *, slug: str | None = None, before: float | None = None) -> Page:
        """Return the page that begins at a slug, or at what was stored by a time."""
        query = {"limit": str(self._settings.page_items)}
        if slug is not None:
            query["slug"] = slug
        if before is not None:
            query["timestamp"] = datetime.fromtimestamp(min(before, LATEST), UTC).isoformat()
        body = await self._internal("GET", f"/internal/hashes?{urlencode(query)}")
        try:
            return _PageAnswer.model_validate_json(body).page
        except ValidationError as error:
            raise SourceError(f"{self._base} sent a listing that is none of pict-rs 0.5") from error

    async def original(self, alias: str, limit_bytes: int) -> bytes:
        """Return the bytes that an alias serves; raises OverLimit."""
        async with self._original(alias) as answer:
            return await _body(answer, limit_bytes, alias)

    async def sha256_of(self, alias: str, size: int) -> str | None:
        """Return the SHA-256, in hex, of what an alias serves; None where it is not `size` long."""
        digest, length = hashlib.sha256(), 0
        async with self._original(alias) as answer:
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                digest.update(chunk)
                length += len(chunk)
                if length > size:
                    return None
        return digest.hexdigest() if length == size else None

    async def purge(self, alias: str) -> None:
        """Delete an original with every alias and file of it."""
        await self._internal("POST", f"/internal/purge?{urlencode({'alias': alias})}")

    async def _internal(self, method: str, path: str) -> bytes:
        """Return an answer of the internal API."""
        limit_bytes = self._settings.page_bytes
        async with self._call(method, path, token=True) as answer:
            try:
                return await _body(answer, limit_bytes, self._base)
            except OverLimit as error:
                raise SourceError(
                    f"{self._base} sent an answer of more than {limit_bytes} bytes; "
                    "raise page_bytes, or lower page_items"
                ) from error

    def _original(self, alias: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if not ALIAS.fullmatch(alias):
            raise SourceError(f"{alias!a} is no alias that can be asked for")
        return self._call("GET", f"/image/original/{quote(alias, safe='')}", token=False)

    @asynccontextmanager
    async def _call(
        self, method: str, path: str, *, token: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give a good answer; everything else is a SourceError in one sentence."""
        headers = {"X-Api-Token": self._settings.token.get_secret_value()} if token else {}
        redirects = 0 if token else self._settings.redirects
        where = f"{self._base}{path.partition('?')[0]}"
        seconds = self._settings.timeout_seconds
        try:
            async with (
                asyncio.timeout(seconds),
                self._open().request(
                    method,
                    URL(f"{self._base}{path}", encoded=True),
                    headers=headers,
                    allow_redirects=redirects > 0,
                    max_redirects=redirects + 1,  # aiohttp raises at this many
                ) as answer,
            ):
                _check(answer.status, where, token=token)
                yield answer
        except TimeoutError as error:
            raise SourceUnreachable(f"{where}: no answer within {seconds:g} s") from error
        except aiohttp.TooManyRedirects as error:
            raise SourceError(f"{where} redirects more than {redirects} times") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceUnreachable(
                f"{where}: {type(error).__name__}; look at url, and whether pict-rs runs"
            ) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=self._settings.requests_at_once + 1),
            )
        return self._session

    async def close(self) -> None:
        """Let the connections go."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _check(status: int, where: str, *, token: bool) -> None:
    """Raise unless the answer is a good one."""
    if 200 <= status < 300:
        return
    if status in {401, 403}:
        raise SourceUnreachable(f"{where} refuses us ({status}); look at token")
    if status in {404, 410} and not token:
        raise SourceChanged(f"{where} is gone ({status}); list it again")
    if 300 <= status < 400:
        raise SourceError(f"{where} redirects ({status}); look at url, or raise redirects")
    raise SourceUnreachable(f"{where} answers {status}; look at pict-rs's log")


async def _body(answer: aiohttp.ClientResponse, limit_bytes: int, what: str) -> bytes:
    """Return a body; raises OverLimit past the limit, having read no more than one chunk more."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise OverLimit(f"{what}: more than {limit_bytes} bytes")
    return bytes(body)
