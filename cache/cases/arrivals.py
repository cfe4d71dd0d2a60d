"""Notes which rows of peers that came or went bear on something here; a queue that others empty.

A row that came bears on a picture fingerprinted here: by its sha256, or by the content it claims,
where a verdict of ours has the same. One that went bears on what a case rests on. Near matches
need no note: whoever follows `codes.changed` meets them. Nearly every row of a peer is of a
picture that was never met here, so each costs a look into indexes and nothing more. What follows
of a note is left to `cases`. Wants a write transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    or_,
    select,
)

from cache.storage.case_tables import arrivals, case_grounds, case_pictures, prints
from cache.storage.contents import same_content
from cache.storage.rows import batches
from cache.storage.tables import images, issuers, verdicts
from cache.verdict import Decision, Feed

FOUND = frozenset({Decision.FLAGGED, Decision.REVIEW})
"""The decisions that a person has to look at."""


LISTS = "list:"
"""How the name of an issuer begins that is a hash list; what it says has no place in a feed."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row of a peer that came, or went: of which picture, through which feed."""

    id: int
    image_id: int
    issuer_id: int
    feed: Feed
    gone: bool


_THEIRS, _OURS = verdicts.alias("theirs"), verdicts.alias("ours")
_ISSUER = bindparam("issuer_id", type_=verdicts.c.issuer_id.type)
_FEED = bindparam("feed", type_=arrivals.c.feed.type)
_PRINTED = exists().where(prints.c.image_id == images.c.id)
_EQUALS_OURS = exists().where(
    _THEIRS.c.image_id == images.c.id,
    _THEIRS.c.issuer_id == _ISSUER,
    _THEIRS.c.feed == _FEED,
    same_content(_OURS.c.content, _THEIRS.c.content),
    _OURS.c.feed == int(Feed.OWN),
)
_RESTED_ON = exists().where(
    case_grounds.c.of_image_id == images.c.id,
    case_grounds.c.issuer_id == _ISSUER,
    case_grounds.c.gone.is_(None),
)


def _noting(bears: ColumnElement[bool], *, gone: bool) -> Insert:
    wanted = images.c.id.in_(bindparam("image_ids", expanding=True, type_=images.c.id.type))
    rows = select(images.c.id, _ISSUER, _FEED, literal(gone)).where(wanted, bears)
    return insert(arrivals).from_select(["image_id", "issuer_id", "feed", "gone"], rows)


_CAME = _noting(or_(_PRINTED, _EQUALS_OURS), gone=False)
_WENT = _noting(_RESTED_ON, gone=True)


def _noting_all(placed: ColumnElement[bool]) -> Insert:
    theirs = select(verdicts.c.image_id).where(
        verdicts.c.issuer_id == _ISSUER, verdicts.c.feed == _FEED, placed
    )
    rows = select(images.c.id, _ISSUER, _FEED, literal(False)).where(
        images.c.id.in_(theirs), or_(_PRINTED, _EQUALS_OURS)
    )
    return insert(arrivals).from_select(["image_id", "issuer_id", "feed", "gone"], rows)


_ALL_FLAGS = _noting_all(verdicts.c.seq.is_not(None))  # a peer's; so says the index
_ALL_OF_A_LIST = _noting_all(verdicts.c.seq.is_(None))  # reads every verdict


_LATER = arrivals.alias("later")
_ONLY_THE_LAST = delete(arrivals).where(  # else whoever repeats himself fills the queue
    arrivals.c.image_id.in_(bindparam("image_ids", expanding=True, type_=images.c.id.type)),
    arrivals.c.issuer_id == _ISSUER,
    arrivals.c.feed == _FEED,
    exists().where(
        _LATER.c.image_id == arrivals.c.image_id,
        _LATER.c.issuer_id == arrivals.c.issuer_id,
        _LATER.c.feed == arrivals.c.feed,
        _LATER.c.gone == arrivals.c.gone,
        _LATER.c.id > arrivals.c.id,
    ),
)


def note_arrivals(
    connection: Connection,
    issuer_id: int,
    feed: Feed,
    image_ids: Iterable[int],
    *,
    gone: bool,
) -> None:
    """Note of a peer's rows on these pictures (row ids) those that bear on something here.

    To be called when rows that came are stored, and when rows that went are deleted. A note that
    waits already is replaced, not kept beside it: whoever is at work on the old one has read
    before this row came.
    """
    statement = _WENT if gone else _CAME
    for some in batches(sorted(set(image_ids))):
        values = {"issuer_id": issuer_id, "feed": int(feed), "image_ids": list(some)}
        noted = connection.execute(statement, values, execution_options={"preserve_rowcount": True})
        if noted.rowcount:
            connection.execute(_ONLY_THE_LAST, values)


def note_flags_of(connection: Connection, issuer_id: int) -> None:
    """Note all flags of an issuer that bear on something here: it may weigh more than before."""
    origin = connection.execute(select(issuers.c.origin).where(issuers.c.id == issuer_id))
    noting = _ALL_OF_A_LIST if origin.scalar_one().startswith(LISTS) else _ALL_FLAGS
    connection.execute(noting, {"issuer_id": issuer_id, "feed": int(Feed.FLAGGED)})


def note_met(connection: Connection, met: Mapping[int, Decision], *, own_issuer_id: int) -> None:
    """Note of stored pictures (row id -> what was decided) those that a case does not know so.

    They are noted as rows of our own. A picture in no case is noted where a person has to look
    at it, one in a case where something else was decided on it before.
    """
    for some in batches(sorted(met)):
        known = dict(
            connection.execute(
                select(case_pictures.c.image_id, case_pictures.c.decision).where(
                    case_pictures.c.image_id.in_(some)
                )
            ).all()
        )
        rows = [
            {"image_id": one, "issuer_id": own_issuer_id, "feed": int(Feed.OWN), "gone": False}
            for one in some
            if (known[one] != met[one] if one in known else met[one] in FOUND)
        ]
        if rows:
            connection.execute(insert(arrivals), rows)


def waiting_arrivals(connection: Connection, limit: int) -> list[Arrival]:
    """Return the oldest notes, at most `limit`."""
    rows = connection.execute(select(arrivals).order_by(arrivals.c.id).limit(limit))
    return [
        Arrival(row.id, row.image_id, row.issuer_id, Feed(row.feed), bool(row.gone)) for row in rows
    ]


def forget_arrivals(connection: Connection, done: Sequence[Arrival]) -> None:
    """Drop notes, in the transaction that holds what followed of them."""
    for some in batches([one.id for one in done]):
        connection.execute(delete(arrivals).where(arrivals.c.id.in_(some)))
