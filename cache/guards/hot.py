"""The hot-hash breaker: holds a code that suddenly matches many distinct pictures.

Decides when a code is hot: more than `decide.hot_hash_pictures` distinct pictures near it within
an hour (its own, where that was scanned, among them), counted by content, else sha256, in the
memory of each process; the codes hit longest ago are forgotten first. What is held stands in SQL:
such a code only asks for a scan (`guards`), until a person releases it. A code that a person here
upheld or escalated, or released within the last RELEASE_SECONDS, is never held; the admin is told
of its heat alone, once a day.

Whoever heats a code on purpose, with pictures of his own, gains that its copies are scanned: the
model looks at what would have waited for a person. Where nothing can scan, it waits as before.
"""

from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from cache.errors import NotHeld
from cache.memory.lookup import findings_of_image
from cache.storage.case_tables import held_codes
from cache.storage.rows import upsert
from cache.storage.tables import images, issuers
from cache.trust.notices import tell
from cache.verdict import SELF, Finding

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
RELEASE_SECONDS = 7 * DAY_SECONDS
MAX_REMEMBERED = 50_000
"""How many pictures are remembered, of all codes together; 8 MB, or 32 with a code for each."""

CodeKey = tuple[int, int]
"""A code: the row ids of its picture and of its issuer."""


@dataclass(frozen=True, slots=True)
class Hot:
    """A code that became hot: how many distinct pictures it matched within the hour."""

    code: CodeKey
    pictures: int


@dataclass(frozen=True, slots=True)
class HeldCode:
    """A code that is held, or was: of which picture, whose, since when."""

    sha256: bytes
    origin: str
    pictures: int
    held: int
    released: int | None


class Heat:
    """Counts distinct pictures a code within a sliding hour; not for several threads at once."""

    def __init__(self, limit: int, max_remembered: int = MAX_REMEMBERED) -> None:
        self._limit, self._max = limit, max_remembered
        self._codes: OrderedDict[CodeKey, OrderedDict[bytes, float]] = OrderedDict()
        self._remembered = 0

    def __len__(self) -> int:
        return self._remembered

    def note(self, code: CodeKey, picture: bytes, now: float) -> Hot | None:
        """Count a picture (its digest) near a code; return it once it passes the limit."""
        pictures = self._codes.setdefault(code, OrderedDict())
        self._codes.move_to_end(code)
        before = len(pictures)
        pictures[picture[:8]] = now
        pictures.move_to_end(picture[:8])
        while next(iter(pictures.values())) <= now - HOUR_SECONDS:
            pictures.popitem(last=False)
        self._remembered += len(pictures) - before
        if len(pictures) > self._limit:
            self._forget(code)
            return Hot(code, len(pictures))
        while self._remembered > self._max:
            self._forget(next(iter(self._codes)))
        return None

    def _forget(self, code: CodeKey) -> None:
        self._remembered -= len(self._codes.pop(code))


def hold(connection: Connection, hot: Hot, now: int) -> bool:
    """Hold a code that became hot, and tell the admin; return whether it is held now.

    Doing it twice changes nothing.
    """
    image_id, issuer_id = hot.code
    row = connection.execute(
        select(held_codes).where(
            held_codes.c.image_id == image_id, held_codes.c.issuer_id == issuer_id
        )
    ).one_or_none()
    if row is not None and row.released is None:
        return True
    released = _stays_released(connection, hot.code, row.released if row else None, now)
    if released is not None and row is not None and row.held > now - DAY_SECONDS:
        return False  # told already
    values = {"pictures": hot.pictures, "held": now, "released": released}
    key = ("image_id", "issuer_id")
    statement = upsert(connection.dialect.name, held_codes, key, tuple(values))
    connection.execute(statement, {"image_id": image_id, "issuer_id": issuer_id, **values})
    _tell(connection, hot, is_held=released is None, now=now)
    return released is None


def release(connection: Connection, sha256: bytes, now: int) -> list[HeldCode]:
    """Let the codes of a picture act again, whoever they are of; raises NotHeld."""
    found = [one for one in list_held(connection) if one.sha256 == sha256]
    if not found:
        raise NotHeld(f"no code of {sha256.hex()} is held; see `fediverdict codes held`")
    of_picture = select(images.c.id).where(images.c.sha256 == sha256).scalar_subquery()
    connection.execute(
        update(held_codes)
        .where(held_codes.c.image_id == of_picture, held_codes.c.released.is_(None))
        .values(released=now)
    )
    return found


def list_held(connection: Connection, *, released: bool = False) -> list[HeldCode]:
    """Return the codes that are held, or those that once were hot and act; the newest first."""
    column = held_codes.c.released
    rows = connection.execute(
        select(images.c.sha256, issuers.c.origin, held_codes.c.pictures, held_codes.c.held, column)
        .join_from(held_codes, images, images.c.id == held_codes.c.image_id)
        .join(issuers, issuers.c.id == held_codes.c.issuer_id)
        .where(column.is_not(None) if released else column.is_(None))
        .order_by(held_codes.c.held.desc(), images.c.sha256, issuers.c.origin)
    )
    return [HeldCode(*row) for row in rows]


def bears_finding(connection: Connection, image_id: int) -> bool:
    """Tell whether a person here upheld or escalated this picture, or an equal one."""
    found = findings_of_image(connection, image_id)
    return any(one.finding in (Finding.UPHELD, Finding.ESCALATED) for one in found)


def _stays_released(
    connection: Connection, code: CodeKey, released: int | None, now: int
) -> int | None:
    """Return since when a hot code may act all the same; None where it is to be held."""
    image_id, issuer_id = code
    if released is not None and released > now - RELEASE_SECONDS:
        return released
    is_own = connection.execute(select(issuers.c.origin).where(issuers.c.id == issuer_id))
    return now if is_own.scalar_one() == SELF and bears_finding(connection, image_id) else None


def _tell(connection: Connection, hot: Hot, *, is_held: bool, now: int) -> None:
    image_id, issuer_id = hot.code
    sha256 = connection.execute(select(images.c.sha256).where(images.c.id == image_id)).scalar_one()
    origin = connection.execute(
        select(issuers.c.origin).where(issuers.c.id == issuer_id)
    ).scalar_one()
    whose = "our own code" if origin == SELF else f"a code of {origin}"
    said = (
        "It is held: pictures near it are only scanned. If they are what it flags, "
        f"`fediverdict codes release {sha256.hex()}`; else look at the picture it is of."
        if is_held
        else "A person here spoke for it, so it acts as before; look at what it matches."
    )
    text = (
        f"{whose}, of the picture {sha256.hex()}, matched {hot.pictures} distinct pictures within "
        f"an hour. {said}"
    )
    tell(connection, "hot-hash", text, None if origin == SELF else issuer_id, now=now)
