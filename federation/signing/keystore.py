"""This instance's own keys, kept in `signing_keys`: one RSA key, one Ed25519 key a feed.

Decides which stored key is in use: the newest that is neither expired nor revoked. Retired
keys stay, so that actors can go on listing them. Rotating them comes with `keys rotate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlalchemy import Connection, Row, insert, select

from cache.storage.feed_tables import signing_keys
from cache.verdict import Feed
from federation.actors.actor import OwnProofKey
from federation.addresses import FEED_NAMES
from federation.signing import keys

_HTTP = "http"


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys in use, and every proof key that an actor shows, newest first."""

    http: RSAPrivateKey
    proof: Mapping[Feed, Ed25519PrivateKey]
    shown: Mapping[Feed, Sequence[OwnProofKey]]


def ensure_keys(conn: Connection, now: int) -> OwnKeys:
    """Return this instance's keys, making those that are missing; once for all processes."""
    if not _in_use(conn, _HTTP, now):
        _add(conn, _HTTP, keys.to_der(keys.generate_rsa()), now)
    for name in FEED_NAMES.values():
        if not _in_use(conn, name, now):
            _add(conn, name, keys.to_der(keys.generate_ed25519()), now)
    return load_keys(conn, now)


def load_keys(conn: Connection, now: int) -> OwnKeys:
    """Return this instance's keys; `ensure_keys` has made them."""
    return OwnKeys(
        http=keys.rsa_from_der(_in_use(conn, _HTTP, now)[0].private),
        proof={
            feed: keys.ed25519_from_der(_in_use(conn, name, now)[0].private)
            for feed, name in FEED_NAMES.items()
        },
        shown={
            feed: [_shown(row) for row in _all(conn, name)] for feed, name in FEED_NAMES.items()
        },
    )


def _all(conn: Connection, purpose: str) -> Sequence[Row[tuple[int, bytes, int | None]]]:
    rows = (
        select(signing_keys)
        .where(signing_keys.c.purpose == purpose)
        .order_by(signing_keys.c.id.desc())
    )
    return conn.execute(rows).all()


def _in_use(conn: Connection, purpose: str, now: int) -> list[Row[tuple[int, bytes, int | None]]]:
    return [
        row
        for row in _all(conn, purpose)
        if row.revoked is None and (row.expires is None or row.expires > now)
    ]


def _shown(row: Row[tuple[int, bytes, int | None]]) -> OwnProofKey:
    public = keys.ed25519_from_der(row.private).public_key()
    return OwnProofKey(public, expires=row.expires, revoked=row.revoked)


def _add(conn: Connection, purpose: str, private: bytes, now: int) -> None:
    conn.execute(insert(signing_keys).values(purpose=purpose, private=private, created=now))
