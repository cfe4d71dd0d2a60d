"""A folder of pictures on this machine: lists it, reads and deletes single files, watches it.

Symbolic links are not followed, neither to files nor to folders, so that nothing outside the
folder is read; what is no regular file is left out. An unreadable folder inside, or a file
that goes away, is reported and not fatal. Everything that blocks runs in threads.
"""

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

from scanner.sources import files
from scanner.sources.polling import poll
from scanner.sources.seen import Seen, Told
from scanner.sources.settings import FolderSettings
from scanner.sources.source import Item, Report
from scanner.sources.threads import batches
from scanner.sources.walk import OnFolder, Problem, walk
from scanner.sources.wanted import Wanted

__all__ = ["FolderSource", "Item", "list_folder", "read_item"]

FOLDER_ITEMS = 2_000_000


def list_folder(path: Path, report: Callable[[str], None] = lambda _: None) -> Iterator[Item]:
    """Yield the regular files under a folder, sorted by name within each folder.

    Raises SourceError, before the first item, when the folder itself cannot be listed.
    """
    os.close(files.open_root(path))
    return _items(walk(path, Wanted(), FOLDER_ITEMS), report)


def read_item(path: Path, key: str, limit_bytes: int) -> bytes:
    """Return the bytes of one item of the folder; raises OverLimit past `limit_bytes`."""
    return files.read(path, key, limit_bytes)


def _items(found: Iterator[Item | Problem], report: Report) -> Iterator[Item]:
    for one in found:
        if isinstance(one, Problem):
            report(one)
        else:
            yield one


class FolderSource:
    """A `Source` over the files below one folder; its cursor is a key."""

    kind = "folder"
    can_undo_delete = False

    def __init__(self, settings: FolderSettings, report: Report) -> None:
        self._settings, self._report, self._told = settings, report, Told(report)
        self._root = settings.path
        self._seen = Seen(settings.remember_items)

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._root)

    def list(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield the files sorted by name within each folder, reading names in a thread."""
        return self._walk(Wanted(cursor, prefix), lambda _: None)

    async def _walk(self, wanted: Wanted, on_folder: OnFolder) -> AsyncIterator[Item]:
        found = walk(self._root, wanted, self._settings.folder_items, on_folder)
        async for batch in batches(found, self._settings.page_items):
            for item in _items(iter(batch), self._told):
                yield item

    async def read(self, item: Item, limit_bytes: int) -> bytes:
        """Return the file's bytes if it still is the one listed."""
        return await asyncio.to_thread(files.read, self._root, item.key, limit_bytes, item.mark)

    async def delete(self, item: Item) -> None:
        """Delete the file if it still is the one listed."""
        await asyncio.to_thread(files.delete, self._root, item.key, item.mark)

    def forget(self, item: Item) -> None:
        """Let `watch` yield this item again at its next full listing."""
        self._seen.forget(item)

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def watch(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield every file, then each that is completed; by inotify, elsewhere by listing."""
        found = self._by_inotify(cursor, prefix) if sys.platform == "linux" else None
        if found is None:
            again = functools.partial(self.list, None, prefix)
            seconds = self._settings.poll_seconds
            found = poll(self.list(cursor, prefix), again, self._seen, seconds, self._report)
        async with contextlib.aclosing(found):
            async for item in found:
                yield item

    def _by_inotify(self, cursor: str | None, prefix: str) -> AsyncGenerator[Item, None] | None:
        """Return a watch by inotify; None where the system has no more room for one."""
        from scanner.sources.folder_watch import FolderWatch  # noqa: PLC0415  # Linux alone

        try:
            watch = FolderWatch(self._settings, self._seen, self._report, self._walk, prefix)
        except OSError as error:
            self._report(
                f"cannot watch {self._root}: {error.strerror}; see /proc/sys/fs/inotify; "
                f"listing every {self._settings.poll_seconds:g} s"
            )
            return None
        return watch.items(cursor)
