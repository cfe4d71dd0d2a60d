"""Remembers where pictures were met, so that a second pass skips what did not change.

Never federated. Decides what "unchanged" means: the same key of the same source, of the same
size and mark. Listing a source and scanning it are left to others.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from cache.rows import insert_into
from cache.tables import images, sightings, sources


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object of a source as it was met."""

    source_id: int
    key: str  # its name within the source
    size: int  # bytes
    mark: str  # changes when the object changes, e.g. its mtime
    image_id: int | None  # None where it was too large to be hashed
    outcome: str  # judged | undecodable | over-limit
    seen: int


def source_row(connection: Connection, *, name: str, kind: str, location: str) -> int:
    """Return the row id of a source, adding it or noting its new location."""
    connection.execute(
        insert_into(connection, sources)
        .values(name=name, kind=kind, location=location)
        .on_conflict_do_update(index_elements=["name"], set_={"kind": kind, "location": location})
    )
    found = select(sources.c.id).where(sources.c.name == name)
    return int(connection.execute(found).scalar_one())


def record_sighting(connection: Connection, sighting: Sighting) -> None:
    """Store a sighting; a newer one of the same key takes its place."""
    values = {
        "size": sighting.size,
        "mark": sighting.mark,
        "image_id": sighting.image_id,
        "outcome": sighting.outcome,
        "seen": sighting.seen,
    }
    connection.execute(
        insert_into(connection, sightings)
        .values(source_id=sighting.source_id, key=sighting.key, **values)
        .on_conflict_do_update(index_elements=["source_id", "key"], set_=values)
    )


def unchanged(
    connection: Connection, *, source_id: int, key: str, size: int, mark: str
) -> Sighting | None:
    """Return the sighting of this key if the object is still as it was met then."""
    row = connection.execute(
        select(sightings).where(
            sightings.c.source_id == source_id,
            sightings.c.key == key,
            sightings.c.size == size,
            sightings.c.mark == mark,
        )
    ).one_or_none()
    if row is None:
        return None
    return Sighting(source_id, key, size, mark, row.image_id, row.outcome, row.seen)


def sha256_of(connection: Connection, image_id: int) -> bytes:
    """Return the sha256 of a picture by its row id."""
    found = select(images.c.sha256).where(images.c.id == image_id)
    return bytes(connection.execute(found).scalar_one())
