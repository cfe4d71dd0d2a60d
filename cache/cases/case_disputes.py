"""Brings pictures that peers dispute before a person: one case a picture, however many dispute it.

Decides which case that is, and when a dispute is answered: once a person found something of the
picture. A dispute is no evidence: it changes no decision, and what a person found before stays in
force while the case is reopened. A case under embargo is left as it is, and answers nothing. Who
may dispute, and how often, is left to `federation`. Wants a write transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from cache.cases.case_opening import MAX_PICTURES
from cache.cases.cases import (
    WAITING,
    CaseState,
    is_unanswered,
    look_again_at,
    open_case,
    set_state,
    state_of,
)
from cache.memory.record import equal_images, image_row
from cache.storage.case_tables import case_pictures, cases
from cache.storage.peer_tables import disputes
from cache.storage.rows import IN_LIST, batches
from cache.storage.tables import images
from cache.verdict import Decision, Finding

MAX_SHOWN = 100
"""Disputes shown of one case, the newest."""


@dataclass(frozen=True, slots=True)
class DisputeView:
    """What a peer disputes of a picture in a case; `text` is its plain words."""

    origin: str
    sha256: bytes
    text: str
    created: int
    answered: int | None


def bring_before_person(
    connection: Connection, sha256: bytes, said: Decision, reason: str, *, now: int
) -> int:
    """Return the case that the disputed picture stands in: opened, reopened, or as it was.

    `said` is what we published of it, `reason` why it is here, for people.
    """
    image_id = image_row(connection, sha256, now=now)
    case_id = _case_with(connection, [image_id])
    if case_id is None:
        equals = sorted(equal_images(connection, image_id))[-IN_LIST:]
        case_id = _case_with(connection, equals, room=MAX_PICTURES)
        if case_id is None:
            case_id = open_case(connection, reason, now=now)
        if not _is_under_embargo(connection, case_id):
            _add(connection, case_id, image_id, said, now)
    if not _is_under_embargo(connection, case_id) and state_of(connection, case_id) not in WAITING:
        set_state(connection, case_id, CaseState.REOPENED, reason, now=now)
    return case_id


def answer_disputes(connection: Connection, image_ids: Iterable[int], *, now: int) -> None:
    """Note that what peers dispute of these pictures was answered, where a person found anything.

    Not under embargo, and not while a rule that the picture is here for is undecided.
    """
    ends = (Finding.UPHELD.value, Finding.DISMISSED.value)
    for some in batches(sorted(set(image_ids))):
        settled = (
            select(images.c.sha256)
            .join(case_pictures, case_pictures.c.image_id == images.c.id)
            .join(cases, cases.c.id == case_pictures.c.case_id)
            .where(images.c.id.in_(some), case_pictures.c.finding.in_(ends), ~cases.c.embargo)
        )
        of_these = is_unanswered & disputes.c.sha256.in_(settled)
        connection.execute(update(disputes).where(of_these).values(answered=now))


def disputes_of_case(connection: Connection, case_id: int) -> list[DisputeView]:
    """Return what peers dispute of a case's pictures, the newest first, at most MAX_SHOWN."""
    c = disputes.c
    rows = (
        select(c.origin, c.sha256, c.text, c.created, c.answered)
        .where(c.case_id == case_id, c.is_ours == 0)
        .order_by(c.id.desc())
        .limit(MAX_SHOWN)
    )
    return [
        DisputeView(row.origin, bytes(row.sha256), row.text, row.created, row.answered)
        for row in connection.execute(rows)
    ]


def _case_with(
    connection: Connection, image_ids: Sequence[int], room: int | None = None
) -> int | None:
    """Return the newest case with one of these pictures; with `room`, one of fewer pictures."""
    found = select(case_pictures.c.case_id).where(case_pictures.c.image_id.in_(image_ids))
    newest = found.order_by(case_pictures.c.case_id.desc()).limit(1)
    case_id: int | None = connection.execute(newest).scalar_one_or_none()
    if case_id is None or room is None:
        return case_id
    inside = select(func.count()).where(case_pictures.c.case_id == case_id)
    return case_id if connection.execute(inside).scalar_one() < room else None


def _add(connection: Connection, case_id: int, image_id: int, said: Decision, now: int) -> None:
    """Let the picture join the case; the review that follows adds rules and grounds."""
    values = {"case_id": case_id, "image_id": image_id, "decision": said.value, "added": now}
    connection.execute(case_pictures.insert().values(values))
    look_again_at(connection, [case_id])


def _is_under_embargo(connection: Connection, case_id: int) -> bool:
    embargo = select(cases.c.embargo).where(cases.c.id == case_id)
    return bool(connection.execute(embargo).scalar_one())
