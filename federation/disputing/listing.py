"""Disputes in both directions, for the admin: what peers dispute of ours, and we of theirs."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, and_, exists, select

from cache.storage.case_tables import cases
from cache.storage.peer_tables import disputes
from cache.storage.tables import issuers, verdicts
from cache.verdict import Feed
from federation.addresses import attestation_url
from federation.instance import Instance
from federation.origin import Origin, Url


class DisputeState(StrEnum):
    """How far a dispute is."""

    OPEN = "open"  # it awaits a person; of ours: the row still stands with the peer
    EMBARGO = "embargo"  # its case is escalated: nothing is answered
    ANSWERED = "answered"  # a person here decided on the picture
    WITHDRAWN = "withdrawn"  # the peer's row that we disputed is held here no more


@dataclass(frozen=True, slots=True)
class Dispute:
    """One disputed attestation; `is_ours` tells who disputes."""

    is_ours: bool
    origin: str
    attestation: Url
    sha256: bytes
    case_id: int | None
    text: str
    created: int
    answered: int | None
    state: DisputeState


def list_disputes(conn: Connection, instance: Instance, limit: int) -> list[Dispute]:
    """Return the newest disputes of both directions, at most `limit`."""
    c = disputes.c
    place = and_(
        verdicts.c.issuer_id == issuers.c.id,
        verdicts.c.feed == c.feed,
        verdicts.c.epoch == c.epoch,
        verdicts.c.seq == c.seq,
    )
    stands = exists(select(verdicts.c.id).where(issuers.c.origin == c.origin, place))
    query = (
        select(disputes, cases.c.embargo, stands.label("stands"))
        .outerjoin(cases, cases.c.id == c.case_id)
        .order_by(c.id.desc())
        .limit(limit)
    )
    return [
        Dispute(
            is_ours=bool(row.is_ours),
            origin=row.origin,
            attestation=attestation_url(
                Origin(row.origin) if row.is_ours else instance.base,
                Feed(row.feed),
                row.epoch,
                row.seq,
            ),
            sha256=bytes(row.sha256),
            case_id=row.case_id,
            text=row.text,
            created=row.created,
            answered=row.answered,
            state=_state(bool(row.is_ours), bool(row.stands), row.answered, bool(row.embargo)),
        )
        for row in conn.execute(query)
    ]


def _state(is_ours: bool, stands: bool, answered: int | None, embargo: bool) -> DisputeState:
    if is_ours:
        return DisputeState.OPEN if stands else DisputeState.WITHDRAWN
    if answered is not None:
        return DisputeState.ANSWERED
    return DisputeState.EMBARGO if embargo else DisputeState.OPEN
