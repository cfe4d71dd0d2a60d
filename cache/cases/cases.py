"""Keeps what awaits or holds a person's decision: cases, their pictures, what they rest on.

    open -> upheld | dismissed | escalated | restored
    any of them -> reopened -> any of them

Nothing here restores itself: a case whose ground lapses returns to people, with the reason. Only
`undo.auto` lets one be `restored`, by a scan of our own that says clean and no other flag. Decides
what each state means and when a case is looked at again; what opens one is left to `case_opening`,
what people make of it to `case_deciding`. Every function that writes wants a write transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, ScalarSelect, case, func, or_, select, update

from cache.cases.arrivals import note_flags_of
from cache.errors import UnknownCase
from cache.storage.case_tables import case_grounds, case_pictures, cases
from cache.storage.peer_tables import disputes
from cache.storage.rows import batches
from cache.storage.tables import images


class CaseState(StrEnum):
    """Where a case stands."""

    OPEN = "open"  # awaits a person
    REOPENED = "reopened"  # awaits a person again: a ground lapsed, or new evidence came
    UPHELD = "upheld"
    DISMISSED = "dismissed"
    ESCALATED = "escalated"
    RESTORED = "restored"  # by `undo.auto`


WAITING = (CaseState.OPEN, CaseState.REOPENED)
RESTORED = "restored"
"""What stands in place of a person's finding where `undo.auto` let a picture go."""

MAX_REASON_CHARACTERS = 2_000

is_unanswered = disputes.c.answered.is_(None) & (disputes.c.is_ours == 0)
"""Names what peers dispute of ours and no person here answered yet."""

_AGAIN = case((cases.c.recheck < 0, cases.c.recheck - 1), else_=-1)
"""The mark of a case that is to be looked at again at once; each request has one of its own."""


@dataclass(frozen=True, slots=True)
class Due:
    """A case that is to be looked at again, and the request for it."""

    case_id: int
    recheck: int


def look_again_at(
    connection: Connection, case_ids: Iterable[int], reason: str | None = None
) -> None:
    """Let cases be looked at again at once; `reason` is shown, should they have lost a ground."""
    values: dict[str, object] = {"recheck": _AGAIN}
    if reason is not None:
        values["recheck_reason"] = reason
    for some in batches(sorted(set(case_ids))):
        connection.execute(update(cases).where(cases.c.id.in_(some)).values(values))


def recheck_issuer(
    connection: Connection, issuer_id: int, *, reason: str, flags_too: bool = True
) -> int:
    """Let all that this issuer's word decided be looked at again at once.

    To be called when its weight or its state changed. Returns how many cases rest on it; `reason`
    is shown with one that lost its ground by it, e.g. "https://a.example is suspended". What it
    flags of the pictures here is looked at as well, with `flags_too`: it may weigh more now.
    """
    resting = select(case_grounds.c.case_id).where(
        case_grounds.c.issuer_id == issuer_id, case_grounds.c.gone.is_(None)
    )
    values = {"recheck": _AGAIN, "recheck_reason": reason}
    found = connection.execute(update(cases).where(cases.c.id.in_(resting)).values(values))
    if flags_too:
        note_flags_of(connection, issuer_id)
    return int(found.rowcount)


def open_case(connection: Connection, reason: str, *, now: int) -> int:
    """Open a case that has no picture yet and return its id; `reason` is for people."""
    added = connection.execute(
        cases.insert().values(
            state=CaseState.OPEN.value,
            rules="",
            reason=reason[:MAX_REASON_CHARACTERS],
            embargo=False,
            opened=now,
            changed=now,
        )
    )
    return int((added.inserted_primary_key or (0,))[0])


def due_cases(connection: Connection, limit: int, *, now: int) -> list[Due]:
    """Return cases that are to be looked at again by `now`, at most `limit`."""
    rows = (
        select(cases.c.id, cases.c.recheck)
        .where(cases.c.recheck <= now)
        .order_by(cases.c.recheck)
        .limit(limit)
    )
    return [Due(row.id, row.recheck) for row in connection.execute(rows)]


