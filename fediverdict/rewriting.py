"""Writes a file of a folder anew, in place: all of it or nothing, and only the one that was meant.

No link is followed. The new bytes go into a file beside it, which then takes its name; mode,
owner (where we may) and times are kept. A file that was left by a process that was killed is
replaced. Extended attributes are not kept.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from scanner.errors import SourceChanged, SourceError
from scanner.sources import files
from scanner.sources.source import Item
from scanner.sources.wanted import is_key

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace_file(root: Path, item: Item, data: bytes) -> None:
    """Give a file new bytes if it still is the one listed.

    Raises SourceChanged where it is not, SourceError where it cannot be written.
    """
    if not is_key(item.key):
        raise SourceError(f"{item.key!a} is no key of the folder {root}")
    *folders, name = item.key.split("/")
    target = root / item.key
    try:
        with _opened(root, tuple(folders)) as folder:
            _replace(folder, name, item.mark, data)
    except FileNotFoundError as error:
        raise SourceChanged(f"{target} is gone") from error
    except OSError as error:
        raise SourceError(f"cannot write {target}: {error.strerror}") from error


@contextlib.contextmanager
def _opened(root: Path, folders: tuple[str, ...]) -> Iterator[int]:
    top = files.open_root(root)
    try:
        folder = files.open_folder(top, folders)
    finally:
        os.close(top)
    try:
        yield folder
    finally:
        os.close(folder)


def _replace(folder: int, name: str, mark: str, data: bytes) -> None:
    found = _stat(folder, name, mark)
    beside = f".{hashlib.sha256(name.encode()).hexdigest()[:32]}.fediverdict"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=folder)
    descriptor = os.open(beside, NEW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _keep(file.fileno(), found)
            os.fsync(file.fileno())
        _stat(folder, name, mark)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
        raise
    os.fsync(folder)


def _keep(descriptor: int, found: os.stat_result) -> None:
    """Give the new file the owner, mode and times of the old one."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, found.st_mode & 0o777)
    os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))


def _stat(folder: int, name: str, mark: str) -> os.stat_result:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if files.mark_of(found) != mark:
        raise SourceChanged(f"{name} has changed since it was listed; scan again")
    return found
