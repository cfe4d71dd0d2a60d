"""What a block ends: all that binds us to the hosts below a domain, without telling them.

Follows end and their verdicts are dropped, followers are forgotten, what waits to be sent there
or to be acted on is dropped, and its verdicts weigh nothing (it is suspended; its weights stay
noted). Unblocking brings none of it back: the admin follows and trusts anew. Doing it twice
does no harm.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    delete,
    func,
    select,
    true,
    update,
)

from cache.judgement import PeerState
from cache.memory.peer_rows import withdraw_rows
from cache.storage.feed_tables import (
    deliveries,
    followers,
    follows,
    inbox,
    is_received,
    is_waiting,
)
from cache.storage.rows import batches
from cache.storage.tables import issuers
from cache.trust.trust import set_state
from cache.verdict import SELF, Feed
from federation.outbound.domain import covering, host_of


@dataclass(frozen=True, slots=True)
class Ended:
    """How much a block ends."""

    follows: int = 0
    followers: int = 0
    deliveries: int = 0  # that waited
    received: int = 0  # activities that waited to be acted on
    suspended: int = 0  # peers that were not suspended before

    @property
    def is_nothing(self) -> bool:
        """Whether nothing bound us to the domain."""
        return self == Ended()


def count_ties(conn: Connection, domains: Collection[str]) -> Ended:
    """Return what blocking the domains would end."""
    listed = frozenset(domains)
    peers = _covered(conn, issuers.c.origin, issuers.c.origin != SELF, listed)
    active = issuers.c.state != PeerState.SUSPENDED.value
    named = [issuers.c.origin.in_(some) for some in batches(peers)]
    ids = [select(issuers.c.id).where(one) for one in named]
    return Ended(
        _count(conn, follows, [follows.c.issuer_id.in_(one) for one in ids]),
        _count(conn, followers, _theirs(conn, followers, true(), listed)),
        _count(conn, deliveries, _theirs(conn, deliveries, is_waiting, listed)),
        _count(conn, inbox, _theirs(conn, inbox, is_received, listed)),
        _count(conn, issuers, [one & active for one in named]),
    )


def end_ties(conn: Connection, domains: Collection[str]) -> Ended:
    """End what binds us to hosts that the domains cover, and return how much that was."""
    ended, listed = count_ties(conn, domains), frozenset(domains)
    if ended.is_nothing:
        return ended
    for theirs in _theirs(conn, followers, true(), listed):
        conn.execute(delete(followers).where(theirs))
    for theirs in _theirs(conn, deliveries, is_waiting, listed):
        conn.execute(delete(deliveries).where(theirs))
    failed = {"state": "failed", "error": "its domain is blocked", "body": ""}
    for theirs in _theirs(conn, inbox, is_received, listed):
        conn.execute(update(inbox).where(theirs).values(**failed))
    for origin in _covered(conn, issuers.c.origin, issuers.c.origin != SELF, listed):
        _end_peer(conn, origin)
    return ended


def _end_peer(conn: Connection, origin: str) -> None:
    """Stop following a peer, drop the verdicts that came of it, and suspend it."""
    its = select(issuers.c.id).where(issuers.c.origin == origin).scalar_subquery()
    for row in conn.execute(select(follows).where(follows.c.issuer_id == its)).all():
        withdraw_rows(conn, issuer_id=row.issuer_id, feed=Feed(row.feed), epoch=None)
        conn.execute(delete(follows).where(follows.c.id == row.id))
    state = conn.scalar(select(issuers.c.state).where(issuers.c.origin == origin))
    if state != PeerState.SUSPENDED.value:
        set_state(conn, origin, PeerState.SUSPENDED)


def _theirs(
    conn: Connection, table: Table, which: ColumnElement[bool], listed: frozenset[str]
) -> list[ColumnElement[bool]]:
    """Return conditions that name the rows of covered origins, a bounded list of them each."""
    origins = _covered(conn, table.c.origin, which, listed)
    return [which & table.c.origin.in_(some) for some in batches(origins)]


def _covered(
    conn: Connection, column: Column[str], which: ColumnElement[bool], listed: frozenset[str]
) -> list[str]:
    known = conn.execute(select(column).where(which).distinct()).scalars()
    return sorted(origin for origin in known if covering(host_of(origin), listed))


def _count(conn: Connection, table: Table, which: Sequence[ColumnElement[bool]]) -> int:
    count = select(func.count()).select_from(table)
    return sum(conn.scalar(count.where(one)) or 0 for one in which)
