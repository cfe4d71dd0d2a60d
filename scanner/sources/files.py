"""Single files of this machine: found, read and deleted; never follows a link.

Every folder is opened relative to the one before it, without following, so that nothing outside
the root is read or deleted, whatever becomes a link meanwhile. The root itself may be a link: the
admin named it. Blocking: callers put it into a thread.
"""

import errno
import os
import stat
from pathlib import Path

from scanner.errors import OverLimit, SourceChanged, SourceError
from scanner.sources.source import Item
from scanner.sources.wanted import is_key

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not block


def item_of(key: str, found: os.stat_result) -> Item:
    """Return the item of a file by its key and what the system says of it."""
    return Item(key, found.st_size, mark_of(found), found.st_mtime, key)


def mark_of(found: os.stat_result) -> str:
    """Return what changes when a file is written, replaced or moved onto."""
    return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"


def open_root(root: Path) -> int:
    """Open the folder itself, for the caller to close; raises SourceError."""
    try:
        return os.open(root, FOLDER)
    except FileNotFoundError as error:
        raise SourceError(f"there is no folder {root}") from error
    except NotADirectoryError as error:
        raise SourceError(f"{root} is not a folder") from error
    except PermissionError as error:
        raise SourceError(f"no permission to list {root}") from error
    except OSError as error:
        raise SourceError(f"cannot list {root}: {error.strerror}") from error


def open_folder(descriptor: int, names: tuple[str, ...]) -> int:
    """Open a folder below an open one, name by name, for the caller to close."""
    inner = os.dup(descriptor)
    for name in names:
        try:
            following = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=inner)
        finally:
            os.close(inner)
        inner = following
    return inner


def find(root: Path, key: str) -> Item | None:
    """Return the item of one key; None where no regular file stands there."""
    try:
        descriptor, name = _parent(root, key)
    except (OSError, UnicodeError, SourceError):
        return None
    try:
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return item_of(key, found) if stat.S_ISREG(found.st_mode) else None


def read(root: Path, key: str, limit_bytes: int, mark: str | None = None) -> bytes:
    """Return the bytes of one file.

    Raises OverLimit past `limit_bytes`, SourceChanged where its mark is no longer `mark`, before
    or after reading, and SourceError if it cannot be read or is a link.
    """
    target = root / key
    if not is_key(key):
        raise SourceError(f"{key!a} is no key of the folder {root}")
    try:
        parent, name = _parent(root, key)
        try:
            descriptor = os.open(name, FILE, dir_fd=parent)
        finally:
            os.close(parent)
    except FileNotFoundError as error:
        raise SourceChanged(f"cannot read {target}: it is gone") from error
    except (OSError, UnicodeError) as error:
        raise SourceError(f"cannot read {target}: {_cause(error)}") from error
    try:
        return _content(descriptor, target, limit_bytes, mark)
    except OSError as error:
        raise SourceError(f"cannot read {target}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _content(descriptor: int, target: Path, limit_bytes: int, mark: str | None) -> bytes:
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        raise SourceError(f"{target} is no regular file")
    _check(before, mark, target)
    if before.st_size > limit_bytes:
        raise OverLimit(f"{target} has more than {limit_bytes} bytes")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OverLimit(f"{target} has more than {limit_bytes} bytes")
    _check(os.fstat(descriptor), mark, target)
    return data


def _check(found: os.stat_result, mark: str | None, target: Path) -> None:
    if mark is not None and mark_of(found) != mark:
        raise SourceChanged(f"{target} has changed since it was listed; list it again")


def delete(root: Path, key: str, mark: str) -> None:
    """Delete one file if its mark still is `mark`; raises SourceChanged or SourceError.

    Between the check and the deletion lie two system calls: a writer that hits that gap loses
    what it wrote, as no system call deletes on a condition.
    """
    target = root / key
    if not is_key(key):
        raise SourceError(f"{key!a} is no key of the folder {root}")
    try:
        parent, name = _parent(root, key)
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise SourceChanged(f"{target} is no regular file any more")
            _check(found, mark, target)
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)
    except FileNotFoundError as error:
        raise SourceChanged(f"{target} is gone") from error
    except (OSError, UnicodeError) as error:
        raise SourceError(f"cannot delete {target}: {_cause(error)}") from error


def _parent(root: Path, key: str) -> tuple[int, str]:
    """Return the open folder of a file, for the caller to close, and the file's name in it."""
    *folders, name = key.split("/")
    descriptor = open_root(root)
    try:
        return open_folder(descriptor, tuple(folders)), name
    finally:
        os.close(descriptor)


def _cause(error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError):
        return "its name is no UTF-8"
    linked = error.errno in {errno.ELOOP, errno.ENOTDIR}
    return "it is a link or lies behind one" if linked else str(error.strerror)
