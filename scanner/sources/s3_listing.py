"""Lists a bucket in the store's own words (ListObjectsV2): keys as they are, in the store's order.

The client (`obstore`) ends a listing at a key that it cannot name, and names `/a` and `a/` as `a`:
anybody who may choose keys could end every scan. So pages are asked for here, wherever there is
something to sign with; only credentials of a machine's role are the client's alone. A page is
bounded, and an answer is checked before it is believed.
"""

import asyncio
import re
import urllib.request
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree as ET

import aiohttp
from yarl import URL

from scanner.errors import SourceError
from scanner.sources.s3_client import errors, refused
from scanner.sources.s3_signing import credentials_of, headers_of, url_of
from scanner.sources.settings import S3Settings

PAGE_BYTES = 16_777_216
"""Bytes of one page: 1,000 keys of 1,024 bytes, each written as three, and what is said of them."""
PAGE_ITEMS_MAX = 1_000
"""No store gives more at once."""
PAUSE_SECONDS = 0.2
"""Before a request is tried again; doubled each time."""
SERVER_ERROR = 500
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int
    etag: str
    modified: datetime


def is_nameable(key: str) -> bool:
    """Tell whether the client can name a key: no empty, `.` or `..` part, no control character."""
    parts = key.split("/")
    return not (any(part in {"", ".", ".."} for part in parts) or CONTROL.search(key))


class BucketListing:
    """Lists one bucket."""

    def __init__(self, settings: S3Settings, where: str) -> None:
        self._settings, self._where = settings, where
        self._credentials = None if settings.anonymous else credentials_of(settings)

    @property
    def is_possible(self) -> bool:
        """Whether there is something to sign with, or nothing is to be signed."""
        return self._settings.anonymous or self._credentials is not None

    async def objects(self, after: str, prefix: str) -> AsyncGenerator[Listed, None]:
        """Yield the objects whose key begins with `prefix` and sorts behind `after`."""
        count = min(self._settings.page_items, PAGE_ITEMS_MAX)
        asked = {"list-type": "2", "encoding-type": "url", "max-keys": str(count)}
        asked |= {"prefix": prefix} if prefix else {}
        page = {"start-after": after} if after else {}
        async with aiohttp.ClientSession() as session:
            while True:
                found, following = _parsed(await self._page(session, asked | page), self._where)
                for one in found:
                    yield one
                if following is None:
                    return
                if page.get("continuation-token") == following:
                    raise SourceError(f"{self._where}: the store lists in a circle")
                page = {"continuation-token": following}

    async def _page(self, session: aiohttp.ClientSession, query: dict[str, str]) -> bytes:
        """Return one page; what the store or the network failed at is tried again."""
        for tried in range(self._settings.retries + 1):
            last = tried == self._settings.retries
            with errors(self._where, self._settings.timeout_seconds):
                try:
                    async with asyncio.timeout(self._settings.timeout_seconds):
                        status, body = await self._answer(session, query)
                except (OSError, TimeoutError):
                    if last:
                        raise
                else:
                    if status < SERVER_ERROR or last:
                        return self._checked(status, body)
            await asyncio.sleep(PAUSE_SECONDS * 2**tried)
        raise AssertionError  # the last try returned or raised

    async def _answer(
        self, session: aiohttp.ClientSession, query: dict[str, str]
    ) -> tuple[int, bytes]:
        url = url_of(_address(self._settings), query)
        signer = self._credentials
        headers = headers_of(url, signer, self._settings.region) if signer else {}
        options: dict[str, Any] = {"headers": headers, "proxy": _proxy(url)}
        body = bytearray()
        try:
            async with session.get(
                URL(url, encoded=True), allow_redirects=False, **options
            ) as answer:
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > PAGE_BYTES:
                        break
                return answer.status, bytes(body)
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error

    def _checked(self, status: int, body: bytes) -> bytes:
        if status != 200:  # a redirect is not followed: it would not be signed
            raise refused(self._where, status, body)
        if len(body) > PAGE_BYTES:
            raise SourceError(f"{self._where}: a page has more than {PAGE_BYTES} bytes")
        return body


def _address(settings: S3Settings) -> str:
    endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
    scheme, _, rest = endpoint.rstrip("/").partition("://")
    if settings.path_style:
        return f"{scheme}://{rest}/{settings.bucket}"
    return f"{scheme}://{settings.bucket}.{rest}/"


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, as the client has it."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _parsed(body: bytes, where: str) -> tuple[list[Listed], str | None]:
    """Return the objects of a page and the name of the next one; raises SourceError."""
    try:
        if b"<!DOCTYPE" in body:
            raise ValueError("a document type may define entities")  # as below
        page = ET.fromstring(body)  # noqa: S314  # bounded, and no entity is defined
        quoted = page.find("{*}EncodingType") is not None
        found = [_listed(one, quoted=quoted) for one in page.iterfind("{*}Contents")]
    except (ET.ParseError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(f"{where}: the store's listing cannot be read") from error
    more = page.findtext("{*}IsTruncated") == "true"
    return found, page.findtext("{*}NextContinuationToken") if more else None


def _listed(one: ET.Element, *, quoted: bool) -> Listed:
    key, size = one.findtext("{*}Key"), one.findtext("{*}Size")
    etag, modified = one.findtext("{*}ETag"), one.findtext("{*}LastModified")
    if key is None or size is None or modified is None:
        raise ValueError("an object without key, size or time")
    key = unquote_plus(key, errors="strict") if quoted else key
    return Listed(key, int(size), (etag or "").strip('"'), datetime.fromisoformat(modified))
