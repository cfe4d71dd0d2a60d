"""Keeps whom this instance trusts, and how far: peers, their weights, their states.

Decides how trust is stored and what follows for the near-match index when a weight rises from 0
or falls to it; cases that rest on a peer are looked at again when anything of its trust changes.
What the weights lead to is left to `decide`, when a weight falls by itself to `comparing`.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, select

from cache.cases import cases
from cache.errors import UnknownPeer
from cache.judgement import LabelTrust, PeerState, Trust
from cache.memory.peer_rows import flags_weigh, settle_peer_codes
from cache.settings import PeerDefaults, hundredths
from cache.storage.rows import insert_into
from cache.storage.tables import issuers, label_weights, verdicts
from cache.storage.trust_tables import agreements
from cache.trust.agreement import audit_rate
from cache.trust.track_record import ANY
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
            min_agreement=hundredths(defaults.min_agreement),
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
    before, weighed = load_trust(connection)[origin], flags_weigh(connection, row_id)
    connection.execute(
        issuers.update()
        .where(issuers.c.id == row_id)
        .values(
            state=trust.state.value,
            clean_weight=trust.clean,
            flag_weight=trust.flag,
            labels=" ".join(sorted(trust.heard)),
            max_age_days=trust.max_age_days,
            audit_rate=hundredths(trust.audit_floor),
            min_agreement=hundredths(trust.min_agreement),
            operator=trust.operator,
        )
    )
    _set_labels(connection, row_id, trust)
    weighs_now = flags_weigh(connection, row_id)
    if not (weighed and weighs_now):  # else its codes stand already
        settle_peer_codes(connection, row_id)
    if (changed := _what_changed(before, trust)) is not None:
        flags_too = weighs_now and _flag_terms(before) != _flag_terms(trust)
        reason = f"{origin} {changed}"
        cases.recheck_issuer(connection, row_id, reason=reason, flags_too=flags_too)


def end_weight(
    connection: Connection, origin: str, *, clean: bool = False, flag: bool = False
) -> bool:
    """Let a peer's clean or flag weight fall to 0, those of labels too; tells whether it weighed.

    Without any weight left it is observed again; a suspension stays.
    """
    trust = load_trust(connection)[origin]
    after = without_weight(trust, clean=clean, flag=flag)
    if after == trust:
        return False
    set_trust(connection, origin, after)
    return True


def without_weight(trust: Trust, *, clean: bool = False, flag: bool = False) -> Trust:
    """Return the trust with these weights at 0, those of labels too."""
    labels = {
        label: LabelTrust(
            0 if clean and terms.clean else terms.clean, 0 if flag and terms.flag else terms.flag
        )
        for label, terms in trust.labels.items()
    }
    fallen = replace(
        trust, clean=0 if clean else trust.clean, flag=0 if flag else trust.flag, labels=labels
    )
    ends = trust.state is PeerState.TRUSTED and not weighs(fallen)
    return replace(fallen, state=PeerState.OBSERVED) if ends else fallen


def weighs(trust: Trust) -> bool:
    """Tell whether any weight is over 0, whatever the peer's state."""
    weights = [trust.clean, trust.flag]
    weights += [w or 0 for terms in trust.labels.values() for w in (terms.clean, terms.flag)]
    return any(weights)


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


def _what_changed(before: Trust, after: Trust) -> str | None:
    """Return what is another now of all that deciding goes by, in words; None for nothing."""
    if before.state is not after.state:
        return f"is {after.state} now"
    if (before.clean, before.flag, before.labels) != (after.clean, after.flag, after.labels):
        return "has other weights now"
    same = (before.heard, before.max_age_days, before.operator) == (
        after.heard,
        after.max_age_days,
        after.operator,
    )
    return None if same else "is heard otherwise now"


def _flag_terms(trust: Trust) -> tuple[object, ...]:
    """Return all that what its flags weigh depends on."""
    labels = {label: terms.flag for label, terms in trust.labels.items()}
    return (trust.state, trust.flag, labels, trust.heard, trust.max_age_days, trust.operator)


def _peers(connection: Connection) -> list[Peer]:
    overrides: dict[int, dict[str, LabelTrust]] = {}
    for row in connection.execute(select(label_weights)):
        terms = LabelTrust(row.clean_weight, row.flag_weight)
        overrides.setdefault(row.issuer_id, {})[row.label] = terms
    since_false = select(agreements.c.issuer_id, agreements.c.since_false)
    compared = {
        row.issuer_id: row.since_false
        for row in connection.execute(since_false.where(agreements.c.label == ANY))
    }
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
                audit_rate=audit_rate(row.audit_rate / 100, compared.get(row.id, 0)),
                state=PeerState(row.state),
                audit_floor=row.audit_rate / 100,
                min_agreement=row.min_agreement / 100,
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
