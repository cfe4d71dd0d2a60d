"""Reads rows of verdicts and findings: the columns that are asked for, and what they become.

Decides nothing. Which rows are asked for is left to `lookup` and `lookup_many`.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, literal, select

from cache.storage.tables import findings, images, issuers, pipelines, verdicts
from cache.verdict import Basis, Feed, Finding, FindingMatch, Match, MatchKind, Verdict

_VERDICT_COLUMNS = (
    verdicts.c.id,
    verdicts.c.image_id,
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
FINDING_COLUMNS = (
    findings.c.id,
    findings.c.rule,
    findings.c.finding,
    findings.c.decided,
    findings.c.decided_by,
    findings.c.reason,
    findings.c.image_id,
)


def select_verdicts(kind: MatchKind) -> Select[tuple[object, ...]]:
    """Select verdicts as `match_of` reads them."""
    joined = (
        verdicts.join(images, images.c.id == verdicts.c.image_id)
        .join(issuers, issuers.c.id == verdicts.c.issuer_id)
        .outerjoin(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
    )
    return select(literal(kind.value).label("kind"), *_VERDICT_COLUMNS).select_from(joined)


def select_findings(kind: MatchKind) -> Select[tuple[object, ...]]:
    """Select findings as `finding_of` reads them."""
    joined = findings.join(images, images.c.id == findings.c.image_id)
    return select(literal(kind.value).label("kind"), *FINDING_COLUMNS).select_from(joined)


def match_of(row: Sequence[Any], kind: MatchKind | None = None, distance: int = 0) -> Match:
    """Return a row of `select_verdicts`; a kind that is given goes before the row's."""
    return Match(kind or _KINDS[row[0]], verdict_of(row), distance)


_KINDS = {kind.value: kind for kind in MatchKind}  # asking the classes themselves takes longer
_FEEDS, _BASES = {int(feed): feed for feed in Feed}, {int(basis): basis for basis in Basis}
_SCAN = json.JSONDecoder().raw_decode  # what was written here needs no look for what follows


def finding_of(
    row: Sequence[Any], kind: MatchKind | None = None, distance: int = 0
) -> FindingMatch:
    """Return a row of `select_findings`; a kind that is given goes before the row's."""
    kind_found, _, rule, finding, decided, decided_by, reason, image_id = row
    return FindingMatch(
        kind or _KINDS[kind_found],
        rule,
        Finding(finding),
        decided,
        decided_by,
        reason,
        distance,
        image_id,
    )


def verdict_of(row: Sequence[Any]) -> Verdict:
    """Return the verdict in a row of `select_verdicts`."""
    (_, _, _, origin, sha256, feed, basis, issued, expires, content, pdq, quality, digest, scores,
     rule, finding, frames_seen, frames_total, epoch, seq) = row  # fmt: skip
    return Verdict(  # by place, which is faster: issuer to expires, then as the class has them
        origin,
        sha256,
        _FEEDS[feed],
        _BASES[basis],
        issued,
        expires,
        content,
        pdq,
        quality,
        None if digest is None else digest.hex(),
        _SCAN(scores)[0] if scores else {},
        rule or None,
        Finding(finding) if finding else None,
        frames_seen,
        frames_total,
        epoch,
        seq,
    )
