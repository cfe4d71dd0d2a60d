"""Keeps what was answered, a number a day, and reads it back.

Decides how counts are stored, by whom a reuse was made possible, and how long they are kept.
What is counted is decided in `fediverdict.tally`, which hands over what it counted since it last
did. Never federated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Executable, Table, delete, func, select

from cache.storage.case_tables import cases
from cache.storage.rows import IN_LIST, batches, insert_into
from cache.storage.tables import codes, issuers, verdicts
from cache.storage.trust_tables import agreements, counts, notices

SECONDS_PER_DAY = 86_400
KEPT_DAYS = 400
"""Counts older than this are dropped when newer ones are written."""

NO_PEER = 0
"""The issuer id of what no peer had a part in."""

ANY_LABEL = ""
"""The label of `agreements` that stands for all of them."""

OPEN_CASES = ("open", "reopened")


@dataclass(slots=True)
class Counts:
    """What was counted and not yet stored: `what` -> number, and that by the peer's origin."""

    answers: dict[str, int] = field(default_factory=dict)
    peers: dict[tuple[str, str], int] = field(default_factory=dict)  # (what, origin)
    clean_hits: dict[str, int] = field(default_factory=dict)  # origin -> its clean verdicts reused

    def __bool__(self) -> bool:
        return bool(self.answers or self.peers)

    def add(self, what: str, number: int = 1) -> None:
        """Count something."""
        self.answers[what] = self.answers.get(what, 0) + number

    def add_of_peer(self, what: str, origin: str, number: int = 1) -> None:
        """Count something that a peer had a part in."""
        key = (what, origin)
        self.peers[key] = self.peers.get(key, 0) + number

    def add_clean_hit(self, origin: str, number: int = 1) -> None:
        """Count a clean verdict of a peer that was reused."""
        self.clean_hits[origin] = self.clean_hits.get(origin, 0) + number

    def merge(self, other: "Counts") -> None:
        """Take the counts of another over."""
        for what, number in other.answers.items():
            self.add(what, number)
        for (what, origin), number in other.peers.items():
            self.add_of_peer(what, origin, number)
        for origin, number in other.clean_hits.items():
            self.add_clean_hit(origin, number)


@dataclass(frozen=True, slots=True)
class Stored:
    """The sum of one count over some days."""

    what: str
    origin: str | None  # None: of no peer, or of one that is gone
    number: int


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of one issuer, and how it fared where it could be compared with us."""

    origin: str
    verdicts: int = 0
    codes: int = 0
    clean_compared: int = 0
    clean_false: int = 0
    flag_compared: int = 0
    flag_agreed: int = 0


def day_of(now: float) -> int:
    """Return the day of a moment: days since 1970-01-01 UTC."""
    return int(now) // SECONDS_PER_DAY


def store_counts(connection: Connection, counted: Counts, *, day: int) -> None:
    """Add what was counted to the day; counts of peers unknown here are left out."""
    ids = _ids(connection, {origin for _, origin in counted.peers} | counted.clean_hits.keys())
    rows = {(what, NO_PEER): number for what, number in counted.answers.items()}
    rows |= {
        (what, ids[origin]): number
        for (what, origin), number in counted.peers.items()
        if origin in ids
    }
    for (what, issuer_id), number in sorted(rows.items()):
        row = {"day": day, "what": what, "issuer_id": issuer_id, "number": number}
        connection.execute(_adding(connection, counts, row, "number"))
    for origin, number in sorted(counted.clean_hits.items()):
        if origin in ids:
            row = {"issuer_id": ids[origin], "label": ANY_LABEL, "hits_since_false": number}
            connection.execute(_adding(connection, agreements, row, "hits_since_false"))
    connection.execute(delete(counts).where(counts.c.day < day - KEPT_DAYS))


def counts_since(connection: Connection, day: int) -> list[Stored]:
    """Return what was counted on that day and after it, summed up."""
    rows = connection.execute(
        select(counts.c.what, issuers.c.origin, func.sum(counts.c.number))
        .join_from(counts, issuers, issuers.c.id == counts.c.issuer_id, isouter=True)
        .where(counts.c.day >= day)
        .group_by(counts.c.what, issuers.c.origin)
        .order_by(counts.c.what, issuers.c.origin)
    )
    return [Stored(what, origin, int(number)) for what, origin, number in rows]


def first_day(connection: Connection) -> int | None:
    """Return the first day of which counts are held."""
    day = connection.execute(select(func.min(counts.c.day))).scalar()
    return None if day is None else int(day)


def held_by_issuer(connection: Connection) -> list[Held]:
    """Return what is held of every issuer, ourselves included; reads every verdict's key."""
    rows = _numbers(
        connection, select(verdicts.c.issuer_id, func.count()).group_by(verdicts.c.issuer_id)
    )
    searched = select(codes.c.issuer_id, func.count()).where(codes.c.withdrawn.is_(False))
    in_index = _numbers(connection, searched.group_by(codes.c.issuer_id))
    fared = {
        row.issuer_id: row[1:]
        for row in connection.execute(
            select(
                agreements.c.issuer_id,
                agreements.c.clean_compared,
                agreements.c.clean_false,
                agreements.c.flag_compared,
                agreements.c.flag_agreed,
            ).where(agreements.c.label == ANY_LABEL)
        )
    }
    known = connection.execute(select(issuers.c.id, issuers.c.origin).order_by(issuers.c.origin))
    return [
        Held(origin, rows.get(i, 0), in_index.get(i, 0), *fared.get(i, (0, 0, 0, 0)))
        for i, origin in known
    ]


def open_cases(connection: Connection) -> int:
    """Return how many cases wait for a person."""
    waiting = select(func.count()).select_from(cases).where(cases.c.state.in_(OPEN_CASES))
    return int(connection.execute(waiting).scalar_one())


def unread_notices(connection: Connection) -> int:
    """Return how many notices nobody confirmed to have read."""
    unread = select(func.count()).select_from(notices).where(notices.c.read.is_(None))
    return int(connection.execute(unread).scalar_one())


def _ids(connection: Connection, origins: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in batches(sorted(origins), IN_LIST):
        rows: Sequence[tuple[str, int]] = [
            (row.origin, row.id)
            for row in connection.execute(
                select(issuers.c.origin, issuers.c.id).where(issuers.c.origin.in_(some))
            )
        ]
        found.update(rows)
    return found


def _adding(
    connection: Connection, table: Table, row: Mapping[str, object], column: str
) -> Executable:
    """Return what inserts a row, or adds its `column` to the one that is there."""
    statement = insert_into(connection, table).values(**row)
    added = table.c[column] + statement.excluded[column]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={column: added}
    )


def _numbers(connection: Connection, statement: Executable) -> dict[int, int]:
    return {int(key): int(number) for key, number in connection.execute(statement)}
