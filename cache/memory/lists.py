"""Keeps hash lists: what an admin imported, as verdicts of an issuer called `list:NAME`.

A list is weighed as a peer is (design, "Deciding"): its entries are findings of its own for one
rule, `upheld`, and stand among flagged rows, so that their codes are matched near as well. Nothing
of it is ever published: feeds hold verdicts of our own alone. Reading files is left to others.
Every function wants a write transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256 as sha256_of

from sqlalchemy import Connection, delete, select

from cache.cases.arrivals import LISTS, note_arrivals
from cache.errors import BadListName
from cache.judgement import PeerState
from cache.memory.peer_rows import record_attestations, settle_peer_codes
from cache.memory.record import pipeline_row
from cache.rules import is_label
from cache.settings import PeerDefaults
from cache.storage.tables import issuers, verdicts
from cache.trust.trust import add_peer, load_trust, set_trust
from cache.verdict import Basis, Feed, Finding, Verdict

PREFIX = LISTS
LIFE_DAYS = 36_500
"""How long an entry stands: until it is removed."""

SECONDS_PER_DAY = 86_400
NO_FOLLOW = 0
"""Lists are followed by nobody, so nothing of them is retracted before it comes."""

_UNSEEN = b"fediverdict-list-1\0"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list says of one picture: by sha256, content or PDQ, at least one of them."""

    sha256: bytes | None = None
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    rule: str | None = None  # None: that of the whole list


def origin_of_list(name: str) -> str:
    """Return the issuer's name of a list; raises BadListName."""
    if not is_label(name):
        raise BadListName(
            f"{name!r} cannot name a list: use lower-case letters, digits and single hyphens."
        )
    return PREFIX + name


def ensure_list(connection: Connection, name: str, *, flag: int, clean: int, now: int) -> int:
    """Return the row id of a list as an issuer; a new one weighs `flag` and `clean` (hundredths).

    The weights of a known one stay: `peers trust list:NAME` changes them.
    """
    origin = origin_of_list(name)
    known = connection.execute(select(issuers.c.id).where(issuers.c.origin == origin)).scalar()
    if known is not None:
        return int(known)
    row_id = add_peer(connection, origin, PeerDefaults(), now=now)
    state = PeerState.TRUSTED if flag or clean else PeerState.OBSERVED
    trust = load_trust(connection)[origin]
    changed = replace(trust, flag=flag, clean=clean, state=state, max_age_days=LIFE_DAYS)
    set_trust(connection, origin, changed)
    return row_id


def store_entries(
    connection: Connection, issuer_id: int, entries: Iterable[Entry], rule: str, *, now: int
) -> None:
    """Store entries of a list; one that is there already is renewed."""
    rows = [_verdict(entry, rule, now) for entry in entries]
    _record(connection, issuer_id, Feed.FLAGGED, rows, now)


def store_verdicts(
    connection: Connection,
    issuer_id: int,
    rows: Sequence[Verdict],
    pipelines: Iterable[Mapping[str, str]],
    *,
    now: int,
) -> None:
    """Store exported verdicts as the list's, each in its `feed`."""
    for description in pipelines:
        pipeline_row(connection, description)
    for feed in (Feed.CLEAN, Feed.FLAGGED):
        _record(connection, issuer_id, feed, [row for row in rows if row.feed is feed], now)


def drop_older(connection: Connection, issuer_id: int, *, stored_before: int) -> int:
    """Delete what the list said before a time, and return how much that was."""
    older = [verdicts.c.issuer_id == issuer_id, verdicts.c.received < stored_before]
    gone = connection.execute(select(verdicts.c.image_id).where(*older)).scalars().all()
    connection.execute(delete(verdicts).where(*older))
    for feed in (Feed.CLEAN, Feed.FLAGGED):
        note_arrivals(connection, issuer_id, feed, gone, gone=True)
    settle_peer_codes(connection, issuer_id, gone)
    return len(gone)


def list_row(connection: Connection, name: str) -> int | None:
    """Return the row id of a list, None where there is none of that name."""
    origin = origin_of_list(name)
    return connection.execute(
        select(issuers.c.id).where(issuers.c.origin == origin)
    ).scalar_one_or_none()


def _record(
    connection: Connection, issuer_id: int, feed: Feed, rows: Sequence[Verdict], now: int
) -> None:
    if rows:
        record_attestations(
            connection, issuer_id=issuer_id, feed=feed, follow_id=NO_FOLLOW, rows=rows, now=now
        )


def _verdict(entry: Entry, rule: str, now: int) -> Verdict:
    return Verdict(
        issuer="",
        sha256=entry.sha256 or _stand_in(entry),
        feed=Feed.FLAGGED,
        basis=Basis.HUMAN,
        issued=now,
        expires=now + LIFE_DAYS * SECONDS_PER_DAY,
        content=entry.content,
        pdq=entry.pdq,
        pdq_quality=entry.pdq_quality,
        rule=entry.rule or rule,
        finding=Finding.UPHELD,
    )


def _stand_in(entry: Entry) -> bytes:
    """Return what stands for the SHA-256 of a picture that nobody here has seen.

    Equal entries have equal ones; no file has it, unless somebody breaks SHA-256.
    """
    return sha256_of(_UNSEEN + (entry.content or b"") + (entry.pdq or b"")).digest()
