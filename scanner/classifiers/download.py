"""Fetches one large file over HTTP: resumed where it broke off, bounded, held to its digest.

What arrives grows in NAME.part, beside it NAME.part.etag, so that a later try, or a later
process, goes on where this one stopped (`Range` with `If-Range`, RFC 9110 sections 13 and 14);
a server that changed its file, or knows no ranges, is read from the start. NAME appears only
whole, by a rename, after its SHA-256 is right, and NAME.sha256 stands beside it before that.
Hosts and redirects are only those that the caller allows, over https. `urllib` does it, which
heeds http_proxy, https_proxy and no_proxy. What the file holds is left to others.
"""

import hashlib
import http.client
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from scanner.errors import DownloadError

CHUNK = 1 << 20
STALL_BYTES = 64 * 1024
"""Fewer bytes than these within the stall time are no progress."""
FRUITLESS_MAX = 5
"""Attempts one behind the other that bring no progress."""
ATTEMPTS_MAX = 100
REDIRECTS_MAX = 5
PAUSE_SECONDS_MAX = 30.0
VALIDATOR_BYTES_MAX = 1_000
LENGTH = re.compile(r"[0-9]{1,18}")
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another attempt may mend."""

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""(bytes here, bytes in all or None), called as they arrive."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file elsewhere, and what is known of it beforehand."""

    url: str
    hosts: frozenset[str]
    """Hosts that may be asked, redirects included; `.example.org` stands for all below it."""
    sha256: str = ""
    """Lower-case hex, or the first digits of it; empty where nobody published it."""
    size: int | None = None
    """In bytes."""
    scheme: str = "https"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a download may take."""

    bytes_max: int
    stall_seconds: float


def download(
    remote: Remote,
    target: Path,
    bounds: Bounds,
    progress: Progress | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Bring the file to `target`, and return its SHA-256 in hex; raises DownloadError.

    A second process that fetches the same file is refused while the first is at it.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  comes with torch and the hub

    if not _allowed(remote, remote.url):
        raise DownloadError(f"{remote.url} is no address to fetch from")
    if (remote.size or 0) > bounds.bytes_max:
        raise _too_large(remote, remote.size, bounds)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=0):
            return _Part(remote, target, bounds, progress or _silent).bring(pause)
    except Timeout:
        raise DownloadError(f"another process is fetching {target}; wait until it ends") from None
    except OSError as error:
        raise DownloadError(
            f"cannot write {target}: {error.strerror or error}; set scanner.weights_folder to a "
            f"folder with room; what has arrived is kept in {target}.part"
        ) from error


class _Broken(Exception):
    """The transfer ended before the file did; another attempt may go on."""


class _Part:
    """What has arrived of a file, and how to get the rest."""

    def __init__(self, remote: Remote, target: Path, bounds: Bounds, progress: Progress) -> None:
        self._remote, self._target, self._bounds = remote, target, bounds
        self._progress = progress
        self._path = target.with_name(f"{target.name}.part")
        self._etag = target.with_name(f"{target.name}.part.etag")
        self._total = remote.size
        self._opener = urllib.request.build_opener(_Redirects(remote))

    def bring(self, pause: Callable[[float], None]) -> str:
        """Try until the file is whole, then check and rename it."""
        fruitless = 0
        for _ in range(ATTEMPTS_MAX):
            before = self._size()
            try:
                self._attempt()
                return self._finish()
            except _Broken as error:
                fruitless = 0 if self._size() - before >= STALL_BYTES else fruitless + 1
                if fruitless >= FRUITLESS_MAX:
                    raise self._gave_up(error) from error
                logger.info("the download broke off (%s); it goes on", error)
                pause(min(2.0**fruitless, PAUSE_SECONDS_MAX))
        raise self._gave_up(_Broken(f"{ATTEMPTS_MAX} attempts were not enough"))

    def _gave_up(self, error: _Broken) -> DownloadError:
        return DownloadError(
            f"the download of {self._remote.url} breaks off again and again ({error}); what has "
            f"arrived is kept in {self._path}: try again later, and it goes on there"
        )

    def _attempt(self) -> None:
        """Ask for what is missing and write it down; raises _Broken."""
        try:
            with self._opener.open(self._request(), timeout=self._bounds.stall_seconds) as answer:
                self._take(answer)
        except urllib.error.HTTPError as error:
            error.close()
            self._refused(error)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise DownloadError(f"{self._remote.url} has no right certificate") from error
            raise _Broken(str(error.reason)) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _Broken(str(error) or type(error).__name__) from error
        if self._total is not None and self._size() < self._total:
            raise _Broken(f"{self._size()} of {self._total} bytes arrived")

    def _request(self) -> urllib.request.Request:
        headers = {"User-Agent": "fediverdict", "Accept-Encoding": "identity"}
        etag = self._kept_validator()
        if etag and self._size():
            headers |= {"Range": f"bytes={self._size()}-", "If-Range": etag}
        else:
            self._forget()
        return urllib.request.Request(self._remote.url, headers=headers)  # noqa: S310  _allowed

    def _kept_validator(self) -> str:
        """Return what was written down for `If-Range`; nothing where a crash left no header."""
        if not self._etag.is_file():
            return ""
        etag = self._etag.read_bytes()[:VALIDATOR_BYTES_MAX].decode("latin-1")
        return etag if etag.isascii() and etag.isprintable() else ""

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == 416:  # what is here is as long as the file, or longer: RFC 9110 15.5.17
            length = error.headers.get("Content-Range", "").rpartition("/")[2]
            if length == str(self._size()):
                self._total = self._size()
                return
            self._forget()
            raise _Broken("the file is shorter now than what had arrived") from error
        if error.code in AGAIN:
            raise _Broken(f"the server answers {error.code}") from error
        raise DownloadError(f"{self._remote.url} is not to be had: {error.code} {error.reason}")

    def _take(self, answer: Any) -> None:
        """Append the answer's bytes, or begin anew where the server sends the whole file."""
        start, total = _place(answer)
        if start != self._size():
            self._forget()
            if start:
                raise _Broken("the server sent another part than the one asked for")
        if self._remote.size is not None and total not in {None, self._remote.size}:
            raise DownloadError(
                f"{self._remote.url} has {total} bytes instead of {self._remote.size}"
            )
        self._total = total if total is not None else self._remote.size
        if self._total is None and not answer.chunked and not self._remote.sha256:
            raise DownloadError(f"{self._remote.url} does not say how long it is, nor its digest")
        self._check_room(start)
        self._etag.unlink(missing_ok=True)
        self._etag.write_text(_validator(answer), "utf-8")
        with open(self._path, "ab", opener=_no_link) as file:
            self._copy(answer, file)
            file.flush()
            os.fsync(file.fileno())

    def _check_room(self, start: int) -> None:
        if self._total is None:
            return
        if self._total > self._bounds.bytes_max:
            self._forget()
            raise _too_large(self._remote, self._total, self._bounds)
        free = shutil.disk_usage(self._target.parent).free
        if free < self._total - start:
            raise DownloadError(
                f"{self._target.parent} has {free} bytes free, but {self._total - start} are to "
                f"come; make room, or set scanner.weights_folder"
            )

    def _copy(self, answer: Any, file: BinaryIO) -> None:
        done = file.tell()
        seen, since = done, time.monotonic()
        while data := answer.read1(CHUNK):
            done += len(data)
            if done > self._bounds.bytes_max or (self._total is not None and done > self._total):
                file.truncate(0)
                raise _too_large(self._remote, done, self._bounds)
            file.write(data)
            self._progress(done, self._total)
            now = time.monotonic()
            if done - seen >= STALL_BYTES:
                seen, since = done, now
            elif now - since > self._bounds.stall_seconds and done != self._total:
                raise _Broken(f"under {STALL_BYTES} bytes in {self._bounds.stall_seconds:g} s")

    def _finish(self) -> str:
        """Hold what has arrived to its digest; rename it, with the digest beside it."""
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(self._remote.sha256):
            self._forget()
            raise DownloadError(
                f"{self._remote.url} has the SHA-256 {digest} instead of {self._remote.sha256}: "
                f"it was damaged on the way, or is not what was published; it was thrown away"
            )
        name = self._target.name
        self._target.with_name(f"{name}.sha256").write_text(f"{digest}  {name}\n", "utf-8")
        self._path.replace(self._target)
        self._etag.unlink(missing_ok=True)
        return digest

    def _size(self) -> int:
        with suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    def _forget(self) -> None:
        self._path.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)


