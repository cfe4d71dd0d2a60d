"""Keeps the grounds of pictures in cases: what lapsed is marked, what came is added.

The history of a case is made of them, so that what lapsed is kept, up to a number. One that lapsed
and stands again is the same row. Decides how many of one picture are kept; what follows is left to
`case_opening`. Wants a write transaction.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, or_, select, update

from cache.cases.case_evidence import Decided, Ground
from cache.storage.case_tables import case_grounds
from cache.storage.rows import batches, insert_into
from cache.storage.tables import images, issuers

MAX_GROUNDS = 64
"""How many grounds of one picture a case keeps, the first of each issuer before a second one."""

MAX_LAPSED = 64
"""How many grounds of one picture are kept that lapsed, the newest."""

ACTED_SECONDS = 3_600
"""How long the blast-radius breaker counts an action, see `blast`."""

Key = tuple[int, int, str, str]
KEY = ("issuer_id", "of_image_id", "kind", "rule")
_AGAIN = ("distance", "acted", "added", "expires", "gone")


@dataclass(frozen=True, slots=True)
class StoredGround:
    """A ground with row ids for names."""

    issuer_id: int
    of_image_id: int
    ground: Ground

    @property
    def key(self) -> Key:
        """What is unique among the grounds of one picture."""
        return (self.issuer_id, self.of_image_id, self.ground.kind.value, self.ground.rule)


@dataclass(frozen=True, slots=True)
class Lapse:
    """A ground that no longer stands."""

    row_id: int
    origin: str
    expires: int | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling the grounds of a picture came to."""

    lapsed: Sequence[Lapse]
    came: int
    renewed: int  # that stand as before, but for another time

    def __bool__(self) -> bool:
        """Tell whether any lapsed or came."""
        return bool(self.lapsed or self.came)


class Names:
    """Row ids of the pictures and issuers that some decisions name."""

    def __init__(self, connection: Connection, made: Iterable[Decided]) -> None:
        made = list(made)
        grounds = [ground for one in made for ground in one.grounds]
        hashes = {one.sha256 for one in made} | {g.of for g in grounds if g.of is not None}
        self.images: dict[bytes, int] = {}
        for some in batches(sorted(hashes)):
            rows = select(images.c.sha256, images.c.id).where(images.c.sha256.in_(some))
            self.images |= {bytes(row.sha256): row.id for row in connection.execute(rows)}
        self.issuers: dict[str, int] = {}
        for origins in batches(sorted({ground.issuer for ground in grounds})):
            known = select(issuers.c.origin, issuers.c.id).where(issuers.c.origin.in_(origins))
            self.issuers |= {row.origin: row.id for row in connection.execute(known)}

    def stored(self, one: Decided) -> list[StoredGround]:
        """Return the grounds of a decision with row ids; what is named no more has lapsed."""
        found: dict[Key, StoredGround] = {}
        for ground in one.grounds:
            of_image = ground.of_image if ground.of is None else self.images.get(ground.of)
            issuer_id = self.issuers.get(ground.issuer)
            if of_image is not None and issuer_id is not None:
                stored = StoredGround(issuer_id, of_image, ground)
                found.setdefault(stored.key, stored)
        return list(found.values())


