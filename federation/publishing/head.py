"""The note of how far each of our feeds was ever served: `state/feed-head.json`.

Its law: a page is noted here, durably, before it is first served or delivered. The note
lives outside the database on purpose: when the two disagree at the start of `serve`, the
database was restored, cloned or moved, and a new epoch must begin (decided in `feeds.py`).
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FeedHead:
    """The last page of a feed that was served: its epoch, number (from 1) and digest."""

    epoch: str
    page: int
    digest: str


class HeadFile:
    """Reads and writes the note; one per process, kept in memory once read."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "feed-head.json"
        self._heads = self._load()

    def get(self, feed: str) -> FeedHead | None:
        """Return the noted head of `feed`, or None when none was noted (or none is readable)."""
        return self._heads.get(feed)

    def note(self, feed: str, head: FeedHead) -> None:
        """Write the head of `feed` durably: file synced, renamed, folder synced.

        Another process may note too: one at a time, and a note never goes back in its epoch.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            noted = self._load()
            last = noted.get(feed)
            if last is None or last.epoch != head.epoch or last.page <= head.page:
                noted |= {feed: head}
                self._write(noted)
            self._heads = noted

    def _write(self, heads: dict[str, FeedHead]) -> None:
        text = json.dumps({name: asdict(one) for name, one in sorted(heads.items())}, indent=1)
        draft = self._path.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        _sync_folder(self._path.parent)

    def _load(self) -> dict[str, FeedHead]:
        try:
            noted = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: FeedHead(**one) for name, one in noted.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            return {}  # an unreadable note is a missing note: a new epoch begins


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
