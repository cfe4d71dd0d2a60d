"""Shows cases to people: a list of them, and everything about one.

Decides what a page of each holds. Reads only: that a picture was shown is noted with
`case_deciding.mark_shown` by whoever shows it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, case, func, or_, select

from cache.cases.cases import CaseState
from cache.errors import UnknownCase
from cache.storage.case_tables import case_grounds, case_pictures, cases
from cache.storage.rows import batches
from cache.storage.tables import findings, images, issuers, sightings, sources

MAX_PLACES = 20
"""Places shown of one picture, the newest; it may lie under any number of keys."""


@dataclass(frozen=True, slots=True)
class CaseSummary:
    """A case as listed."""

    id: int
    state: CaseState
    rules: tuple[str, ...]
    reason: str
    embargo: bool
    opened: int
    changed: int
    pictures: int
    waiting: int  # pictures that nobody decided yet


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture was met."""

    source: str
    key: str
    seen: int


@dataclass(frozen=True, slots=True)
class GroundView:
    """What somebody said that a picture is here for."""

    issuer: str
    of: bytes  # sha256 of the picture it is said of
    kind: str
    distance: int
    rule: str
    acted: bool
    added: int
    expires: int | None
    gone: int | None


@dataclass(frozen=True, slots=True)
class FindingView:
    """What a person made of the picture."""

    rule: str
    finding: str
    reason: str
    decided_by: str
    decided: int


@dataclass(frozen=True, slots=True)
class PictureView:
    """A picture of a case."""

    image_id: int
    sha256: bytes
    decision: str
    finding: str | None
    added: int
    shown: int | None
    media_type: str | None
    places: tuple[Place, ...]
    more_places: int  # that are not among them
    grounds: tuple[GroundView, ...]
    findings: tuple[FindingView, ...]


def list_cases(
    connection: Connection,
    states: Iterable[CaseState] = tuple(CaseState),
    *,
    limit: int,
    before: int | None = None,
) -> list[CaseSummary]:
    """Return cases in these states, the newest first, at most `limit`, below number `before`."""
    wanted = cases.c.state.in_([state.value for state in states])
    below = cases.c.id < before if before is not None else wanted
    rows = _SUMMARIES.where(wanted, below).order_by(cases.c.id.desc()).limit(limit)
    return [_summary(row) for row in connection.execute(rows)]


def load_case(connection: Connection, case_id: int) -> CaseSummary:
    """Return one case; raises UnknownCase."""
    row = connection.execute(_SUMMARIES.where(cases.c.id == case_id)).one_or_none()
    if row is None:
        raise UnknownCase(f"there is no case {case_id}; `fediverdict cases list` shows them")
    return _summary(row)


def load_pictures(
    connection: Connection, case_id: int, *, limit: int, after: int = 0
) -> list[PictureView]:
    """Return the pictures of a case behind row id `after`, at most `limit`, with all about them."""
    rows = connection.execute(
        select(case_pictures, images.c.sha256, images.c.content, images.c.media_type)
        .join(images, images.c.id == case_pictures.c.image_id)
        .where(case_pictures.c.case_id == case_id, case_pictures.c.image_id > after)
        .order_by(case_pictures.c.image_id)
        .limit(limit)
    ).all()
    grounds = _grounds(connection, case_id, [row.image_id for row in rows])
    return [_picture(connection, row, grounds.get(row.image_id, [])) for row in rows]


_COUNTED = (
    select(func.count())
    .where(case_pictures.c.case_id == cases.c.id)
    .correlate(cases)
    .scalar_subquery()
)
_WAITING = (
    select(func.count())
    .where(case_pictures.c.case_id == cases.c.id, case_pictures.c.finding.is_(None))
    .correlate(cases)
    .scalar_subquery()
)
_SUMMARIES = select(cases, _COUNTED.label("pictures"), _WAITING.label("waiting"))


def _summary(row: Row[tuple[object, ...]]) -> CaseSummary:
    return CaseSummary(
        id=row.id,
        state=CaseState(row.state),
        rules=tuple(row.rules.split()),
        reason=row.reason,
        embargo=bool(row.embargo),
        opened=row.opened,
        changed=row.changed,
        pictures=row.pictures,
        waiting=row.waiting,
    )


def _picture(
    connection: Connection, row: Row[tuple[object, ...]], grounds: Sequence[GroundView]
) -> PictureView:
    places, more = _places(connection, row.image_id)
    return PictureView(
        image_id=row.image_id,
        sha256=bytes(row.sha256),
        decision=row.decision,
        finding=row.finding,
        added=row.added,
        shown=row.shown,
        media_type=row.media_type,
        places=places,
        more_places=more,
        grounds=tuple(grounds),
        findings=_findings(connection, row.image_id, row.content),
    )


def _places(connection: Connection, image_id: int) -> tuple[tuple[Place, ...], int]:
    of_image = sightings.c.image_id == image_id
    number = select(func.count()).select_from(sightings).where(of_image)
    rows = connection.execute(
        select(sources.c.name, sightings.c.key, sightings.c.seen)
        .join(sources, sources.c.id == sightings.c.source_id)
        .where(of_image)
        .order_by(sightings.c.seen.desc(), sightings.c.id.desc())
        .limit(MAX_PLACES)
    ).all()
    places = tuple(Place(row.name, row.key, row.seen) for row in rows)
    return places, int(connection.execute(number).scalar_one()) - len(places)


def _grounds(
    connection: Connection, case_id: int, image_ids: Sequence[int]
) -> dict[int, list[GroundView]]:
    found: dict[int, list[GroundView]] = {}
    standing_first = case((case_grounds.c.gone.is_(None), 0), else_=1)
    for some in batches(image_ids):
        rows = connection.execute(
            select(case_grounds, issuers.c.origin, images.c.sha256)
            .join(issuers, issuers.c.id == case_grounds.c.issuer_id)
            .join(images, images.c.id == case_grounds.c.of_image_id)
            .where(case_grounds.c.case_id == case_id, case_grounds.c.image_id.in_(some))
            .order_by(standing_first, case_grounds.c.distance, case_grounds.c.id)
        )
        for row in rows:
            found.setdefault(row.image_id, []).append(_ground(row))
    return found


def _ground(row: Row[tuple[object, ...]]) -> GroundView:
    return GroundView(
        issuer=row.origin,
        of=bytes(row.sha256),
        kind=row.kind,
        distance=row.distance,
        rule=row.rule,
        acted=bool(row.acted),
        added=row.added,
        expires=row.expires,
        gone=row.gone,
    )


def _findings(
    connection: Connection, image_id: int, content: bytes | None
) -> tuple[FindingView, ...]:
    """Return what persons made of a picture and its equals in content, the oldest first."""
    here = findings.c.image_id == image_id
    if content is not None:
        here = or_(here, findings.c.content == content)
    rows = connection.execute(select(findings).where(here).order_by(findings.c.id))
    return tuple(
        FindingView(row.rule, row.finding, row.reason, row.decided_by, row.decided) for row in rows
    )
