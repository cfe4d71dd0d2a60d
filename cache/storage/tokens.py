"""Makes and checks bearer tokens: stored as a hash, shown once, limited to scopes."""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import Connection, delete, select

from cache.errors import TokenExists
from cache.storage.tables import tokens

TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 200
PREFIX = "fv_"


class Scope(StrEnum):
    """What a token may be used for."""

    SCAN = "scan"
    LOOKUP = "lookup"
    WORKER = "worker"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is known here; the secret itself is not kept."""

    name: str
    scopes: frozenset[Scope]
    created: int


def create_token(connection: Connection, name: str, scopes: Collection[Scope], *, now: int) -> str:
    """Store a new token and return it, this once (256 random bits); raises TokenExists."""
    taken = connection.execute(select(tokens.c.id).where(tokens.c.name == name)).first()
    if taken is not None:
        raise TokenExists(f"There is a token named {name!r} already; choose another name.")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    connection.execute(
        tokens.insert().values(
            name=name,
            digest=_digest(token),
            scopes=" ".join(sorted(scope.value for scope in scopes)),
            created=now,
        )
    )
    return token


def check_token(connection: Connection, token: str) -> Token | None:
    """Return what a token stands for, None for one unknown; only hashes are compared."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        return None
    digest = _digest(token)
    row = connection.execute(select(tokens).where(tokens.c.digest == digest)).one_or_none()
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    scopes = frozenset(Scope(scope) for scope in row.scopes.split())
    return Token(row.name, scopes, row.created)


def list_tokens(connection: Connection) -> list[Token]:
    """Return every token by name; the secrets themselves are not kept."""
    rows = connection.execute(select(tokens).order_by(tokens.c.name))
    return [Token(row.name, frozenset(map(Scope, row.scopes.split())), row.created) for row in rows]


def delete_token(connection: Connection, name: str) -> bool:
    """Delete a token by its name; tells whether there was one."""
    return bool(connection.execute(delete(tokens).where(tokens.c.name == name)).rowcount)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
