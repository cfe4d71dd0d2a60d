"""The blast-radius breaker: a peer that caused too much within an hour only asks for review.

Decides which peers are past it: the flags of one operator (else of one instance) flagged so many
distinct pictures here within the hour (`case_grounds.acted`) that they reach both
`trust.blast_radius_actions` and `trust.blast_radius_share` of all sightings. What follows is left
to `decide` (step 3). The admin is told once an hour and peer.
"""

import math
import time
from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from cache.judgement import PeerState
from cache.settings import TrustSettings
from cache.storage.case_tables import case_grounds
from cache.storage.prepared import Prepared
from cache.storage.tables import issuers, sightings
from cache.storage.trust_tables import notices
from cache.trust.notices import tell
from cache.verdict import SELF

HOUR_SECONDS = 3_600
COUNT_SECONDS = 600
"""How long a count of the sightings holds; it may take a moment to count millions."""

KIND = "blast-radius"

_GROUP = case(
    (func.coalesce(issuers.c.operator, "") != "", literal("operator ") + issuers.c.operator),
    else_=literal("origin ") + issuers.c.origin,
)
_ACTIONS = func.count(case_grounds.c.image_id.distinct())
_MAY_ACT = select(issuers.c.id).where(
    issuers.c.origin != SELF,
    or_(  # an observed one causes nothing, unless its operator has others
        issuers.c.state != PeerState.OBSERVED.value,
        issuers.c.operator.is_not(None),
    ),
)
_CAUSED = Prepared(
    select(_GROUP, _ACTIONS)
    .join_from(case_grounds, issuers, issuers.c.id == case_grounds.c.issuer_id)
    .where(
        case_grounds.c.issuer_id.in_(_MAY_ACT),  # by the index, a few rows of each
        case_grounds.c.added > bindparam("since", type_=BigInteger()),
        case_grounds.c.acted,
    )
    .group_by(_GROUP)
    .having(bindparam("actions", type_=Integer()) <= _ACTIONS)
)


class BlastRadius:
    """Tells who is past it; remembers for a while how many sightings there are at least."""

    def __init__(self, settings: TrustSettings) -> None:
        self._settings = settings
        self._sightings, self._are_all, self._counted = 0, False, float("-inf")

    def tripped(self, connection: Connection, now: int) -> frozenset[str]:
        """Return the origins whose flags only ask for review at `now`."""
        values = {"since": now - HOUR_SECONDS, "actions": self._settings.blast_radius_actions}
        caused = _CAUSED.rows(connection, **values)
        past = [group for group, actions in caused if self._is_too_much(connection, actions)]
        if not past:
            return frozenset()
        origins = connection.execute(select(issuers.c.origin).where(_GROUP.in_(past)))
        return frozenset(origins.scalars())

    def _is_too_much(self, connection: Connection, actions: int) -> bool:
        """Tell whether so many actions reach the share; counts no more sightings than it takes."""
        share = self._settings.blast_radius_share
        enough = math.floor(actions / share) + 1  # of so many, they are less than the share
        known = self._are_all or self._sightings >= enough
        if not known or time.monotonic() - self._counted > COUNT_SECONDS:
            self._count(connection, 2 * enough)
        return self._sightings < enough

    def _count(self, connection: Connection, most: int) -> None:
        some = select(literal_column("1")).select_from(sightings).limit(most).subquery()
        count = connection.execute(select(func.count()).select_from(some)).scalar_one()
        self._sightings, self._are_all = count, count < most
        self._counted = time.monotonic()


def tell_tripped(connection: Connection, origins: Iterable[str], now: int) -> None:
    """Tell the admin of peers past the blast radius, each once an hour; wants a write."""
    wanted = sorted(origins)
    if not wanted:
        return
    told = select(notices.c.issuer_id).where(
        notices.c.kind == KIND, notices.c.created > now - HOUR_SECONDS
    )
    rows = connection.execute(
        select(issuers.c.id, issuers.c.origin).where(
            issuers.c.origin.in_(wanted), issuers.c.id.not_in(told)
        )
    ).all()
    for issuer_id, origin in rows:
        tell(connection, KIND, _sentence(origin), issuer_id, now=now)


def _sentence(origin: str) -> str:
    return (
        f"The flags of {origin} (with those of its operator) flagged as many pictures here within "
        "an hour as trust.blast_radius_actions and trust.blast_radius_share allow. Until the hour "
        "is over they only ask for review. Should they be wrong: `fediverdict peers suspend "
        f"{origin}`, or `fediverdict panic`."
    )
