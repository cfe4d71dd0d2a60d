"""Keeps whom this instance trusts, and how far: peers, their weights, their states.

Decides how trust is stored and what follows for the near-match index when a weight rises from 0
or falls to it. What the weights lead to is left to `decide`.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, select

from cache.errors import UnknownPeer
from cache.judgement import LabelTrust, PeerState, Trust
from cache.peer_rows import settle_peer_codes
from cache.rows import insert_into
from cache.settings import PeerDefaults, hundredths
from cache.tables import issuers, label_weights, verdicts
from cache.verdict import SELF, Feed


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer as listed: its trust, and how many live verdicts of each feed are stored."""

    issuer_id: int
    origin: str
    trust: Trust
    clean_verdicts: int = 0
    flagged_verdicts: int = 0


def add_peer(connection: Connection, origin: str, defaults: PeerDefaults, *, now: int) -> int:
    """Return the row id of a peer; a new one takes the defaults of the config.

    It is `observed`, unless the defaults give it weight.
    """
    clean, flag = hundredths(defaults.clean_weight), hundredths(defaults.flag_weight)
    connection.execute(
        insert_into(connection, issuers)
        .values(
            origin=origin,
            state=(PeerState.TRUSTED if clean or flag else PeerState.OBSERVED).value,
            clean_weight=clean,
            flag_weight=flag,
            labels=" ".join(sorted(defaults.labels)),
            max_age_days=defaults.max_age_days,
            audit_rate=hundredths(defaults.audit_rate),
            created=now,
        )
        .on_conflict_do_nothing(index_elements=["origin"])
    )
    return peer_id(connection, origin)


def peer_id(connection: Connection, origin: str) -> int:
    """Return the row id of a known peer; raises UnknownPeer."""
    row_id = connection.execute(
        select(issuers.c.id).where(issuers.c.origin == origin, issuers.c.origin != SELF)
    ).scalar_one_or_none()
    if row_id is None:
        raise UnknownPeer(f"{origin} is no peer known here; see `fediverdict peers list`.")
    return int(row_id)


def set_trust(connection: Connection, origin: str, trust: Trust) -> None:
    """Store what a peer's verdicts may do here, label weights included; raises UnknownPeer.

    The peer's codes enter or leave the near-match index when its flag weight leaves or meets 0.
    """
    row_id = peer_id(connection, origin)
    connection.execute(
        issuers.update()
        .where(issuers.c.id == row_id)
        .values(
            state=trust.state.value,
            clean_weight=trust.clean,
            flag_weight=trust.flag,
            labels=" ".join(sorted(trust.heard)),
            max_age_days=trust.max_age_days,
            audit_rate=hundredths(trust.audit_rate),
            operator=trust.operator,
        )
    )
    _set_labels(connection, row_id, trust)
    settle_peer_codes(connection, row_id)


def set_state(connection: Connection, origin: str, state: PeerState) -> None:
    """Put a peer to observed, trusted or suspended; its weights stay noted."""
    peer_id(connection, origin)
    set_trust(connection, origin, replace(load_trust(connection)[origin], state=state))


def load_trust(connection: Connection) -> dict[str, Trust]:
    """Return the trust in every peer, by origin."""
    return {peer.origin: peer.trust for peer in _peers(connection)}


def list_peers(connection: Connection) -> list[Peer]:
    """Return every peer with its trust and how many verdicts of it are stored."""
    counted = connection.execute(
        select(verdicts.c.issuer_id, verdicts.c.feed, func.count())
        .where(verdicts.c.feed != int(Feed.OWN))
        .group_by(verdicts.c.issuer_id, verdicts.c.feed)
    ).all()
    counts = {(issuer_id, feed): number for issuer_id, feed, number in counted}
    return [
        replace(
            peer,
            clean_verdicts=counts.get((peer.issuer_id, int(Feed.CLEAN)), 0),
            flagged_verdicts=counts.get((peer.issuer_id, int(Feed.FLAGGED)), 0),
        )
        for peer in _peers(connection)
    ]


def _peers(connection: Connection) -> list[Peer]:
    overrides: dict[int, dict[str, LabelTrust]] = {}
    for row in connection.execute(select(label_weights)):
        terms = LabelTrust(row.clean_weight, row.flag_weight)
        overrides.setdefault(row.issuer_id, {})[row.label] = terms
    rows = connection.execute(
        select(issuers).where(issuers.c.origin != SELF).order_by(issuers.c.origin)
    ).all()
    return [
        Peer(
            row.id,
            row.origin,
            Trust(
                clean=row.clean_weight,
                flag=row.flag_weight,
                labels=overrides.get(row.id, {}),
                heard=frozenset(row.labels.split()),
                max_age_days=row.max_age_days,
                operator=row.operator,
                audit_rate=row.audit_rate / 100,
                state=PeerState(row.state),
            ),
        )
        for row in rows
    ]


def _set_labels(connection: Connection, row_id: int, trust: Trust) -> None:
    connection.execute(delete(label_weights).where(label_weights.c.issuer_id == row_id))
    values = [
        {
            "issuer_id": row_id,
            "label": label,
            "clean_weight": terms.clean,
            "flag_weight": terms.flag,
        }
        for label, terms in sorted(trust.labels.items())
    ]
    if values:
        connection.execute(label_weights.insert(), values)