def settle_grounds(
    connection: Connection,
    case_id: int,
    image_id: int,
    standing: Sequence[StoredGround],
    *,
    now: int,
) -> Settled:
    """Let exactly these grounds of a picture stand, as many as are kept.

    Those that lapsed are marked, and the newest of them kept.
    """
    rows = connection.execute(
        select(case_grounds, issuers.c.origin)
        .join(issuers, issuers.c.id == case_grounds.c.issuer_id)
        .where(case_grounds.c.case_id == case_id, case_grounds.c.image_id == image_id)
        .where(case_grounds.c.gone.is_(None))
    ).all()
    held = {(row.issuer_id, row.of_image_id, row.kind, row.rule): row for row in rows}
    all_standing = {one.key for one in standing}
    standing_now = {one.key: one for one in _kept(standing)}
    lapsed = [
        Lapse(row.id, row.origin, row.expires)
        for key, row in held.items()
        if key not in all_standing
    ]
    left = [row.id for key, row in held.items() if key not in standing_now]  # some for want of room
    for some in batches(left):
        _set(connection, some, gone=now)
    if left:
        _forget_lapsed(connection, case_id, image_id, now)
    renewed = [
        (held[key].id, one.ground.expires)
        for key, one in standing_now.items()
        if key in held and held[key].expires != one.ground.expires
    ]
    for row_id, expires in renewed:
        _set(connection, [row_id], expires=expires)
    acting = [
        held[key].id
        for key, one in standing_now.items()
        if key in held and one.ground.acted and not held[key].acted
    ]
    for some in batches(acting):  # they asked for review before: now the action counts
        _set(connection, some, acted=True, added=now)
    came = [one for key, one in standing_now.items() if key not in held]
    add_grounds(connection, case_id, image_id, came, now=now)
    return Settled(lapsed, len(came), len(renewed))


def add_grounds(
    connection: Connection,
    case_id: int,
    image_id: int,
    grounds: Sequence[StoredGround],
    *,
    now: int,
) -> None:
    """Add grounds of a picture, at most MAX_GROUNDS; one that lapsed stands again."""
    rows = [
        _values(one) | {"case_id": case_id, "image_id": image_id, "added": now}
        for one in _kept(grounds)
    ]
    if rows:
        insert = insert_into(connection, case_grounds)
        acted = or_(case_grounds.c.acted, insert.excluded.acted)  # what acted, did
        again = {**{name: insert.excluded[name] for name in _AGAIN}, "acted": acted}
        key = ["case_id", "image_id", *KEY]
        connection.execute(insert.on_conflict_do_update(index_elements=key, set_=again), rows)


def _kept(grounds: Sequence[StoredGround]) -> list[StoredGround]:
    """Return MAX_GROUNDS of them, the first of each issuer and rule before any second one.

    Else one peer that says much would leave no room for whoever makes the decision with it, and
    nothing would follow when that one retracts.
    """
    seen: Counter[tuple[int, str]] = Counter()
    ranked: list[tuple[int, StoredGround]] = []
    for one in grounds:
        of_issuer = one.issuer_id, one.ground.rule
        ranked.append((seen[of_issuer], one))
        seen[of_issuer] += 1
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])[:MAX_GROUNDS]]


def _forget_lapsed(connection: Connection, case_id: int, image_id: int, now: int) -> None:
    """Keep the newest MAX_LAPSED that lapsed, else a peer that changes its mind fills the disk.

    What acted within the last hour stays: it counts in the blast radius.
    """
    surplus = (
        select(case_grounds.c.id)
        .where(case_grounds.c.case_id == case_id, case_grounds.c.image_id == image_id)
        .where(case_grounds.c.gone.is_not(None))
        .where(or_(~case_grounds.c.acted, case_grounds.c.added <= now - ACTED_SECONDS))
        .order_by(case_grounds.c.gone.desc(), case_grounds.c.id.desc())
        .offset(MAX_LAPSED)
    )
    connection.execute(delete(case_grounds).where(case_grounds.c.id.in_(surplus)))


def _values(one: StoredGround) -> dict[str, object]:
    return {
        "issuer_id": one.issuer_id,
        "of_image_id": one.of_image_id,
        "kind": one.ground.kind.value,
        "distance": one.ground.distance,
        "rule": one.ground.rule,
        "acted": one.ground.acted,
        "expires": one.ground.expires,
        "gone": None,
    }


def _set(connection: Connection, row_ids: Sequence[int], **values: object) -> None:
    connection.execute(update(case_grounds).where(case_grounds.c.id.in_(row_ids)).values(values))
