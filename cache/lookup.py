"""Gathers the evidence for one picture: every verdict and finding here that bears on it.

Decides which rows match and how (exact by sha256, content by digest, near by code). What they
amount to is left to `decide`. The statements are built once; the hot path runs two of them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Connection,
    LargeBinary,
    Row,
    Select,
    bindparam,
    literal,
    select,
    union_all,
)

from cache.near import NearCode, NearIndex, met_limit, split_variants
from cache.tables import findings, images, issuers, pipelines, verdicts
from cache.verdict import (
    Basis,
    Evidence,
    Feed,
    Finding,
    FindingMatch,
    FingerprintLike,
    Match,
    MatchKind,
    Verdict,
)

_VERDICT_COLUMNS = (
    verdicts.c.id,
    issuers.c.origin,
    images.c.sha256,
    verdicts.c.feed,
    verdicts.c.basis,
    verdicts.c.issued,
    verdicts.c.expires,
    verdicts.c.content,
    verdicts.c.pdq,
    verdicts.c.pdq_quality,
    pipelines.c.digest,
    verdicts.c.scores,
    verdicts.c.rule,
    verdicts.c.finding,
    verdicts.c.frames_seen,
    verdicts.c.frames_total,
    verdicts.c.epoch,
    verdicts.c.seq,
)
_FINDING_COLUMNS = (
    findings.c.id,
    findings.c.rule,
    findings.c.finding,
    findings.c.decided,
    findings.c.decided_by,
    findings.c.reason,
)


@dataclass(frozen=True, slots=True)
class StoredFingerprint:
    """What this instance computed itself for one sha256, with the 8 codes of near matching."""

    image_id: int
    sha256: bytes
    content: bytes | None
    pdq: bytes | None
    pdq_quality: int | None
    phash: bytes | None
    variants: tuple[bytes, ...]


def _of_verdicts(kind: MatchKind) -> Select[tuple[object, ...]]:
    joined = (
        verdicts.join(images, images.c.id == verdicts.c.image_id)
        .join(issuers, issuers.c.id == verdicts.c.issuer_id)
        .outerjoin(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
    )
    return select(literal(kind.value).label("kind"), *_VERDICT_COLUMNS).select_from(joined)


def _of_findings(kind: MatchKind) -> Select[tuple[object, ...]]:
    joined = findings.join(images, images.c.id == findings.c.image_id)
    return select(literal(kind.value).label("kind"), *_FINDING_COLUMNS).select_from(joined)


_SHA256 = bindparam("sha256", type_=LargeBinary())
_CONTENT = bindparam("content", type_=LargeBinary())
_VERDICTS_EXACT = _of_verdicts(MatchKind.EXACT).where(images.c.sha256 == _SHA256)
_VERDICTS_BOTH = union_all(
    _VERDICTS_EXACT,
    _of_verdicts(MatchKind.CONTENT).where(
        verdicts.c.content == _CONTENT, images.c.sha256 != _SHA256
    ),
)
_FINDINGS_EXACT = _of_findings(MatchKind.EXACT).where(images.c.sha256 == _SHA256)
_FINDINGS_BOTH = union_all(
    _FINDINGS_EXACT,
    _of_findings(MatchKind.CONTENT).where(
        findings.c.content == _CONTENT, images.c.sha256 != _SHA256
    ),
)
_VERDICTS_OF_CODE = _of_verdicts(MatchKind.NEAR).where(
    verdicts.c.image_id == bindparam("image_id"), verdicts.c.issuer_id == bindparam("issuer_id")
)
_IMAGE_ID = bindparam("image_id", type_=BigInteger())
_FINDINGS_OF_CODE = union_all(  # its own, and those of its equals in content
    _of_findings(MatchKind.NEAR).where(findings.c.image_id == _IMAGE_ID),
    _of_findings(MatchKind.NEAR).where(
        findings.c.content
        == select(images.c.content).where(images.c.id == _IMAGE_ID).scalar_subquery(),
        findings.c.image_id != _IMAGE_ID,
    ),
)
_OWN_FINGERPRINT = select(
    images.c.id,
    images.c.content,
    images.c.pdq,
    images.c.pdq_quality,
    images.c.pdq_variants,
    images.c.phash,
).where(images.c.sha256 == _SHA256, images.c.fingerprinted)


def own_fingerprint(connection: Connection, sha256: bytes) -> StoredFingerprint | None:
    """Return the fingerprint that this instance computed for `sha256`, so nothing is decoded."""
    row = connection.execute(_OWN_FINGERPRINT, {"sha256": sha256}).one_or_none()
    if row is None:
        return None
    variants = split_variants(row.pdq_variants)
    return StoredFingerprint(
        row.id, sha256, row.content, row.pdq, row.pdq_quality, row.phash, variants
    )


def evidence(
    connection: Connection,
    near: NearIndex | None,
    *,
    fingerprint: FingerprintLike,
    variants: Sequence[bytes] = (),
) -> Evidence:
    """Return everything held here that bears on the picture.

    `variants` are its 8 dihedral PDQ codes, the identity first; without them the fingerprint's
    own PDQ is searched for, if it has one. `near` None leaves near matching out. A picture of
    which no sha256 is known has `b""`, which equals none.
    """
    matches, found = _exact(connection, fingerprint)
    hits = _near(connection, near, fingerprint, variants or _identity(fingerprint))
    for hit in hits:
        matches = _verdicts_of(connection, hit) | matches
        if hit.own:
            found = _findings_of(connection, hit) | found
    return Evidence(
        tuple(matches.values()),
        tuple(found.values()),
        cut=met_limit(hits),
        compared=near is None or (bool(fingerprint.pdq) and fingerprint.pdq_quality is not None),
    )


def _exact(
    connection: Connection, fingerprint: FingerprintLike
) -> tuple[dict[int, Match], dict[int, FindingMatch]]:
    values = {"sha256": fingerprint.sha256}
    of_verdicts, of_findings = _VERDICTS_EXACT, _FINDINGS_EXACT
    if fingerprint.content is not None:
        values["content"] = fingerprint.content
        of_verdicts, of_findings = _VERDICTS_BOTH, _FINDINGS_BOTH  # type: ignore[assignment]
    return (
        {row.id: _match(row) for row in connection.execute(of_verdicts, values)},
        {row.id: _finding(row) for row in connection.execute(of_findings, values)},
    )


def _near(
    connection: Connection,
    near: NearIndex | None,
    fingerprint: FingerprintLike,
    variants: Sequence[bytes],
) -> list[NearCode]:
    if near is None or not variants or fingerprint.pdq_quality is None:
        return []
    near.refresh(connection)
    return near.search(variants, fingerprint.pdq_quality, fingerprint.phash)


def _verdicts_of(connection: Connection, hit: NearCode) -> dict[int, Match]:
    values = {"image_id": hit.image_id, "issuer_id": hit.issuer_id}
    rows = connection.execute(_VERDICTS_OF_CODE, values)
    return {row.id: _match(row, hit.kind, hit.distance) for row in rows}


def _findings_of(connection: Connection, hit: NearCode) -> dict[int, FindingMatch]:
    rows = connection.execute(_FINDINGS_OF_CODE, {"image_id": hit.image_id})
    return newest({row.id: _finding(row, hit.kind, hit.distance) for row in rows})


def newest(found: dict[int, FindingMatch]) -> dict[int, FindingMatch]:
    """Return of one picture's findings the newest for each rule."""
    by_rule = {
        finding.rule: (key, finding)
        for key, finding in sorted(found.items(), key=lambda item: (item[1].decided, item[0]))
    }
    return dict(by_rule.values())


