"""Walks a folder of this machine, sorted and without following a link.

Every folder is opened relative to the one before it, so that nothing outside the root is listed,
whatever becomes a link meanwhile. Files are asked for their size only when they are wanted.
Blocking: callers put it into a thread.
"""

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from scanner.errors import SourceError
from scanner.sources.files import item_of, open_folder, open_root
from scanner.sources.source import Item
from scanner.sources.wanted import DEPTH_MAX, KEY_BYTES_MAX, Wanted, is_key, is_short, is_text

OnFolder = Callable[[str], None]
"""Told of each folder's key before it is listed; "" is the root."""


class Problem(str):
    """A sentence about something a walk left out."""

    __slots__ = ()


def walk(
    root: Path,
    wanted: Wanted,
    folder_items: int,
    on_folder: OnFolder = lambda _: None,
) -> Iterator[Item | Problem]:
    """Yield the regular files under a folder, sorted by name within each folder.

    Holds the names of one folder a level, at most `folder_items` each. Raises SourceError when
    the root cannot be listed; whatever is wrong further inside is a Problem.
    """
    start = wanted.start
    if start and not is_key("/".join(start)):
        return
    descriptor = open_root(root)
    try:
        inner = open_folder(descriptor, start)
    except OSError:
        return  # no such folder, or a link: nothing lies under this prefix
    finally:
        os.close(descriptor)
    prefix = "".join(f"{name}/" for name in start)
    yield from _Walk(root, wanted, folder_items, on_folder).folder(inner, prefix)


class _Walk:
    def __init__(self, root: Path, wanted: Wanted, folder_items: int, on_folder: OnFolder) -> None:
        self._root, self._wanted = root, wanted
        self._folder_items, self._on_folder = folder_items, on_folder

    def folder(self, descriptor: int, prefix: str) -> Iterator[Item | Problem]:
        """Yield what lies in an open folder, and close it."""
        try:
            self._on_folder(prefix.rstrip("/"))
            names, others = self._names(descriptor, prefix)
            for name in names:
                try:
                    yield from self._entry(descriptor, prefix, name, others.get(name))
                except SourceError as error:
                    yield Problem(error)
                except OSError as error:
                    yield Problem(f"{self._path(prefix, name)}: {error.strerror}")
        finally:
            os.close(descriptor)

    def _names(self, descriptor: int, prefix: str) -> tuple[list[str], dict[str, str]]:
        """Return the sorted names in a folder, and what those are that are no plain file."""
        names: list[str] = []
        others: dict[str, str] = {}
        try:
            with os.scandir(descriptor) as found:
                for entry in itertools.islice(found, self._folder_items + 1):
                    names.append(entry.name)
                    if kind := _kind(entry):
                        others[entry.name] = kind
        except OSError as error:
            raise SourceError(f"cannot list {self._path(prefix, '')}: {error.strerror}") from error
        if len(names) > self._folder_items:
            raise SourceError(
                f"{self._path(prefix, '')} holds more than {self._folder_items} names; "
                "raise folder_items of the source"
            )
        names.sort()
        return names, others

    def _entry(
        self, parent: int, prefix: str, name: str, kind: str | None
    ) -> Iterator[Item | Problem]:
        key = f"{prefix}{name}"
        if not is_text(name):
            path = self._path(prefix, name)
            raise SourceError(f"{str(path)!a} has a name that is no UTF-8, rename it")
        if not is_short(key):
            short = f"{self._path(prefix, name)}"[:200]
            raise SourceError(
                f"{short}... has a path of more than {KEY_BYTES_MAX} bytes, shorten it"
            )
        if kind == "folder" and self._wanted.folder(key):
            yield from self._inside(parent, prefix, name)
        elif kind == "link" and self._wanted.file(key):
            raise SourceError(f"{self._path(prefix, name)} is a link and was left out")
        elif kind is None and self._wanted.file(key):
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield item_of(key, found)

    def _inside(self, parent: int, prefix: str, name: str) -> Iterator[Item | Problem]:
        path = self._path(prefix, name)
        if prefix.count("/") >= DEPTH_MAX:
            raise SourceError(f"{path} lies deeper than {DEPTH_MAX} folders")
        try:
            inner = open_folder(parent, (name,))
        except PermissionError as error:
            raise SourceError(f"no permission to list {path}") from error
        yield from self.folder(inner, f"{prefix}{name}/")

    def _path(self, prefix: str, name: str) -> Path:
        return self._root / f"{prefix}{name}"


def _kind(entry: "os.DirEntry[str]") -> str | None:
    """Return None for a file that may be a picture: told from the folder, without asking it."""
    if entry.is_file(follow_symlinks=False):
        return None
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "link" if entry.is_symlink() else "other"
