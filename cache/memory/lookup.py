"""Gathers the evidence for one picture: every verdict and finding here that bears on it.

Decides which rows match and how (exact by sha256, content by digest, near by code). What they
amount to is left to `decide`, many pictures at once to `lookup_many`. The statements are prepared
once; the hot path runs two of them, and one more for a fingerprint known here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    Connection,
    LargeBinary,
    bindparam,
    select,
    union_all,
)

from cache.index.near import NearCode, NearIndex, met_limit, split_variants
from cache.memory.verdict_rows import (
    finding_of,
    match_of,
    select_findings,
    select_verdicts,
    verdict_of,
)
from cache.storage.contents import same_content
from cache.storage.prepared import Prepared
from cache.storage.tables import findings, images, verdicts
from cache.verdict import (
    SELF,
    Basis,
    Evidence,
    Feed,
    FindingMatch,
    FingerprintLike,
    Match,
    MatchKind,
    Verdict,
)

T = TypeVar("T")


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
    media_type: str | None = None
    inside: tuple[str, ...] = ()  # what else the file holds


class Guards(Protocol):
    """Knows the near codes that must not act by themselves: allowed here, or held as too hot."""

    def only_suspects(self, connection: Connection, hit: NearCode, pdq: bytes) -> bool:
        """Tell whether this near code may do no more than ask for a scan of the picture."""

    def seen(self, fingerprint: FingerprintLike, hits: Sequence[NearCode]) -> None:
        """Note the codes near a picture that was fingerprinted here; writes nothing by itself."""


class Twins(Protocol):
    """Finds the pictures here that one is nearly equal to, as `decide.near_clean` allows."""

    def of(self, connection: Connection, fingerprint: FingerprintLike) -> Sequence[tuple[int, int]]:
        """Return image row ids with their distance in bits of PDQ, nearest first."""


_SHA256 = bindparam("sha256", type_=LargeBinary())
_CONTENT = bindparam("content", type_=LargeBinary())
_VERDICTS_EXACT = select_verdicts(MatchKind.EXACT).where(images.c.sha256 == _SHA256)
_VERDICTS_CONTENT = select_verdicts(MatchKind.CONTENT).where(
    same_content(verdicts.c.content, _CONTENT), images.c.sha256 != _SHA256
)
_FINDINGS_EXACT = select_findings(MatchKind.EXACT).where(images.c.sha256 == _SHA256)
_FINDINGS_CONTENT = select_findings(MatchKind.CONTENT).where(
    findings.c.content == _CONTENT, images.c.sha256 != _SHA256
)
_EXACT = Prepared(_VERDICTS_EXACT), Prepared(_FINDINGS_EXACT)
_EXACT_AND_CONTENT = (
    Prepared(union_all(_VERDICTS_EXACT, _VERDICTS_CONTENT)),
    Prepared(union_all(_FINDINGS_EXACT, _FINDINGS_CONTENT)),
)

_IMAGE_ID = bindparam("image_id", type_=BigInteger())
_VERDICTS_OF_IMAGE = select_verdicts(MatchKind.NEAR).where(
    verdicts.c.image_id == _IMAGE_ID, verdicts.c.issuer_id == bindparam("issuer_id")
)
_OF_ISSUER = Prepared(_VERDICTS_OF_IMAGE)
_OF_CODE = Prepared(  # a peer's code comes of its flagged feed, and what it calls clean does not
    _VERDICTS_OF_IMAGE.where(verdicts.c.feed != int(Feed.CLEAN))
)
_FINDINGS_OF_CODE = Prepared(
    union_all(  # its own, and those of its equals in content
        select_findings(MatchKind.NEAR).where(findings.c.image_id == _IMAGE_ID),
        select_findings(MatchKind.NEAR).where(
            findings.c.content
            == select(images.c.content).where(images.c.id == _IMAGE_ID).scalar_subquery(),
            findings.c.image_id != _IMAGE_ID,
        ),
    )
)
_VERDICTS_OF_TWIN = Prepared(
    select_verdicts(MatchKind.TWIN).where(verdicts.c.image_id == _IMAGE_ID)
)
FINGERPRINTS = select(
    images.c.id,
    images.c.sha256,
    images.c.content,
    images.c.pdq,
    images.c.pdq_quality,
    images.c.phash,
    images.c.pdq_variants,
    images.c.media_type,
    images.c.inside,
).where(images.c.fingerprinted)
"""Selects what `fingerprint_of` reads."""
_OWN_FINGERPRINT = Prepared(FINGERPRINTS.where(images.c.sha256 == _SHA256))


def own_fingerprint(connection: Connection, sha256: bytes) -> StoredFingerprint | None:
    """Return the fingerprint that this instance computed for `sha256`, so nothing is decoded."""
    for row in _OWN_FINGERPRINT.rows(connection, sha256=sha256):
        return fingerprint_of(row)
    return None


def fingerprint_of(row: Sequence[Any]) -> StoredFingerprint:
    """Return a row of FINGERPRINTS."""
    image_id, sha256, content, pdq, quality, phash, packed, media_type, inside = row
    variants, words = split_variants(packed), tuple(inside.split()) if inside else ()
    computed = (content, pdq, quality, phash, variants)
    return StoredFingerprint(image_id, sha256, *computed, media_type, words)


def evidence(
    connection: Connection,
    near: NearIndex | None,
    *,
    fingerprint: FingerprintLike,
    variants: Sequence[bytes] = (),
    guards: Guards | None = None,
    twins: Twins | None = None,
) -> Evidence:
    """Return everything held here that bears on the picture.

    `variants` are its 8 dihedral PDQ codes, the identity first; without them the fingerprint's
    own PDQ is searched for, if it has one. `near` None leaves near matching out. A picture of
    which no sha256 is known has `b""`, which equals none.
    """
    exact = _exact(connection, fingerprint)
    hits = _near(connection, near, fingerprint, codes_to_search(fingerprint, variants))
    return evidence_of(connection, (fingerprint, variants), exact, hits, guards=guards, twins=twins)


Asked = tuple[FingerprintLike, Sequence[bytes]]
"""A picture asked about: what is known of it, and its 8 dihedral PDQ codes or none."""

Exact = tuple[dict[int, Match], dict[int, FindingMatch]]
"""What matched exactly or in content: verdicts and findings, by their row ids."""


def evidence_of(
    connection: Connection,
    asked: Asked,
    exact: Exact,
    near: Sequence[NearCode] | None,
    *,
    guards: Guards | None = None,
    twins: Twins | None = None,
) -> Evidence:
    """Return the evidence that exact matches and near codes make; None: none were looked for."""
    (fingerprint, variants), (matches, found) = asked, exact
    cut = near is not None and met_limit(near)  # what a guard holds back was found all the same
    hits = [hit for hit in near or () if not _is_itself(hit, fingerprint)]
    if guards is not None and fingerprint.pdq is not None:
        hits = [_guarded(connection, guards, hit, fingerprint.pdq) for hit in hits]
        if variants:  # computed here; what a client claims proves no picture
            guards.seen(fingerprint, hits)
    for hit in hits:
        matches = _verdicts_of(connection, hit) | matches
        if hit.own:
            found = _findings_of(connection, hit) | found
    return Evidence(
        _in_order(matches),
        _in_order(found),
        _twins_beside(connection, twins, fingerprint, matches),
        cut=cut,
        compared=near is None or (bool(fingerprint.pdq) and fingerprint.pdq_quality is not None),
    )


def _in_order(by_row_id: dict[int, T]) -> tuple[T, ...]:
    if len(by_row_id) < 2:
        return tuple(by_row_id.values())
    return tuple([by_row_id[row_id] for row_id in sorted(by_row_id)])


def _exact(connection: Connection, fingerprint: FingerprintLike) -> Exact:
    values = {"sha256": fingerprint.sha256}
    of_verdicts, of_findings = _EXACT
    if fingerprint.content is not None:
        values["content"] = fingerprint.content
        of_verdicts, of_findings = _EXACT_AND_CONTENT
    return (
        {row[1]: match_of(row) for row in of_verdicts.rows(connection, **values)},
        {row[1]: finding_of(row) for row in of_findings.rows(connection, **values)},
    )


def _near(
    connection: Connection,
    near: NearIndex | None,
    fingerprint: FingerprintLike,
    variants: Sequence[bytes],
) -> Sequence[NearCode] | None:
    if near is None:
        return None
    if not variants or fingerprint.pdq_quality is None:
        return []
    near.refresh(connection)
    return near.search(variants, fingerprint.pdq_quality, fingerprint.phash)


def _guarded(connection: Connection, guards: Guards, hit: NearCode, pdq: bytes) -> NearCode:
    """Return the hit; as a probable one, which only asks for a scan, where a guard says so."""
    if hit.kind is MatchKind.NEAR and guards.only_suspects(connection, hit, pdq):
        return replace(hit, kind=MatchKind.PROBABLE)
    return hit


def _twins_beside(
    connection: Connection,
    twins: Twins | None,
    fingerprint: FingerprintLike,
    matches: dict[int, Match],
) -> tuple[Match, ...]:
    """Return the verdicts on the picture's twins; of one that we judged itself, none are needed."""
    if twins is None or _is_ours(matches):
        return ()
    return tuple(_twins_of(connection, twins, fingerprint))