def _identity(fingerprint: FingerprintLike) -> Sequence[bytes]:
    return () if fingerprint.pdq is None else (fingerprint.pdq,)


def _match(row: Row[tuple[object, ...]], kind: MatchKind | None = None, distance: int = 0) -> Match:
    return Match(kind or MatchKind(row.kind), verdict_of(row), distance)


def _finding(
    row: Row[tuple[object, ...]], kind: MatchKind | None = None, distance: int = 0
) -> FindingMatch:
    return FindingMatch(
        kind or MatchKind(row.kind),
        row.rule,
        Finding(row.finding),
        row.decided,
        row.decided_by,
        row.reason,
        distance,
    )


def verdict_of(row: Row[tuple[object, ...]]) -> Verdict:
    """Return a row of the verdicts statements as a Verdict."""
    return Verdict(
        issuer=row.origin,
        sha256=row.sha256,
        feed=Feed(row.feed),
        basis=Basis(row.basis),
        issued=row.issued,
        expires=row.expires,
        content=row.content,
        pdq=row.pdq,
        pdq_quality=row.pdq_quality,
        pipeline=row.digest.hex() if row.digest is not None else None,
        scores=json.loads(row.scores) if row.scores else {},
        rule=row.rule or None,
        finding=Finding(row.finding) if row.finding else None,
        frames_seen=row.frames_seen,
        frames_total=row.frames_total,
        epoch=row.epoch,
        seq=row.seq,
    )


def verdicts_of_image(connection: Connection, image_id: int, issuer_id: int) -> Iterable[Verdict]:
    """Return what one issuer says of one picture."""
    values = {"image_id": image_id, "issuer_id": issuer_id}
    return [verdict_of(row) for row in connection.execute(_VERDICTS_OF_CODE, values)]


def findings_of_image(connection: Connection, image_id: int) -> Iterable[FindingMatch]:
    """Return the newest finding for each rule that persons here made of one picture."""
    rows = connection.execute(_FINDINGS_OF_CODE, {"image_id": image_id})
    return newest({row.id: _finding(row) for row in rows}).values()
