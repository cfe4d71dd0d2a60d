"""A folder behind SFTP: lists it, reads and deletes single files, watches by listing again.

Links are not followed: folders are entered by what the listing says of them, and before a file
is opened or deleted the server must say that its path leads to itself. Mark: time (seconds) and
size, all that the protocol has; an opened file must still carry it, before and after reading.
`delete` looks first and then deletes, as the protocol has no conditional delete.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import asyncssh
from asyncssh import FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_SYMLINK

from scanner.errors import OverLimit, SourceChanged, SourceError, SourceUnreachable
from scanner.sources.polling import poll
from scanner.sources.seen import Seen, Told
from scanner.sources.settings import SftpSettings
from scanner.sources.sftp_session import Alive, SftpSession
from scanner.sources.source import Item, Report
from scanner.sources.wanted import DEPTH_MAX, KEY_BYTES_MAX, Wanted, is_key, is_short, is_text

CHUNK_BYTES = 262_144
"""Bytes read in one call, each of which must end within `timeout_seconds`."""

KEY_TOLD = 1_000
"""Characters of a key that are told when it is left out."""

SELF_AND_PARENT = (".", "..")

Entry = tuple[str, int, int, int]
"""A name in a folder, its type, size in bytes and time in epoch seconds."""


class SftpSource:
    """A `Source` over the files below one folder of a server; its cursor is a key."""

    kind = "sftp"
    can_undo_delete = False

    def __init__(self, settings: SftpSettings, report: Report) -> None:
        self._settings, self._report, self._told = settings, report, Told(report)
        self._session = SftpSession(settings)
        self._seen = Seen(settings.remember_items)
        self._slots = asyncio.Semaphore(settings.requests_at_once)
        self._root: str | None = None

    @property
    def location(self) -> str:
        """The account, the host and the folder."""
        return self._session.location

    async def list(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield the files sorted by name within each folder."""
        wanted = Wanted(cursor, prefix)
        if wanted.start and not is_key("/".join(wanted.start)):
            return
        root = await self._resolved()
        start = "".join(f"{name}/" for name in wanted.start)
        try:
            if start and not await self._is_straight(f"{root}/{start.rstrip('/')}"):
                return
            async for item in self._folder(root, start, wanted):
                yield item
        except SourceChanged:
            if not start:
                raise  # else no such folder: nothing lies under this prefix

    async def _folder(self, root: str, prefix: str, wanted: Wanted) -> AsyncGenerator[Item, None]:
        call = functools.partial(self._entries, f"{root}/{prefix}")
        for name, kind, size, modified in await self._session.run(f"list {prefix!a}", call):
            key = f"{prefix}{name}"
            problem = _problem(name, key, kind, wanted)
            if problem:
                self._told(f"{key[:KEY_TOLD]!a} in {self.location} {problem} and was left out")
            elif kind == FILEXFER_TYPE_REGULAR and wanted.file(key):
                yield Item(key, size, _mark(modified, size), float(modified), key)
            elif kind == FILEXFER_TYPE_DIRECTORY and wanted.folder(key):
                async for item in self._inside(root, f"{key}/", wanted):
                    yield item

    async def _inside(self, root: str, prefix: str, wanted: Wanted) -> AsyncGenerator[Item, None]:
        """Yield what a folder within holds; one that cannot be listed is reported."""
        try:
            async for item in self._folder(root, prefix, wanted):
                yield item
        except SourceUnreachable:
            raise
        except SourceError as error:
            self._told(str(error))

    async def _entries(self, path: str, sftp: asyncssh.SFTPClient, alive: Alive) -> Sequence[Entry]:
        """Return what stands in a folder, sorted by name."""
        entries: list[Entry] = []
        given = 0
        async with contextlib.aclosing(sftp.scandir(path)) as found:  # type: ignore[type-var]
            async for entry in found:
                alive()
                name, attrs = str(entry.filename), entry.attrs
                given += 1
                if given > self._settings.folder_items + len(SELF_AND_PARENT):
                    raise SourceError(
                        f"{path!a} in {self.location} holds more than "
                        f"{self._settings.folder_items} names; raise folder_items of the source"
                    )
                if name not in SELF_AND_PARENT:
                    entries.append((name, attrs.type, attrs.size or 0, attrs.mtime or 0))
        return sorted(entries)

    async def read(self, item: Item, limit_bytes: int) -> bytes:
        """Return the file's bytes if it still is the one listed."""
        if item.size > limit_bytes:
            raise OverLimit(f"{item.key} has more than {limit_bytes} bytes")
        path = await self._path(item)
        call = functools.partial(self._content, item, path, limit_bytes)
        async with self._slots:
            return await self._session.run(f"read {item.key!a}", call)

    async def _content(
        self, item: Item, path: str, limit_bytes: int, sftp: asyncssh.SFTPClient, alive: Alive
    ) -> bytes:
        await _check(item, path, sftp)
        data = bytearray()
        async with sftp.open(path, "rb") as file:
            _compare(item, await file.stat())
            while len(data) <= limit_bytes:
                alive()
                most = min(CHUNK_BYTES, limit_bytes + 1 - len(data))
                chunk = await file.read(most, len(data))
                if not chunk:
                    break
                data += chunk  # type: ignore[arg-type]  # "rb": bytes
            _compare(item, await file.stat())
        if len(data) > limit_bytes:
            raise OverLimit(f"{item.key} has more than {limit_bytes} bytes")
        if len(data) != item.size:
            raise SourceChanged(f"{item.key} came with other than its {item.size} bytes")
        return bytes(data)

    async def delete(self, item: Item) -> None:
        """Delete the file if it still is the one listed."""
        path = await self._path(item)

        async def call(sftp: asyncssh.SFTPClient, _: Alive) -> None:
            await _check(item, path, sftp)
            await sftp.remove(path)

        async with self._slots:
            await self._session.run(f"delete {item.key!a}", call)

    async def watch(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield every file, then new ones, by listing again every `poll_seconds`."""
        again = functools.partial(self.list, None, prefix)
        seconds = self._settings.poll_seconds
        found = poll(self.list(cursor, prefix), again, self._seen, seconds, self._report)
        async with contextlib.aclosing(found):
            async for item in found:
                yield item

    def forget(self, item: Item) -> None:
        """Let `watch` yield this item again at its next full listing."""
        self._seen.forget(item)

    async def close(self) -> None:
        """End the session."""
        self._session.close()

    async def _path(self, item: Item) -> str:
        if not is_key(item.key) or not is_text(item.key):
            raise SourceError(f"{item.key!a} is no key of {self.location}")
        return f"{await self._resolved()}/{item.key}"

    async def _resolved(self) -> str:
        """Return the folder's own path; the admin named it, so it may be a link."""
        if self._root is None:
            found = await self._session.run("find path", self._realpath)
            self._root = found.rstrip("/")
        return self._root

    async def _realpath(self, sftp: asyncssh.SFTPClient, _: Alive) -> str:
        return str(await sftp.realpath(self._settings.path))

    async def _is_straight(self, path: str) -> bool:
        async def call(sftp: asyncssh.SFTPClient, _: Alive) -> bool:
            return str(await sftp.realpath(path)) == path

        return await self._session.run("find a folder", call)


async def _check(item: Item, path: str, sftp: asyncssh.SFTPClient) -> None:
    """Raise SourceChanged unless a path leads to the listed file itself, by no link."""
    found = await sftp.lstat(path)
    if found.type != FILEXFER_TYPE_REGULAR or str(await sftp.realpath(path)) != path:
        raise SourceChanged(f"{item.key} is a link or lies behind one, or is no file any more")
    _compare(item, found)


def _compare(item: Item, found: asyncssh.SFTPAttrs) -> None:
    if _mark(found.mtime or 0, found.size or 0) != item.mark:
        raise SourceChanged(f"{item.key} has changed since it was listed; list it again")


def _mark(modified: int, size: int) -> str:
    return f"{modified}-{size}"


def _problem(name: str, key: str, kind: int, wanted: Wanted) -> str | None:
    """Say why an entry is left out, where it would be wanted."""
    if "/" in name or "\0" in name or not name:
        return "has a name that leads elsewhere"
    if not is_text(name):
        return "has a name that is no UTF-8"
    if not is_short(key):
        return f"has a path of more than {KEY_BYTES_MAX} bytes"
    if kind == FILEXFER_TYPE_SYMLINK and wanted.file(key):
        return "is a link"
    if kind == FILEXFER_TYPE_DIRECTORY and wanted.folder(key) and key.count("/") >= DEPTH_MAX:
        return f"lies deeper than {DEPTH_MAX} folders"
    return None
