"""One process at a time: a lock file that ends with its holder, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fediverdict.errors import UserError


@contextmanager
def alone(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock file for the block; raises UserError with `otherwise` if another does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(otherwise) from error
        yield
    finally:
        os.close(descriptor)
