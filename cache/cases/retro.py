"""Finds which stored pictures new evidence bears on: retro-action.

Decides which pictures have to be decided anew. For a peer's row that came: the picture itself and
its equals in content, where the row speaks against it by our rules. For a code that came or went
(`codes.changed` is followed, its number kept in `notes`): the pictures that may be near it, and
those that stand in a case for it. Only pictures that were met in a source, or stand in a case,
matter: what was refused at a gate is kept nowhere. What they are decided to be is left to
`decide`, what follows to `case_opening`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, or_, select

from cache.cases.arrivals import Arrival
from cache.cases.cases import cases_resting_on
from cache.index.near import CODE_BYTES, MIN_QUALITY
from cache.judgement import Judgement
from cache.memory.lookup_many import verdicts_of_images
from cache.storage.case_tables import case_pictures
from cache.storage.contents import same_content
from cache.storage.rows import batches, insert_into
from cache.storage.tables import codes, images, notes, sightings, verdicts
from cache.verdict import Feed
from cache.weigh import flagged_rules

CURSOR = "retro-codes"
"""The note that tells up to which change of `codes` the sighted pictures were matched."""

Pictures = dict[int, bytes]
"""Stored pictures: row id -> sha256."""


@dataclass(frozen=True, slots=True)
class ChangedCode:
    """A code that came, changed, or was withdrawn."""

    changed: int
    image_id: int
    issuer_id: int
    pdq: bytes
    stands: bool


def changed_codes(connection: Connection, limit: int) -> list[ChangedCode]:
    """Return the next changes of codes, at most `limit`."""
    rows = select(codes).where(codes.c.changed > cursor(connection)).order_by(codes.c.changed)
    return [
        ChangedCode(
            row.changed,
            row.image_id,
            row.issuer_id,
            bytes(row.pdq),
            not row.withdrawn and row.pdq_quality >= MIN_QUALITY and len(row.pdq) == CODE_BYTES,
        )
        for row in connection.execute(rows.limit(limit))
    ]


def cursor(connection: Connection) -> int:
    """Return up to which change the sighted pictures were matched."""
    noted = select(notes.c.value).where(notes.c.name == CURSOR)
    return int(connection.execute(noted).scalar_one_or_none() or 0)


def move_cursor(connection: Connection, changed: int) -> None:
    """Note that the changes up to this one were matched, in the transaction of what followed."""
    if changed <= cursor(connection):
        return  # another process was quicker
    connection.execute(
        insert_into(connection, notes)
        .values(name=CURSOR, value=str(changed))
        .on_conflict_do_update(index_elements=["name"], set_={"value": str(changed)})
    )


def pictures_resting_on(connection: Connection, changed: Sequence[ChangedCode]) -> Pictures:
    """Return the pictures that stand in a case for these codes."""
    wanted: set[int] = set()
    for issuer_id in {one.issuer_id for one in changed}:
        theirs = [one.image_id for one in changed if one.issuer_id == issuer_id]
        wanted |= cases_resting_on(connection, issuer_id, theirs).keys()
    return stored(connection, wanted)


def pictures_of_arrivals(
    connection: Connection, came: Sequence[Arrival], judgement: Judgement
) -> Pictures:
    """Return the stored pictures that peers' rows, and rows of our own, bear on."""
    wanted = {one.image_id for one in came if one.feed is Feed.OWN}
    for issuer_id in {one.issuer_id for one in came if one.feed is not Feed.OWN}:
        theirs = [one for one in came if one.issuer_id == issuer_id]
        gone = [one.image_id for one in theirs if one.gone]
        wanted |= cases_resting_on(connection, issuer_id, gone).keys()
        flagging = _flagging(connection, issuer_id, theirs, judgement)
        wanted |= flagging | _equals(connection, issuer_id, sorted(flagging))
    return stored(connection, wanted)


def stored(connection: Connection, image_ids: Iterable[int]) -> Pictures:
    """Return those of the pictures that were met in a source, or stand in a case."""
    met = exists().where(sightings.c.image_id == images.c.id)
    held = exists().where(case_pictures.c.image_id == images.c.id)
    found: Pictures = {}
    for some in batches(sorted(set(image_ids))):
        rows = select(images.c.id, images.c.sha256).where(images.c.id.in_(some), or_(met, held))
        found |= {row.id: bytes(row.sha256) for row in connection.execute(rows)}
    return found


def _flagging(
    connection: Connection, issuer_id: int, theirs: Sequence[Arrival], judgement: Judgement
) -> set[int]:
    """Return the pictures whose rows speak against them: a lax peer's clean row may as well."""
    came = sorted({one.image_id for one in theirs if not one.gone})
    found: set[int] = set()
    for some in batches(came):
        for image_id, said in verdicts_of_images(connection, some, issuer_id).items():
            if any(
                verdict.feed is Feed.FLAGGED or flagged_rules(verdict, judgement.rules, judgement)
                for verdict in said
            ):
                found.add(image_id)
    return found


def _equals(connection: Connection, issuer_id: int, image_ids: Sequence[int]) -> set[int]:
    """Return the pictures of ours that equal in content what an issuer claims of these."""
    theirs, ours = verdicts.alias("theirs"), verdicts.alias("ours")
    found: set[int] = set()
    for some in batches(image_ids):
        equal = (
            select(ours.c.image_id)
            .join_from(ours, theirs, same_content(ours.c.content, theirs.c.content))
            .where(theirs.c.image_id.in_(some), theirs.c.issuer_id == issuer_id)
            .where(ours.c.feed == int(Feed.OWN))
        )
        found.update(connection.execute(equal).scalars())
    return found
