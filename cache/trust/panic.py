"""Panic: every peer is only observed, at once; and what their flags brought before people.

Decides who loses weight (whoever is trusted; what is suspended stays so, and weights stay noted)
and which cases are theirs: open or reopened ones with a ground of a peer that stands, or that
lapsed since the last panic. It releases nothing: that takes a person's dismissal (`cases`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select, update

from cache.cases.cases import WAITING, recheck_issuer
from cache.judgement import PeerState
from cache.storage.case_tables import case_grounds, case_pictures, cases
from cache.storage.rows import batches, upsert
from cache.storage.tables import codes, images, issuers, notes
from cache.trust.notices import tell
from cache.verdict import SELF

KIND = "panic"
SKEW_SECONDS = 300
"""How far the clocks of the machines may be apart: who marks a ground as gone may be another."""

_NOTE = "panic"  # when it was called last


@dataclass(frozen=True, slots=True)
class Calmed:
    """A peer that is only observed from now on, and what it weighed before (hundredths)."""

    origin: str
    clean_weight: int
    flag_weight: int


@dataclass(frozen=True, slots=True)
class CausedCase:
    """A case that awaits a person, for flags of peers."""

    id: int
    state: str
    rules: tuple[str, ...]
    opened: int
    peers: tuple[str, ...]
    only_peers: bool  # nothing of our own speaks against its pictures
    pictures: tuple[bytes, ...]  # sha256


def panic(connection: Connection, now: int) -> list[Calmed]:
    """Put every trusted peer to observed and let its cases be looked at again; wants a write.

    Their codes weigh nothing from now on; `settle_peer_codes` takes them out of the near-match
    index, which may take longer.
    """
    trusted = connection.execute(
        select(issuers.c.id, issuers.c.origin, issuers.c.clean_weight, issuers.c.flag_weight)
        .where(issuers.c.state == PeerState.TRUSTED.value, issuers.c.origin != SELF)
        .order_by(issuers.c.origin)
    ).all()
    _note(connection, now)
    connection.execute(
        update(issuers)
        .where(issuers.c.state == PeerState.TRUSTED.value, issuers.c.origin != SELF)
        .values(state=PeerState.OBSERVED.value)
    )
    for row in trusted:
        reason = f"panic: {row.origin} is only observed"
        recheck_issuer(connection, row.id, reason=reason, flags_too=False)
    if trusted:
        names = ", ".join(row.origin for row in trusted)
        tell(connection, KIND, f"Panic: only observed from now on: {names}", now=now)
    return [Calmed(row.origin, row.clean_weight, row.flag_weight) for row in trusted]


def with_codes(connection: Connection) -> list[int]:
    """Return the row ids of peers that are not trusted and have codes in the near-match index."""
    rows = connection.execute(
        select(issuers.c.id)
        .where(
            issuers.c.origin != SELF,
            issuers.c.state != PeerState.TRUSTED.value,
            select(codes.c.id)
            .where(codes.c.issuer_id == issuers.c.id, ~codes.c.withdrawn)
            .exists(),
        )
        .order_by(issuers.c.id)
    )
    return list(rows.scalars())


def caused_by_peers(connection: Connection) -> list[CausedCase]:
    """Return the cases that await a person for flags of peers, the oldest first."""
    noted = connection.execute(select(notes.c.value).where(notes.c.name == _NOTE)).scalar()
    since = int(noted or 2**62) - SKEW_SECONDS
    stands = or_(case_grounds.c.gone.is_(None), case_grounds.c.gone >= since)
    rows = connection.execute(
        select(case_grounds.c.case_id, issuers.c.origin)
        .distinct()
        .join_from(case_grounds, issuers, issuers.c.id == case_grounds.c.issuer_id)
        .join(cases, cases.c.id == case_grounds.c.case_id)
        .where(stands, cases.c.state.in_(WAITING))
        .order_by(case_grounds.c.case_id, issuers.c.origin)
    )
    origins: dict[int, list[str]] = {}
    for case_id, origin in rows:
        origins.setdefault(case_id, []).append(origin)
    theirs = [case_id for case_id, names in origins.items() if names != [SELF]]
    return [one for some in batches(theirs) for one in _cases(connection, some, origins)]


def _cases(
    connection: Connection, ids: Sequence[int], origins: dict[int, list[str]]
) -> list[CausedCase]:
    pictures: dict[int, list[bytes]] = {}
    for case_id, sha256 in connection.execute(
        select(case_pictures.c.case_id, images.c.sha256)
        .join_from(case_pictures, images, images.c.id == case_pictures.c.image_id)
        .where(case_pictures.c.case_id.in_(ids))
        .order_by(case_pictures.c.case_id, images.c.sha256)
    ):
        pictures.setdefault(case_id, []).append(sha256)
    rows = connection.execute(
        select(cases.c.id, cases.c.state, cases.c.rules, cases.c.opened)
        .where(cases.c.id.in_(ids))
        .order_by(cases.c.id)
    )
    return [
        CausedCase(
            case_id,
            state,
            tuple(rules.split()),
            opened,
            tuple(name for name in origins[case_id] if name != SELF),
            SELF not in origins[case_id],
            tuple(pictures.get(case_id, ())),
        )
        for case_id, state, rules, opened in rows
    ]


def _note(connection: Connection, now: int) -> None:
    statement = upsert(connection.dialect.name, notes, ("name",), ("value",))
    connection.execute(statement, {"name": _NOTE, "value": str(now)})
