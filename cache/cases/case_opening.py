"""Opens cases for stored pictures that a person has to look at, and returns them to people.

Decides which case a picture joins, and what a decision made anew means for the one it stands in.
Pictures equal in content share a case; one that is merely near joins the case of the same code
while that awaits a person, up to a limit. When evidence that the picture stood there for is gone
and the decision fell, the case is reopened with the reason; so it is when evidence comes against
a picture that a person dismissed. What a person found is never undone by evidence that lapses.

What was read before the write may have changed since: so a case that is opened or changed is to be
looked at once more, and comes to rest when that changes nothing. Doing the same twice changes
nothing. Wants a write transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, exists, func, or_, select, update

from cache.cases.arrivals import FOUND
from cache.cases.case_evidence import Decided
from cache.cases.case_grounding import Lapse, Names, StoredGround, add_grounds, settle_grounds
from cache.cases.cases import (
    RESTORED,
    WAITING,
    CaseState,
    is_disputed,
    look_again_at,
    open_case,
    set_state,
    settle_expiry,
    settled_state,
    state_of,
)
from cache.memory.record import equal_images
from cache.storage.case_tables import case_grounds, case_pictures, cases
from cache.storage.rows import IN_LIST, batches
from cache.storage.tables import findings, images, sightings
from cache.verdict import SELF, Decision, Finding, MatchKind

MAX_PICTURES = 1_000
"""How many pictures one case holds; more equals open another, which the same finding settles."""

Place = Row[tuple[object, ...]]
"""A row of `case_pictures`."""

_RANK = {Decision.FLAGGED: 2, Decision.REVIEW: 1}


@dataclass(frozen=True, slots=True)
class Terms:
    """What an admin decided beforehand of cases."""

    near_pictures: int = 200  # how many pictures share a case for being near one code
    undo_auto: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """How many cases were opened and reopened."""

    opened: int = 0
    reopened: int = 0

    def __add__(self, other: "Noted") -> "Noted":
        """Return both together."""
        return Noted(self.opened + other.opened, self.reopened + other.reopened)


def note_decisions(
    connection: Connection, made: Sequence[Decided], terms: Terms, *, now: int
) -> Noted:
    """Open, fill, reopen and restore cases as decisions on stored pictures want it."""
    noted = Noted()
    for some in batches(made):
        names = Names(connection, some)
        places = _places(connection, names.images.values())
        for one in {one.sha256: one for one in some}.values():
            if (image_id := names.images.get(one.sha256)) is not None:
                picture = _Picture(connection, one, image_id, names.stored(one), terms, now)
                noted += picture.note(places.get(image_id))
    return noted


def _places(connection: Connection, image_ids: Iterable[int]) -> dict[int, Place]:
    """Return where these pictures stand in cases, by row id."""
    found: dict[int, Place] = {}
    for some in batches(sorted(image_ids)):
        rows = select(case_pictures).where(case_pictures.c.image_id.in_(some))
        found |= {row.image_id: row for row in connection.execute(rows)}
    return found


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture with what was decided on it."""

    connection: Connection
    one: Decided
    image_id: int
    standing: Sequence[StoredGround]
    terms: Terms
    now: int

    def note(self, place: Place | None) -> Noted:
        """Enter it into a case, or bring its place in one in line with the decision."""
        if place is None:
            wanted = self.one.decision in FOUND and self._is_sighted()
            return self._enter() if wanted else Noted()
        decided = place.finding is not None
        if decided and self._findings() != self.one.findings:  # a person was quicker than we
            look_again_at(self.connection, [place.case_id])
            return Noted()
        return self._update(place)

    def _enter(self) -> Noted:
        """Let the picture join a case, or open one."""
        case_id = _case_for(self.connection, self.image_id, self.one, self.standing, self.terms)
        is_new = case_id is None
        if case_id is None:
            case_id = open_case(self.connection, self.one.sentence, now=self.now)
        self.connection.execute(
            case_pictures.insert().values(
                case_id=case_id,
                image_id=self.image_id,
                decision=self.one.decision.value,
                added=self.now,
                finding=self.one.found.value if self.one.found else None,
            )
        )
        add_grounds(self.connection, case_id, self.image_id, self.standing, now=self.now)
        self._add_rules(case_id)
        reopened = False
        if self.one.found is not None:
            self._follow_persons(case_id, self.one.found)
        elif not is_new:
            reopened = self._reopen(case_id, f"Another picture joined it. {self.one.sentence}")
        look_again_at(self.connection, [case_id])
        return Noted(int(is_new), int(reopened))

    def _update(self, place: Place) -> Noted:
        case_id, before = place.case_id, place.decision
        settled = settle_grounds(
            self.connection, case_id, self.image_id, self.standing, now=self.now
        )
        if before != self.one.decision.value:
            self._set_picture(case_id, decision=self.one.decision.value)
        moved, reopened = self._moved(case_id, place, settled.lapsed)
        if settled or moved or reopened or before != self.one.decision.value:
            look_again_at(self.connection, [case_id])
        elif settled.renewed:
            settle_expiry(self.connection, case_id, now=self.now)
        return Noted(0, int(reopened))

    def _moved(self, case_id: int, place: Place, lapsed: Sequence[Lapse]) -> tuple[bool, bool]:
        """Move the case where the decision asks for it; tells whether it moved, was reopened."""
        one = self.one
        if one.found is not None:
            return self._settled_by_person(case_id, place, one.found), False
        after, before = _RANK.get(one.decision, 0), _RANK.get(Decision(place.decision), 0)
        if after:
            self._add_rules(case_id)
        if place.finding is not None:
            return self._doubted(case_id) if after else (False, False)
        if self._may_be_let_go(case_id):
            self._restore(case_id)
            return True, False
        if after >= before:
            return False, False
        return True, self._reopen(case_id, f"{self._why(case_id, lapsed)}{one.sentence}", anew=True)

    def _may_be_let_go(self, case_id: int) -> bool:
        """Tell whether `undo.auto` ends the case; what a peer disputes awaits a person."""
        clears = self.one.own_clears and not self.standing
        return self.terms.undo_auto and clears and not is_disputed(self.connection, case_id)

    def _settled_by_person(self, case_id: int, place: Place, found: Finding) -> bool:
        """Note what a person found of the very picture; tells whether that is news."""
        if place.finding == found.value:
            return False
        self._set_picture(case_id, finding=found.value)
        self._follow_persons(case_id, found)
        return True

    def _doubted(self, case_id: int) -> tuple[bool, bool]:
        """Return a decided picture to people: evidence speaks against it all the same."""
        self._set_picture(case_id, finding=None)
        return True, self._reopen(case_id, f"New evidence came. {self.one.sentence}")

    def _is_sighted(self) -> bool:
        sighted = exists().where(sightings.c.image_id == self.image_id)
        return bool(self.connection.execute(select(sighted)).scalar_one())

    def _findings(self) -> int:
        """Return how many findings there are now on the picture and its equals in content."""
        content = select(images.c.content).where(images.c.id == self.image_id).scalar_subquery()
        here = or_(findings.c.image_id == self.image_id, findings.c.content == content)
        counted = select(func.count()).select_from(findings).where(here)
        return int(self.connection.execute(counted).scalar_one())

    def _add_rules(self, case_id: int) -> None:
        of_case = cases.c.id == case_id
        held = self.connection.execute(select(cases.c.rules).where(of_case)).scalar_one()
        rules = " ".join(sorted({*held.split(), *self.one.rules}))
        if rules != held:
            self.connection.execute(update(cases).where(of_case).values(rules=rules))

    def _set_picture(self, case_id: int, **values: object) -> None:
        of_case = case_pictures.c.case_id == case_id
        of_picture = of_case & (case_pictures.c.image_id == self.image_id)
        self.connection.execute(update(case_pictures).where(of_picture).values(values))

    def _reopen(self, case_id: int, reason: str, *, anew: bool = False) -> bool:
        """Return the case to people; one that awaits them is left alone, unless `anew`."""
        if not anew and state_of(self.connection, case_id) in WAITING:
            return False
        set_state(self.connection, case_id, CaseState.REOPENED, reason, now=self.now)
        return True

    def _follow_persons(self, case_id: int, found: Finding) -> None:
        """Let the case stand as persons decided the last of its pictures; an embargo is at once."""
        if found is Finding.ESCALATED:
            embargo = update(cases).where(cases.c.id == case_id).values(embargo=True)
            self.connection.execute(embargo)
        if (state := settled_state(self.connection, case_id)) is not None:
            set_state(self.connection, case_id, state, self.one.sentence, now=self.now)

    def _restore(self, case_id: int) -> None:
        """Let the picture go by itself, as `undo.auto` allows."""
        self._set_picture(case_id, finding=RESTORED)
        if (state := settled_state(self.connection, case_id)) is not None:
            reason = f"Let go by undo.auto, as no flag stands. {self.one.sentence}"
            set_state(self.connection, case_id, state, reason, now=self.now)

    def _why(self, case_id: int, lapsed: Sequence[Lapse]) -> str:
        """Return the sentence that says what lapsed."""
        if not lapsed:
            return ""
        asked = select(cases.c.recheck_reason).where(cases.c.id == case_id)
        if reason := self.connection.execute(asked).scalar_one():
            return f"What it was here for is gone: {reason}. "
        said = sorted({_sentence(one, self.now) for one in lapsed})
        return f"What it was here for is gone: {', '.join(said)}. "


