"""A folder of pictures on this machine: lists it and reads single files, nothing else.

Symbolic links are not followed, neither to files nor to folders, so that nothing outside the
folder is read; what is no regular file is left out. An unreadable folder inside, or a file
that goes away, is reported and not fatal.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import OverLimit, SourceError

DEPTH_MAX = 64
"""Folders within folders that are entered."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file in a source: its key, its size in bytes, and a mark that changes when it does."""

    key: str
    size: int
    mark: str


def list_folder(path: Path, report: Callable[[str], None] = lambda _: None) -> Iterator[Item]:
    """Yield the regular files under a folder, sorted by name within each folder.

    Keys are relative, with `/`. What cannot be read is told to `report` in one sentence.
    Raises SourceError, before the first item, when the folder itself cannot be listed.
    """
    return _walk("", _entries(path), report)


def read_item(path: Path, key: str, limit_bytes: int) -> bytes:
    """Return the bytes of one item of the folder.

    Raises OverLimit past `limit_bytes`, SourceError if it cannot be read or is a link.
    """
    target = path / key
    parts = Path(key).parts
    if Path(key).is_absolute() or ".." in parts or not parts or "\0" in key:
        raise SourceError(f"{key!a} is no key of the folder {path}")
    try:
        descriptor = _open(path, parts)
    except (OSError, UnicodeError) as error:
        raise SourceError(f"cannot read {target}: {_cause(error)}") from error
    return _content(descriptor, target, limit_bytes)


def _open(path: Path, parts: tuple[str, ...]) -> int:
    """Open a file folder by folder, so that none can become a link in between."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _cause(error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError):
        return "its name is no UTF-8"
    linked = error.errno in {errno.ELOOP, errno.ENOTDIR}
    return "it is a link or lies behind one" if linked else str(error.strerror)


def _content(descriptor: int, target: Path, limit_bytes: int) -> bytes:
    """Read an open file and close it; opened without blocking, so a pipe is seen as one."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceError(f"{target} is no regular file")
    try:
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise SourceError(f"cannot read {target}: {error.strerror}") from error
    if len(data) > limit_bytes:
        raise OverLimit(f"{target} has more than {limit_bytes} bytes")
    return data


def _walk(
    prefix: str, entries: list[os.DirEntry[str]], report: Callable[[str], None]
) -> Iterator[Item]:
    for entry in entries:
        key = f"{prefix}{entry.name}"
        try:
            if not _is_text(entry.name):
                raise SourceError(f"{entry.path!a} has a name that is no UTF-8, rename it")
            if entry.is_dir(follow_symlinks=False):
                if key.count("/") >= DEPTH_MAX:
                    raise SourceError(f"{entry.path} lies deeper than {DEPTH_MAX} folders")
                yield from _walk(f"{key}/", _entries(Path(entry.path)), report)
            elif entry.is_file(follow_symlinks=False):
                yield _item(key, entry.stat(follow_symlinks=False))
            elif entry.is_symlink():
                raise SourceError(f"{entry.path} is a link and was left out")
        except (OSError, SourceError) as error:
            report(
                str(error) if isinstance(error, SourceError) else f"{entry.path}: {error.strerror}"
            )


def _is_text(name: str) -> bool:
    """Return whether a file's name can be stored; bytes that are no UTF-8 come as surrogates."""
    return name.encode(errors="replace").decode() == name


def _item(key: str, found: os.stat_result) -> Item:
    return Item(key, found.st_size, f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}")


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """Return what stands in a folder, sorted by name; raises SourceError."""
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError as error:
        raise SourceError(f"there is no folder {path}") from error
    except NotADirectoryError as error:
        raise SourceError(f"{path} is not a folder") from error
    except PermissionError as error:
        raise SourceError(f"no permission to list {path}") from error
    except OSError as error:
        raise SourceError(f"cannot list {path}: {error.strerror}") from error