def _no_link(path: str, flags: int) -> int:
    """Open a file, but not where a link leads that somebody else put in its place."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed hosts only."""

    max_redirections = REDIRECTS_MAX
    max_repeats = REDIRECTS_MAX

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request of the next hop; raises DownloadError for another host."""
        if not _allowed(self._remote, newurl):
            fp.close()
            host = urlsplit(newurl).hostname
            raise DownloadError(f"{self._remote.url} leads to {host}, which is not asked")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def recorded_digest(path: Path) -> str | None:
    """Return the digest that stands beside a downloaded file, None where there is none."""
    try:
        text = path.with_name(f"{path.name}.sha256").read_text("utf-8")[:64]
    except (OSError, ValueError):
        return None
    return text if len(text) == 64 else None


def _allowed(remote: Remote, url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    below = any(name.startswith(".") and host.endswith(name) for name in remote.hosts)
    return parts.scheme == remote.scheme and (host in remote.hosts or below)


def _place(answer: Any) -> tuple[int, int | None]:
    """Return where the answer's bytes begin in the file, and how long the file is."""
    length = answer.headers.get("Content-Length", "")
    if answer.status != 206:
        return 0, int(length) if LENGTH.fullmatch(length) else None
    part = re.fullmatch(
        r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", answer.headers.get("Content-Range", "")
    )
    if part is None:
        raise _Broken("the server sent a part without saying which")
    return int(part[1]), None if part[2] == "*" else int(part[2])


def _validator(answer: Any) -> str:
    """Return what `If-Range` takes: a strong ETag, else the time of change, else nothing."""
    etag: str = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return "" if etag else answer.headers.get("Last-Modified", "")


def _too_large(remote: Remote, size: int | None, bounds: Bounds) -> DownloadError:
    return DownloadError(
        f"{remote.url} has {size} bytes, over scanner.weights_bytes ({bounds.bytes_max}) or more "
        f"than was announced; raise the limit if the file is right"
    )


def _silent(_done: int, _total: int | None) -> None:
    """Show nothing."""
