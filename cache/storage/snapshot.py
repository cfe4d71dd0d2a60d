"""Tells in a microsecond whether anything was committed between two reads.

Decides when what was derived from an earlier read (codes in memory, trust) still holds: when
both reads see the same snapshot. SQLite knows (`PRAGMA data_version`, the very counter that
empties its page cache); PostgreSQL does not, and no connection that writes does. Those have no
snapshot, and whoever asks has to read again.
"""

from sqlalchemy import Connection

_KEY = "fediverdict_snapshot"


class Snapshot:
    """What one read sees; two reads of a store with one and the same object see the same."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number  # SQLite's; of this connection alone


def snapshot_of(connection: Connection) -> Snapshot | None:
    """Return the snapshot that the read of this connection sees, None where none is known."""
    found: Snapshot | None = connection.info.get(_KEY)
    return found


def note_snapshot(connection: Connection, number: int) -> None:
    """Note SQLite's `data_version`, read in the transaction that it is to speak for."""
    held: Snapshot | None = connection.info.get(_KEY)
    if held is None or held.number != number:
        connection.info[_KEY] = Snapshot(number)
