"""What the kernel says of files that appear below a folder (inotify, Linux).

A file is ready when its writer closed it or it was moved into place; one that was only created
(a hard link, a writer that is still writing) is ready when it stands still for two spans of
`settle_seconds`. A new folder is to be walked: what lay in it before it was watched sent no
event. Whenever events were lost, or there are too many to hold, `lost` says that only a full
listing helps. Reading files and listing folders are left to others.

`watchfiles` would hide the end of writing and the overflow, follow links, and end at a name that
is no UTF-8; `asyncinotify` is plain Python and shows the kernel's events as they are.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asyncinotify import Event, Inotify, Mask

from scanner.sources.wanted import is_short, is_text

EVENTS = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.ONLYDIR
    | Mask.DONT_FOLLOW
    | Mask.EXCL_UNLINK
    | Mask.MOVE_SELF
)
EVENTS_AT_ONCE = 10_000
"""Events taken from the kernel before files are looked at again."""


@dataclass(slots=True)
class Settling:
    """A file that was created and not closed yet: when to look again, and how it looked last."""

    due: float
    mark: str | None = None


class FolderEvents:
    """Collects the events below one folder; all but `watch_folder` is for the event loop."""

    def __init__(
        self, root: Path, *, settle_seconds: float, pending_items: int, watch_folders: int
    ) -> None:
        self._root = root
        self._settle_seconds = settle_seconds
        self._pending_items, self._watch_folders = pending_items, watch_folders
        self._inotify = Inotify(sync_timeout=0, cache_size=256)
        self._ready: dict[str, None] = {}
        self._settling: dict[str, Settling] = {}
        self._folders: dict[str, None] = {}
        self._watched: set[str] = set()
        self.lost = False
        """Events were lost; set it to False before listing everything."""
        self.incomplete: str | None = None
        """Why not every folder is watched; then only listing often helps."""

    def watch_folder(self, key: str) -> None:
        """Watch one more folder, before it is listed; may be called from a thread."""
        if key not in self._watched and len(self._watched) >= self._watch_folders:
            self.incomplete = (
                f"{self._root} has more than {self._watch_folders} folders; "
                "raise watch_folders of the source to have them all watched"
            )
            return
        path = self._root / key
        try:
            # a root that is a link is followed, as the admin named it
            mask = EVENTS if key else EVENTS & ~Mask.DONT_FOLLOW
            watch = self._inotify.add_watch(path, mask)
        except OSError as error:
            self.incomplete = (
                f"cannot watch {path}: {error.strerror}; see /proc/sys/fs/inotify/max_user_watches"
            )
            return
        watch.path = path  # a folder that was moved keeps its watch under the old path
        self._watched.add(key)

    def drain(self, now: float) -> None:
        """Take what the kernel has, without waiting; `now` in monotonic seconds."""
        for _ in range(EVENTS_AT_ONCE):
            event = self._inotify.sync_get()
            if event is None:
                return
            self._take(event, now)

    def _take(self, event: Event, now: float) -> None:
        if Mask.Q_OVERFLOW in event.mask:
            self._lose()
        watch = event.watch
        if watch is None:
            return
        if event.name is None:
            self._folder_went(self._key(watch.path), event.mask)
            return
        key = self._key(watch.path / event.name)
        if is_text(key) and is_short(key):
            self._note(key, event.mask, now)
        if len(self._ready) + len(self._settling) + len(self._folders) > self._pending_items:
            self._lose()

    def _folder_went(self, key: str, mask: Mask) -> None:
        """Note that a watched folder was deleted, or moved: where to, its new parent says."""
        if Mask.IGNORED in mask:
            self._watched.discard(key)
        if not key and mask & (Mask.IGNORED | Mask.MOVE_SELF):
            self.lost = True  # the root: only a listing tells whether another took its place

    def _key(self, path: Path) -> str:
        key = os.fspath(path.relative_to(self._root))
        return "" if key == "." else key

    def _note(self, key: str, mask: Mask, now: float) -> None:
        if Mask.ISDIR in mask:
            self._folders[key] = None
        elif mask & (Mask.CLOSE_WRITE | Mask.MOVED_TO):
            self._settling.pop(key, None)
            self._ready[key] = None
        else:
            self._settling.setdefault(key, Settling(now + self._settle_seconds))

    def _lose(self) -> None:
        self.lost = True
        for pending in (self._ready, self._settling, self._folders):
            pending.clear()

    def take_folder(self) -> str | None:
        """Return one new folder that is to be walked."""
        return self._folders.popitem()[0] if self._folders else None

    def take_ready(self, limit: int) -> list[str]:
        """Return the keys of up to `limit` finished files, the oldest first."""
        keys = list(itertools.islice(self._ready, limit))
        for key in keys:
            del self._ready[key]
        return keys

    def settle(self, now: float, mark_of: Callable[[str], str | None]) -> None:
        """Look at the files that were to stand still until now: ready, gone, or not yet."""
        for key in [key for key, settling in self._settling.items() if settling.due <= now]:
            settling = self._settling[key]
            mark = mark_of(key)
            if mark is None or mark == settling.mark:
                del self._settling[key]
            if mark is not None and mark == settling.mark:
                self._ready[key] = None
            settling.mark, settling.due = mark, now + self._settle_seconds

    @property
    def pending(self) -> bool:
        """Whether there is something to take."""
        return bool(self._ready or self._folders)

    def seconds_to_settle(self, now: float, most: float) -> float:
        """Return how long until a created file is to be looked at, `most` where none is."""
        due = min((settling.due for settling in self._settling.values()), default=now + most)
        return min(most, max(0.0, due - now))

    async def wait(self, seconds: float) -> None:
        """Return when the kernel has something, or after `seconds`."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._inotify.fd, woken.set)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), seconds)
        finally:
            loop.remove_reader(self._inotify.fd)

    def close(self) -> None:
        """Watch no more."""
        self._inotify.close()
