"""Keeps the instance secret, and throws the audit dice, which fall the same way each time."""

import hmac
import secrets as random_source

from sqlalchemy import Connection, select

from cache.judgement import Judgement
from cache.rows import insert_into
from cache.tables import secrets
from cache.verdict import Evidence, Feed, MatchKind

SECRET_BYTES = 32
_INSTANCE = "instance"


def instance_secret(connection: Connection) -> bytes:
    """Return this instance's secret (32 bytes), made at the first call; wants a write.

    Of two processes that make it at once, both return the one that was stored.
    """
    connection.execute(
        insert_into(connection, secrets)
        .values(name=_INSTANCE, value=random_source.token_bytes(SECRET_BYTES))
        .on_conflict_do_nothing(index_elements=["name"])
    )
    return bytes(
        connection.execute(select(secrets.c.value).where(secrets.c.name == _INSTANCE)).scalar_one()
    )


def frame_seed(secret: bytes, sha256: bytes) -> bytes:
    """Return what chooses the frames of an animation that are seen (32 bytes).

    Nobody without the secret can tell which they are, and hide a frame between them.
    """
    return hmac.digest(secret, b"frames" + sha256, "sha256")


def keyed_secret(secret: bytes) -> bytes:
    """Return the secret of the sketches that near clean compares (32 bytes)."""
    return hmac.digest(secret, b"keyed", "sha256")


def audit_throw(secret: bytes, evidence: Evidence, sha256: bytes, judgement: Judgement) -> float:
    """Return the audit throw in [0, 1) of the picture: HMAC over the content of the matched row.

    Where rows differ in content the smallest counts, where none has any, that of the twins (else
    who sends one picture in many variants throws many times), where there are none, `sha256`. Rows
    of peers whose clean weight is 0 have no say: they could throw the dice for others.
    """
    contents = sorted(
        match.verdict.content
        for match in evidence.matches
        if match.verdict.feed is Feed.CLEAN
        and match.kind in (MatchKind.EXACT, MatchKind.CONTENT)
        and match.verdict.content is not None
        and judgement.trust_in(match.verdict.issuer).largest_clean_weight
    )
    twins = sorted(match.verdict.content or match.verdict.sha256 for match in evidence.twins)
    key = [*contents, *twins, sha256][0]
    digest = hmac.digest(secret, b"audit" + key, "sha256")
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits fit a float below 1