def _twins_of(
    connection: Connection, twins: Twins, fingerprint: FingerprintLike
) -> Iterable[Match]:
    for image_id, distance in twins.of(connection, fingerprint):
        rows = _VERDICTS_OF_TWIN.rows(connection, image_id=image_id)
        yield from (match_of(row, MatchKind.TWIN, distance) for row in rows)


def _is_ours(matches: dict[int, Match]) -> bool:
    """Tell whether we judged these very bytes, which goes before all twins or asks for a scan.

    The hot path of a picture met again; one whose verdict ran out is scanned, as is right.
    """
    return any(
        match.kind is MatchKind.EXACT
        and match.verdict.issuer == SELF
        and match.verdict.basis is Basis.MODEL
        for match in matches.values()
    )


def _is_itself(hit: NearCode, fingerprint: FingerprintLike) -> bool:
    """Tell whether the code is that of the picture asked about: the exact match told it all."""
    return isinstance(fingerprint, StoredFingerprint) and hit.image_id == fingerprint.image_id


def _verdicts_of(connection: Connection, hit: NearCode) -> dict[int, Match]:
    rows = _OF_CODE.rows(connection, image_id=hit.image_id, issuer_id=hit.issuer_id)
    return {row[1]: match_of(row, hit.kind, hit.distance) for row in rows}


