"""What every source of pictures offers: listing, reading, deleting, watching.

An item is a promise about one object: `read` gives the bytes that its mark stands for, and
`delete` removes nothing else. Both raise SourceChanged when the object is another by now. What
the bytes are, and what is done about them, is left to others.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

Report = Callable[[str], None]
"""Takes one sentence about something that was left out; called in the event loop's thread."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a source."""

    key: str
    """Its name within the source."""
    size: int
    """Bytes."""
    mark: str
    """Changes when the object does."""
    modified: float | None = None
    """Epoch seconds, where the source tells."""
    cursor: str = ""
    """Opaque: `list` takes it to go on behind this item. It may give a few items again."""
    aliases: tuple[str, ...] = ()
    """Other names, where a source has them (pict-rs)."""


class Source(Protocol):
    """A place where pictures lie. Every call may raise SourceError or one of its kinds."""

    @property
    def kind(self) -> str:
        """Say which kind of source it is, as `kind` in the config."""

    @property
    def location(self) -> str:
        """Say where it is, without any secret."""

    @property
    def can_undo_delete(self) -> bool:
        """Tell whether a deleted object can be brought back by the admin; False when unknown."""

    def list(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield every object whose key begins with `prefix`, going on behind `cursor`."""

    def watch(self, cursor: str | None = None, prefix: str = "") -> AsyncIterator[Item]:
        """Yield what `list` would, then whatever appears or changes, without end."""

    def forget(self, item: Item) -> None:
        """Let `watch` yield this item again at its next full listing: it could not be judged."""

    async def read(self, item: Item, limit_bytes: int) -> bytes:
        """Return the object's bytes; raises OverLimit past `limit_bytes`, SourceChanged."""

    async def delete(self, item: Item) -> None:
        """Delete the object if it is still the one listed; else raises SourceChanged."""

    async def close(self) -> None:
        """Let connections go; the source is not used afterwards."""
