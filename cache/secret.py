"""Keeps the instance secret, and throws the audit dice, which fall the same way each time."""

import hmac
import secrets as random_source

from sqlalchemy import Connection, select

from cache.judgement import Judgement
from cache.storage.rows import insert_into
from cache.storage.tables import secrets
from cache.verdict import SELF, Evidence, Feed, MatchKind, Verdict

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


def audit_throw(
    secret: bytes,
    evidence: Evidence,
    sha256: bytes,
    judgement: Judgement,
    *,
    content: bytes | None = None,
) -> float:
    """Return the audit throw in [0, 1) of the picture: HMAC over its content, else its sha256.

    `content` is what was computed here, never what a peer's row claims: a peer that saw one picture
    pass would claim that picture's content for all its lies, and be audited no more. Where none of
    a peer's clean rows that weigh is on the very picture, the smallest of its twins counts, else
    who sends one picture in many variants throws many times.
    """
    twins = sorted(_computed_here(match.verdict) for match in evidence.twins)
    own = sha256 if content is None else content
    key = twins[0] if twins and not _is_called_clean(evidence, judgement) else own
    digest = hmac.digest(secret, b"audit" + key, "sha256")
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits fit a float below 1


def _is_called_clean(evidence: Evidence, judgement: Judgement) -> bool:
    """Tell whether a peer whose clean weighs anything says so of the very picture."""
    return any(
        match.verdict.feed is Feed.CLEAN
        and match.kind in (MatchKind.EXACT, MatchKind.CONTENT)
        and judgement.trust_in(match.verdict.issuer).largest_clean_weight
        for match in evidence.matches
    )


def _computed_here(verdict: Verdict) -> bytes:
    """Return what a twin is known by, leaving out what a peer claims of it."""
    return (verdict.content if verdict.issuer == SELF else None) or verdict.sha256