def _case_for(
    connection: Connection,
    image_id: int,
    one: Decided,
    standing: Sequence[StoredGround],
    terms: Terms,
) -> int | None:
    """Return the case that a picture joins: that of its equals, else of the same near code."""
    equals = equal_images(connection, image_id)
    equals |= {s.of_image_id for s in standing if s.ground.kind is MatchKind.CONTENT}
    its_own = select(case_pictures.c.case_id).where(
        case_pictures.c.image_id.in_(sorted(equals)[-IN_LIST:])
    )
    full = None
    for found in (
        its_own.order_by(case_pictures.c.case_id.desc()),
        *(_resting_on(s) for s in standing if s.ground.kind is MatchKind.CONTENT),
    ):
        case_id: int | None = connection.execute(found.limit(1)).scalar_one_or_none()
        if case_id is not None and _has_room(connection, case_id, MAX_PICTURES):
            return case_id
        full = full or case_id
    if full is not None or one.found is not None:
        return None
    for stored in standing:
        if stored.ground in one.nearest:
            case_id = _case_of_code(connection, stored, terms.near_pictures)
            if case_id is not None:
                return case_id
    return None


def _case_of_code(connection: Connection, stored: StoredGround, room: int) -> int | None:
    """Return the case of a code's picture, else of the newest picture near the code.

    None where neither awaits a person and has room.
    """
    of_code = select(case_pictures.c.case_id).where(case_pictures.c.image_id == stored.of_image_id)
    for found in (of_code, _resting_on(stored)):
        case_id = connection.execute(found.limit(1)).scalar_one_or_none()
        if case_id is None or state_of(connection, case_id) not in WAITING:
            continue
        if _has_room(connection, case_id, room):
            return int(case_id)
    return None


def _resting_on(stored: StoredGround) -> Select[tuple[int]]:
    """Find the cases of pictures that stand there for the same ground, the newest first."""
    return (
        select(case_grounds.c.case_id)
        .where(
            case_grounds.c.of_image_id == stored.of_image_id,
            case_grounds.c.issuer_id == stored.issuer_id,
            case_grounds.c.kind == stored.ground.kind.value,
            case_grounds.c.gone.is_(None),
        )
        .order_by(case_grounds.c.id.desc())
    )


def _has_room(connection: Connection, case_id: int, room: int) -> bool:
    inside = select(func.count()).where(case_pictures.c.case_id == case_id)
    return bool(connection.execute(inside).scalar_one() < room)


def _sentence(lapse: Lapse, now: int) -> str:
    whose = "our own word" if lapse.origin == SELF else f"the word of {lapse.origin}"
    expired = lapse.expires is not None and lapse.expires <= now
    return f"{whose} {'expired' if expired else 'counts no more'}"
