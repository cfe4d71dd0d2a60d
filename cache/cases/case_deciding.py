"""Enters what a person makes of the pictures of a case: upheld, dismissed or escalated.

Decides which pictures a decision covers: one named, with its equals in content; or, where none is
named, all that wait. Among several that are merely near each other, each must have been shown
before; and only what is decided one by one is published. Escalating puts the case under embargo:
nothing is published, nothing retracted. A picture waits on while a rule it is here for is
undecided. Dismissing frees what rested on the picture: those cases are looked at again.
Wants a write transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, select, update

from cache.cases.case_disputes import answer_disputes
from cache.cases.cases import (
    RESTORED,
    CaseState,
    cases_resting_on,
    look_again_at,
    set_state,
    settled_state,
    state_of,
)
from cache.errors import NotInCase, NotShown
from cache.feeds.publish import publish_finding, publish_verdict, published_among
from cache.judgement import Judgement
from cache.memory.lookup import verdicts_of_image
from cache.memory.lookup_many import findings_of_images
from cache.memory.record import NewFinding, equal_images, own_issuer, record_finding
from cache.storage.case_tables import case_grounds, case_pictures, cases
from cache.storage.rows import batches
from cache.storage.tables import images, sightings, sources
from cache.trust.comparing import compare
from cache.verdict import Finding, FindingMatch


@dataclass(frozen=True, slots=True)
class CaseDecision:
    """What a person decided of a case, and why."""

    finding: Finding
    rules: Sequence[str]
    reason: str
    decided_by: str
    sha256: bytes | None = None  # None: every picture that waits


@dataclass(frozen=True, slots=True)
class DecidedCase:
    """What entering a decision came to."""

    state: CaseState
    decided: tuple[bytes, ...]  # sha256 of the pictures that a finding was entered for
    waiting: int  # pictures that still wait


@dataclass(frozen=True, slots=True)
class _Member:
    """A picture of the case, with its equals in content (row ids, itself included)."""

    image_id: int
    sha256: bytes
    content: bytes | None
    shown: bool
    waits: bool

    @property
    def key(self) -> bytes:
        """What equal pictures share."""
        return self.content or self.sha256


def decide_case(
    connection: Connection,
    case_id: int,
    decision: CaseDecision,
    judgement: Judgement,
    *,
    shared: frozenset[str] = frozenset(),
    now: int,
) -> DecidedCase:
    """Enter a person's decision, and publish what follows of it.

    `shared` names the sources whose verdicts may be published. Raises UnknownCase, NotInCase and
    NotShown.
    """
    state_of(connection, case_id)
    members = _members(connection, case_id)
    chosen = _chosen(case_id, members, decision)
    one_by_one = len(chosen) == 1
    if len({member.key for member in members}) > 1:
        _refuse_unshown(case_id, members, chosen)
    covered: set[int] = set()
    for member in chosen:
        for rule in decision.rules:
            words = (decision.finding, decision.reason, decision.decided_by)
            new = NewFinding(member.sha256, rule, *words)
            record_finding(connection, new, judgement, now=now)
        covered |= equal_images(connection, member.image_id)
        covered |= {other.image_id for other in members if other.key == member.key}
    covered |= _equals_in_cases(connection, chosen)
    touched = _settle_pictures(connection, covered, decision)
    freed = [
        touched_id
        for touched_id in sorted(touched | {case_id})
        if _settle_case(connection, touched_id, decision, now)
    ]
    for member in chosen:
        may_publish = one_by_one and _is_shared(connection, member.image_id, shared)
        _publish(connection, member, decision, judgement, may_publish, now)
    _catch_up(connection, freed, judgement, now)
    _free(connection, covered, now)
    answer_disputes(connection, covered, now=now)
    compare(connection, covered, judgement, now=now)
    look_again_at(connection, touched | {case_id})
    left = sum(member.waits for member in _members(connection, case_id))
    return DecidedCase(
        state_of(connection, case_id), tuple(member.sha256 for member in chosen), left
    )


def mark_shown(connection: Connection, case_id: int, image_ids: Iterable[int], *, now: int) -> None:
    """Note that a person was shown pictures of a case."""
    for some in batches(sorted(set(image_ids))):
        connection.execute(
            update(case_pictures)
            .where(case_pictures.c.case_id == case_id, case_pictures.c.image_id.in_(some))
            .values(shown=now)
        )


def _members(connection: Connection, case_id: int) -> list[_Member]:
    rows = connection.execute(
        select(case_pictures, images.c.sha256, images.c.content)
        .join(images, images.c.id == case_pictures.c.image_id)
        .where(case_pictures.c.case_id == case_id)
        .order_by(case_pictures.c.added, case_pictures.c.image_id)
    ).all()
    return [_member(row) for row in rows]


def _member(row: Row[tuple[object, ...]]) -> _Member:
    waits = row.finding is None or row.finding == RESTORED
    return _Member(row.image_id, bytes(row.sha256), row.content, row.shown is not None, waits)


def _chosen(case_id: int, members: Sequence[_Member], decision: CaseDecision) -> list[_Member]:
    """Return one picture for each content that is to be decided."""
    if decision.sha256 is not None:
        named = [member for member in members if member.sha256 == decision.sha256]
        if not named:
            raise NotInCase(
                f"{decision.sha256.hex()} is no picture of case {case_id}; "
                f"`fediverdict cases show {case_id}` names those that are"
            )
        return named
    waiting = [member for member in members if member.waits] or list(members)
    return list({member.key: member for member in reversed(waiting)}.values())[::-1]


def _equals_in_cases(connection: Connection, chosen: Sequence[_Member]) -> set[int]:
    """Return the pictures of all cases that equal these in content, as computed here."""
    contents = sorted({member.content for member in chosen if member.content is not None})
    held = select(case_pictures.c.image_id)
    found: set[int] = set()
    for some in batches(contents):
        equal = select(images.c.id).where(images.c.id.in_(held), images.c.content.in_(some))
        found.update(connection.execute(equal).scalars())
    return found


def _refuse_unshown(case_id: int, members: Sequence[_Member], chosen: Sequence[_Member]) -> None:
    shown = {member.key for member in members if member.shown}
    unseen = [member for member in chosen if member.key not in shown]
    if unseen:
        raise NotShown(
            f"{unseen[0].sha256.hex()} is one of several near pictures in case {case_id}, and was "
            f"not shown yet; look at `fediverdict cases show {case_id}` first"
        )


def _publish(
    connection: Connection,
    member: _Member,
    decision: CaseDecision,
    judgement: Judgement,
    may_publish: bool,
    now: int,
) -> None:
    """Bring the feeds in line; of what may not be published, only what stands there is changed."""
    equals = sorted(equal_images(connection, member.image_id))
    own = own_issuer(connection, now=now)
    said = [one for equal in equals for one in verdicts_of_image(connection, equal, own)]
    standing = published_among(connection, [member.sha256, *(one.sha256 for one in said)])
    if may_publish or (standing and decision.finding is not Finding.UPHELD):
        for rule in decision.rules:
            publish_finding(connection, member.sha256, rule, judgement, now=now)
        return
    for verdict in said:  # an upheld picture leaves the clean feed, with nothing said instead
        if verdict.sha256 in standing:
            publish_verdict(connection, verdict, judgement, now=now)


def _is_shared(connection: Connection, image_id: int, shared: frozenset[str]) -> bool:
    """Tell whether the picture was met in a source whose verdicts may be published."""
    names = (
        select(sources.c.name)
        .join(sightings, sightings.c.source_id == sources.c.id)
        .where(sightings.c.image_id == image_id)
        .distinct()
    )
    return any(name in shared for name in connection.execute(names).scalars())


def _settle_pictures(
    connection: Connection, image_ids: Iterable[int], decision: CaseDecision
) -> set[int]:
    """Note in every case what was found of these pictures; return the cases."""
    touched: set[int] = set()
    for some in batches(sorted(image_ids)):
        found = findings_of_images(connection, some)
        undecided = _undecided(connection, some, found)
        places = select(case_pictures.c.case_id, case_pictures.c.image_id).where(
            case_pictures.c.image_id.in_(some)
        )
        rows = []
        for case_id, image_id in connection.execute(places).all():
            touched.add(case_id)
            waits = (case_id, image_id) in undecided
            made = _made_of(found.get(image_id, ()), decision.finding, waits)
            rows.append({"of_case": case_id, "of_image": image_id, "made": made})
        if rows:
            connection.execute(_MADE, rows)
    return touched


_MADE = (
    update(case_pictures)
    .where(case_pictures.c.case_id == bindparam("of_case"))
    .where(case_pictures.c.image_id == bindparam("of_image"))
    .values(finding=bindparam("made"))
)


def _made_of(found: Iterable[FindingMatch], finding: Finding, waits: bool) -> str | None:
    """Return what persons made of a picture by now; None while a rule is undecided.

    Upheld for any rule counts most, then escalated.
    """
    made = {one.finding for one in found}
    for strongest in (Finding.UPHELD, Finding.ESCALATED):
        if strongest in made:
            return strongest.value
    return None if waits else finding.value


def _undecided(
    connection: Connection, image_ids: Sequence[int], found: Mapping[int, Sequence[FindingMatch]]
) -> set[tuple[int, int]]:
    """Return (case, picture) of those that stand there for a rule that nobody decided yet."""
    stands = select(case_grounds.c.case_id, case_grounds.c.image_id, case_grounds.c.rule).where(
        case_grounds.c.image_id.in_(image_ids),
        case_grounds.c.gone.is_(None),
        case_grounds.c.rule != "",
    )
    return {
        (row.case_id, row.image_id)
        for row in connection.execute(stands)
        if row.rule not in {one.rule for one in found.get(row.image_id, ())}
    }


def _settle_case(connection: Connection, case_id: int, decision: CaseDecision, now: int) -> bool:
    """Let a case stand as its pictures were decided, all of them; an embargo comes at once.

    Tells whether an embargo ended.
    """
    of_case = select(case_pictures.c.image_id).where(case_pictures.c.case_id == case_id)
    embargo = any(
        one.finding is Finding.ESCALATED
        for some in batches(connection.execute(of_case).scalars().all())
        for found in findings_of_images(connection, some).values()
        for one in found
    )
    of_this = cases.c.id == case_id
    before = bool(connection.execute(select(cases.c.embargo).where(of_this)).scalar_one())
    connection.execute(update(cases).where(of_this).values(embargo=embargo))
    if (state := settled_state(connection, case_id)) is not None:
        said = f"{decision.decided_by}: {decision.reason}"
        set_state(connection, case_id, state, said, now=now)
    return before and not embargo


def _catch_up(
    connection: Connection, case_ids: Sequence[int], judgement: Judgement, now: int
) -> None:
    """Bring what stands in the feeds in line, where an embargo held that back; attest nothing."""
    for case_id in case_ids:
        for member in _members(connection, case_id):
            found = findings_of_images(connection, [member.image_id]).get(member.image_id, ())
            rules = tuple(one.rule for one in found if one.finding is Finding.DISMISSED)
            finding = Finding.DISMISSED if rules else Finding.UPHELD
            decision = CaseDecision(finding, rules, "", "")
            _publish(connection, member, decision, judgement, may_publish=False, now=now)


def _free(connection: Connection, image_ids: set[int], now: int) -> None:
    """Let what stands in other cases for what we said of these pictures be looked at again."""
    resting = cases_resting_on(connection, own_issuer(connection, now=now), sorted(image_ids))
    reason = "a person here decided on the picture that it is near to"
    others = {case_id for image_id, case_id in resting.items() if image_id not in image_ids}
    look_again_at(connection, others, reason)
