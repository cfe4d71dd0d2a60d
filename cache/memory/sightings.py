"""Remembers where pictures were met, so that a second pass skips what did not change.

Never federated. Decides what "unchanged" means: the same key of the same source, of the same
size and mark. Listing a source, scanning it, and whether an object that could not be judged is
tried again are left to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from cache.storage.rows import insert_into
from cache.storage.tables import images, sightings, sources

JUDGED = "judged"


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object of a source as it was met."""

    source_id: int
    key: str  # its name within the source
    size: int  # bytes
    mark: str  # changes when the object changes, e.g. its mtime
    sha256: bytes | None  # None where it was too large to be hashed
    outcome: str  # judged | undecodable | over-limit
    seen: int
    reason: str = ""  # why it could not be judged
    terms: str = ""  # digest of the limits it was met under


def source_row(connection: Connection, *, name: str, kind: str, location: str) -> int:
    """Return the row id of a source, adding it or noting its new location."""
    connection.execute(
        insert_into(connection, sources)
        .values(name=name, kind=kind, location=location)
        .on_conflict_do_update(index_elements=["name"], set_={"kind": kind, "location": location})
    )
    found = select(sources.c.id).where(sources.c.name == name)
    return int(connection.execute(found).scalar_one())


def record_sightings(
    connection: Connection, met: Sequence[Sighting], image_ids: Sequence[int | None]
) -> None:
    """Store sightings, each of the picture in its image row; newer ones of a key replace it."""
    if not met:
        return
    rows = [
        {
            "source_id": one.source_id,
            "key": one.key,
            "size": one.size,
            "mark": one.mark,
            "image_id": image_id,
            "outcome": one.outcome,
            "reason": one.reason,
            "terms": one.terms,
            "seen": one.seen,
        }
        for one, image_id in zip(met, image_ids, strict=True)
    ]
    insert = insert_into(connection, sightings)
    kept = {"source_id", "key"}
    replaced = {name: insert.excluded[name] for name in rows[0] if name not in kept}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["source_id", "key"], set_=replaced), rows
    )


def unchanged(
    connection: Connection, *, source_id: int, key: str, size: int, mark: str
) -> Sighting | None:
    """Return the sighting of this key if the object is still as it was met then."""
    row = connection.execute(
        select(sightings, images.c.sha256)
        .join_from(sightings, images, images.c.id == sightings.c.image_id, isouter=True)
        .where(
            sightings.c.source_id == source_id,
            sightings.c.key == key,
            sightings.c.size == size,
            sightings.c.mark == mark,
        )
    ).one_or_none()
    if row is None:
        return None
    sha256 = bytes(row.sha256) if row.sha256 is not None else None
    said = (row.outcome, row.seen, row.reason, row.terms)
    return Sighting(source_id, key, size, mark, sha256, *said)


def forget_sighting(connection: Connection, *, source_id: int, key: str) -> None:
    """Drop the sighting of an object that is no more."""
    connection.execute(
        delete(sightings).where(sightings.c.source_id == source_id, sightings.c.key == key)
    )