def _findings_of(connection: Connection, hit: NearCode) -> dict[int, FindingMatch]:
    rows = _FINDINGS_OF_CODE.rows(connection, image_id=hit.image_id)
    return newest({row[1]: finding_of(row, hit.kind, hit.distance) for row in rows})


def newest(found: dict[int, FindingMatch]) -> dict[int, FindingMatch]:
    """Return of one picture's findings the newest for each rule."""
    by_rule = {
        finding.rule: (key, finding)
        for key, finding in sorted(found.items(), key=lambda item: (item[1].decided, item[0]))
    }
    return dict(by_rule.values())


def codes_to_search(fingerprint: FingerprintLike, variants: Sequence[bytes]) -> Sequence[bytes]:
    """Return the codes of a picture that are searched for: its variants, else the one it has."""
    return variants or (() if fingerprint.pdq is None else (fingerprint.pdq,))


def verdicts_of_image(connection: Connection, image_id: int, issuer_id: int) -> list[Verdict]:
    """Return what one issuer says of one picture."""
    rows = _OF_ISSUER.rows(connection, image_id=image_id, issuer_id=issuer_id)
    return [verdict_of(row) for row in rows]


def findings_of_image(connection: Connection, image_id: int) -> Iterable[FindingMatch]:
    """Return the newest finding for each rule that persons here made of one picture."""
    rows = _FINDINGS_OF_CODE.rows(connection, image_id=image_id)
    return newest({row[1]: finding_of(row) for row in rows}).values()