def movable_pictures(connection: Connection, case_ids: Sequence[int]) -> dict[int, bytes]:
    """Return the pictures of cases that evidence may move, by row id: their sha256.

    Not those that a person upheld or escalated.
    """
    firm = (CaseState.UPHELD.value, CaseState.ESCALATED.value)
    found: dict[int, bytes] = {}
    for some in batches(case_ids):
        rows = (
            select(images.c.id, images.c.sha256)
            .join(case_pictures, case_pictures.c.image_id == images.c.id)
            .where(case_pictures.c.case_id.in_(some))
            .where(func.coalesce(case_pictures.c.finding, "").not_in(firm))
        )
        found |= {row.id: bytes(row.sha256) for row in connection.execute(rows)}
    return found


def settle_due(connection: Connection, due: Sequence[Due], *, now: int) -> None:
    """Note when cases that were looked at are due again, unless they were asked for meanwhile."""
    for one in due:
        of_request = (cases.c.id == one.case_id) & (cases.c.recheck == one.recheck)
        values = {"recheck": _first_expiry(one.case_id, now), "recheck_reason": None}
        connection.execute(update(cases).where(of_request).values(values))


def settle_expiry(connection: Connection, case_id: int, *, now: int) -> None:
    """Note when the first ground of a case expires, unless it is to be looked at sooner."""
    at_once = (cases.c.recheck < 0) & cases.c.recheck.is_not(None)
    values = {"recheck": _first_expiry(case_id, now)}
    connection.execute(update(cases).where(cases.c.id == case_id, ~at_once).values(values))


def state_of(connection: Connection, case_id: int) -> CaseState:
    """Return where a case stands; raises UnknownCase."""
    found = connection.execute(
        select(cases.c.state).where(cases.c.id == case_id)
    ).scalar_one_or_none()
    if found is None:
        raise UnknownCase(f"there is no case {case_id}; `fediverdict cases list` shows them")
    return CaseState(found)


def set_state(
    connection: Connection, case_id: int, state: CaseState, reason: str, *, now: int
) -> None:
    """Let a case stand in `state`, for a reason."""
    values = {"state": state.value, "reason": reason[:MAX_REASON_CHARACTERS], "changed": now}
    connection.execute(update(cases).where(cases.c.id == case_id).values(values))


def settled_state(connection: Connection, case_id: int) -> CaseState | None:
    """Return the state of a case all of whose pictures are decided, None while any waits."""
    counted = connection.execute(
        select(case_pictures.c.finding, func.count())
        .where(case_pictures.c.case_id == case_id)
        .group_by(case_pictures.c.finding)
    ).all()
    found = {finding for finding, _ in counted}
    if None in found:
        return None
    order = (CaseState.ESCALATED, CaseState.UPHELD, CaseState.DISMISSED, CaseState.RESTORED)
    return next((state for state in order if state.value in found), None)


def is_disputed(connection: Connection, case_id: int) -> bool:
    """Tell whether a peer disputes a picture of the case, and nobody answered yet."""
    query = select(disputes.c.id).where(disputes.c.case_id == case_id, is_unanswered)
    return connection.execute(query.limit(1)).first() is not None


def cases_resting_on(
    connection: Connection, issuer_id: int, image_ids: Sequence[int]
) -> dict[int, int]:
    """Return the pictures (row ids) that stand in a case for what an issuer says of these.

    By row id: the case.
    """
    found: dict[int, int] = {}
    for some in batches(image_ids):
        rows = select(case_grounds.c.image_id, case_grounds.c.case_id).where(
            case_grounds.c.of_image_id.in_(some),
            case_grounds.c.issuer_id == issuer_id,
            case_grounds.c.gone.is_(None),
        )
        found |= {row.image_id: row.case_id for row in connection.execute(rows)}
    return found


def _first_expiry(case_id: int, now: int) -> ScalarSelect[int]:
    """Return when the first ground of a picture that waits expires; a person's word never does."""
    return (
        select(func.min(case_grounds.c.expires))
        .join(
            case_pictures,
            (case_pictures.c.case_id == case_grounds.c.case_id)
            & (case_pictures.c.image_id == case_grounds.c.image_id),
        )
        .where(case_grounds.c.case_id == case_id, case_grounds.c.gone.is_(None))
        .where(case_grounds.c.expires > now)
        .where(or_(case_pictures.c.finding.is_(None), case_pictures.c.finding == RESTORED))
        .scalar_subquery()
    )
