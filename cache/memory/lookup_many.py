"""Gathers the evidence for many pictures at once; for each the same that `lookup` finds.

Decides nothing of its own. A statement reads what is held of a whole list of hashes, on both
databases, so that a batch costs no statement a picture; only where something near is found are
there more.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, literal, select, union_all

from cache.index.near import NearCode, NearIndex
from cache.memory.lookup import (
    FINGERPRINTS,
    Asked,
    Exact,
    Guards,
    StoredFingerprint,
    Twins,
    codes_to_search,
    evidence_of,
    fingerprint_of,
    newest,
)
from cache.memory.verdict_rows import (
    FINDING_COLUMNS,
    finding_of,
    match_of,
    select_findings,
    select_verdicts,
    verdict_of,
)
from cache.storage.contents import content_key, key_of
from cache.storage.prepared import PreparedList
from cache.storage.tables import findings, images, verdicts
from cache.uncollected import uncollected
from cache.verdict import Evidence, FindingMatch, FingerprintLike, MatchKind, Verdict

Rows = Mapping[bytes, Sequence[Sequence[Any]]]
"""Rows by the hash that found them."""

_SHA256, _CONTENT = 4, 9
"""Where these stand in a row of verdicts; in one of findings they are the last two."""

_VERDICTS_EXACT = PreparedList(
    lambda listed: select_verdicts(MatchKind.EXACT).where(listed(images.c.sha256))
)
_VERDICTS_CONTENT = PreparedList(
    lambda listed: select_verdicts(MatchKind.CONTENT).where(
        listed(content_key(verdicts.c.content)), verdicts.c.content.is_not(None)
    )
)
_FINDINGS_EXACT = PreparedList(
    lambda listed: (
        select_findings(MatchKind.EXACT)
        .add_columns(images.c.sha256, findings.c.content)
        .where(listed(images.c.sha256))
    )
)
_FINDINGS_CONTENT = PreparedList(
    lambda listed: (
        select_findings(MatchKind.CONTENT)
        .add_columns(images.c.sha256, findings.c.content)
        .where(listed(findings.c.content))
    )
)
_IMAGE_IDS = bindparam("image_ids", type_=BigInteger(), expanding=True)
_VERDICTS_OF_IMAGES = select_verdicts(MatchKind.NEAR).where(
    verdicts.c.image_id.in_(_IMAGE_IDS), verdicts.c.issuer_id == bindparam("issuer_id")
)
_EQUAL = images.alias("equal")
_FINDINGS_OF_IMAGES = union_all(
    select_findings(MatchKind.NEAR)
    .add_columns(findings.c.image_id.label("of_image"))
    .where(findings.c.image_id.in_(_IMAGE_IDS)),
    select(literal(MatchKind.NEAR.value), *FINDING_COLUMNS, _EQUAL.c.id)
    .join_from(_EQUAL, findings, findings.c.content == _EQUAL.c.content)
    .where(_EQUAL.c.id.in_(_IMAGE_IDS), findings.c.image_id != _EQUAL.c.id),
)
_FINGERPRINTS = PreparedList(lambda listed: FINGERPRINTS.where(listed(images.c.sha256)))
_ANY_FINDING = select(findings.c.id).limit(1)


def own_fingerprints(
    connection: Connection, hashes: Iterable[bytes]
) -> dict[bytes, StoredFingerprint]:
    """Return the fingerprints that this instance computed itself, by their sha256."""
    rows = _FINGERPRINTS.rows(connection, sorted(set(hashes)))
    return {found.sha256: found for found in map(fingerprint_of, rows)}


def evidence_many(
    connection: Connection,
    near: NearIndex | None,
    asked: Sequence[Asked],
    *,
    guards: Guards | None = None,
    twins: Twins | None = None,
) -> list[Evidence]:
    """Do as `lookup.evidence` for each picture, in order."""
    with uncollected():
        exact = _exact(connection, [fingerprint for fingerprint, _ in asked])
        hits = _near(connection, near, asked)
        return [
            evidence_of(connection, one, of_it, near_it, guards=guards, twins=twins)
            for one, of_it, near_it in zip(asked, exact, hits, strict=True)
        ]


def _exact(connection: Connection, fingerprints: Sequence[FingerprintLike]) -> list[Exact]:
    hashes = sorted({one.sha256 for one in fingerprints if one.sha256})
    contents = sorted({one.content for one in fingerprints if one.content is not None})
    said = (
        _by(_VERDICTS_EXACT.rows(connection, hashes), _SHA256),
        _by(_VERDICTS_CONTENT.rows(connection, sorted(set(map(key_of, contents)))), _CONTENT),
    )
    found: tuple[Rows, Rows] | None = None
    if connection.execute(_ANY_FINDING).first() is not None:
        found = (
            _by(_FINDINGS_EXACT.rows(connection, hashes), -2),
            _by(_FINDINGS_CONTENT.rows(connection, contents), -1),
        )
    return [
        (
            {row[1]: match_of(row) for row in _of(one, said, _SHA256)},
            {row[1]: finding_of(row[:-2]) for row in _of(one, found, -2)} if found else {},
        )
        for one in fingerprints
    ]


def _by(rows: Iterable[Sequence[Any]], column: int) -> Rows:
    found: dict[bytes, list[Sequence[Any]]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found


def _of(
    fingerprint: FingerprintLike, found: tuple[Rows, Rows], sha256: int
) -> Iterable[Sequence[Any]]:
    """Return the rows on the picture, and those on others that equal it in content."""
    by_sha256, by_content = found
    exact = by_sha256.get(fingerprint.sha256, ())
    alike = by_content.get(fingerprint.content, ()) if fingerprint.content is not None else ()
    return (
        [*exact, *(row for row in alike if row[sha256] != fingerprint.sha256)] if alike else exact
    )


def _near(
    connection: Connection, near: NearIndex | None, asked: Sequence[Asked]
) -> Sequence[Sequence[NearCode] | None]:
    if near is None:
        return [None] * len(asked)
    near.refresh(connection)
    pictures = [
        (codes_to_search(one, variants), one.pdq_quality, one.phash) for one, variants in asked
    ]
    with_code = [picture for picture in pictures if picture[0] and picture[1] is not None]
    hits = iter(near.search_many(with_code) if with_code else ())
    return [next(hits) if picture[0] and picture[1] is not None else [] for picture in pictures]


def verdicts_of_images(
    connection: Connection, image_ids: Sequence[int], issuer_id: int
) -> dict[int, list[Verdict]]:
    """Return what one issuer says of pictures (no more than one IN list), by their row ids."""
    values = {"image_ids": image_ids, "issuer_id": issuer_id}
    said: dict[int, list[Verdict]] = {}
    for row in connection.execute(_VERDICTS_OF_IMAGES, values):
        said.setdefault(row.image_id, []).append(verdict_of(row))
    return said


def findings_of_images(
    connection: Connection, image_ids: Sequence[int]
) -> dict[int, list[FindingMatch]]:
    """Do as `findings_of_image` for pictures (no more than one IN list), by their row ids."""
    found: dict[int, dict[int, FindingMatch]] = {}
    for *row, image_id in connection.execute(_FINDINGS_OF_IMAGES, {"image_ids": image_ids}):
        found.setdefault(image_id, {})[row[1]] = finding_of(row)
    return {image_id: list(newest(these).values()) for image_id, these in found.items()}
