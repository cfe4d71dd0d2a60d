"""This instance's own keys, kept in `signing_keys`: one RSA key, one Ed25519 key a feed.

A key's life:  in use -> retired (`expires`) | revoked (`revoked`, and from which page on)

Decides which stored key is in use: the one that is neither retired nor revoked. Those that are
stay, so that feeds go on listing them. A retired key still counts for
`RETIRING_SECONDS`: other processes may sign with it until they look, and clocks differ. What a
revoked key means for pages that it signed is decided in `publishing/revoking.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlalchemy import Connection, Row, insert, select, update

from cache.storage.feed_tables import signing_keys
from cache.verdict import Feed
from federation.actors.actor import OwnProofKey
from federation.actors.remote_actor import MAX_PROOF_KEYS
from federation.addresses import FEED_NAMES
from federation.errors import TooManyKeys
from federation.signing import keys

HTTP: Final = "http"
"""The purpose of the RSA key; the Ed25519 keys have the names of their feeds."""

PURPOSES: Final = (*FEED_NAMES.values(), HTTP)
RETIRING_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys in use, and every proof key that an actor shows, newest first."""

    http: RSAPrivateKey
    proof: Mapping[Feed, Ed25519PrivateKey]
    shown: Mapping[Feed, Sequence[OwnProofKey]]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as an admin sees it, without its private half; times in epoch seconds.

    `fragment` ends its id: `main-key`, or `ed25519-` and 12 characters of its multibase.
    """

    id: int
    purpose: str
    fragment: str
    created: int
    expires: int | None
    revoked: int | None
    revoked_from: tuple[str, int] | None
    in_use: bool


def ensure_keys(conn: Connection, now: int) -> OwnKeys:
    """Return this instance's keys, making those that are missing; once for all processes."""
    for purpose in PURPOSES:
        if not _in_use(conn, purpose):
            _add(conn, purpose, now)
    return load_keys(conn)


def load_keys(conn: Connection) -> OwnKeys:
    """Return this instance's keys; `ensure_keys` has made them."""
    return OwnKeys(
        http=keys.rsa_from_der(_in_use(conn, HTTP)[0].private),
        proof={feed: proof_key_in_use(conn, feed) for feed in FEED_NAMES},
        shown={
            feed: [_shown(row) for row in _all(conn, name)] for feed, name in FEED_NAMES.items()
        },
    )


def proof_key_in_use(conn: Connection, feed: Feed) -> Ed25519PrivateKey:
    """Return the key that signs what is written in this very transaction.

    A page never changes, so it must not be signed with a key that was revoked a moment ago.
    """
    return keys.ed25519_from_der(_in_use(conn, FEED_NAMES[feed])[0].private)


def state_of_keys(conn: Connection) -> tuple[Any, ...]:
    """Return what tells one state of the table from another, for a cheap look every second."""
    c = signing_keys.c
    columns = select(c.id, c.expires, c.revoked, c.revoked_epoch, c.revoked_page)
    return tuple(tuple(row) for row in conn.execute(columns.order_by(c.id)))


def list_keys(conn: Connection) -> list[StoredKey]:
    """Return every key ever made here, newest first of each purpose."""
    found: list[StoredKey] = []
    for purpose in PURPOSES:
        using = {row.id for row in _in_use(conn, purpose)}
        found += [_stored(row, in_use=row.id in using) for row in _all(conn, purpose)]
    return found


def rotate(conn: Connection, purpose: str, now: int) -> None:
    """Make a new key and retire the one in use; raises `TooManyKeys` for a feed that has 32."""
    _check_room(conn, purpose)
    retired = [row.id for row in _in_use(conn, purpose)]
    ends = update(signing_keys).where(signing_keys.c.id.in_(retired))
    conn.execute(ends.values(expires=now + RETIRING_SECONDS))
    _add(conn, purpose, now)


def mark_revoked(conn: Connection, key_id: int, first: tuple[str, int], now: int) -> None:
    """Say of a key that pages from `first` (epoch, page) on no longer count, and replace it.

    Raises `TooManyKeys` where it was in use and its feed shows as many keys as peers read.
    """
    mine = signing_keys.c.id == key_id
    purpose = conn.execute(select(signing_keys.c.purpose).where(mine)).scalar_one()
    values = {"revoked": now, "revoked_epoch": first[0], "revoked_page": first[1]}
    conn.execute(update(signing_keys).where(mine).values(**values))
    if not _in_use(conn, purpose):
        _check_room(conn, purpose)
        _add(conn, purpose, now)


def _check_room(conn: Connection, purpose: str) -> None:
    """Peers refuse an actor with more keys; no RSA key but the one in use is shown."""
    if purpose != HTTP and len(_all(conn, purpose)) >= MAX_PROOF_KEYS:
        message = f"the {purpose} feed has {MAX_PROOF_KEYS} keys, the most that peers read"
        raise TooManyKeys(message)


def _all(conn: Connection, purpose: str) -> Sequence[Row[Any]]:
    rows = (
        select(signing_keys)
        .where(signing_keys.c.purpose == purpose)
        .order_by(signing_keys.c.id.desc())
    )
    return conn.execute(rows).all()


def _in_use(conn: Connection, purpose: str) -> list[Row[Any]]:
    """Return the key that signs, if there is one."""
    rows = _all(conn, purpose)
    return [row for row in rows if row.revoked is None and row.expires is None][:1]


def _shown(row: Row[Any]) -> OwnProofKey:
    public = keys.ed25519_from_der(row.private).public_key()
    return OwnProofKey(public, row.expires, row.revoked, _revoked_from(row))


def _stored(row: Row[Any], *, in_use: bool) -> StoredKey:
    return StoredKey(
        row.id,
        row.purpose,
        _fragment(row),
        row.created,
        row.expires,
        row.revoked,
        _revoked_from(row),
        in_use,
    )


def _fragment(row: Row[Any]) -> str:
    if row.purpose == HTTP:
        return keys.main_key_id("").removeprefix("#")
    public = keys.ed25519_from_der(row.private).public_key()
    return keys.proof_key_id("", public).removeprefix("#")


def _revoked_from(row: Row[Any]) -> tuple[str, int] | None:
    return None if row.revoked_epoch is None else (row.revoked_epoch, row.revoked_page)


def _add(conn: Connection, purpose: str, now: int) -> None:
    key = keys.generate_rsa() if purpose == HTTP else keys.generate_ed25519()
    values = {"purpose": purpose, "private": keys.to_der(key), "created": now}
    conn.execute(insert(signing_keys).values(**values))
