"""Gives out what is held, a few rows at a time, for files that an admin asked for.

Decides what never leaves even so: the test card, whoever decided something and why, where a
picture was met. Rows of hash lists are given only to whoever asks for that list. Reads only.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from cache.judgement import Judgement
from cache.storage.tables import codes, findings, images, issuers, pipelines, verdicts
from cache.testcard import is_test_card
from cache.verdict import SELF, Basis, Feed, Verdict
from cache.weigh import flagged_rules

ROWS = 1_000
"""Rows fetched at a time."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A verdict or finding as it stands in a file; hashes are hex, times epoch seconds."""

    values: Mapping[str, Any]


def export_verdicts(
    connection: Connection, issuer: str, judgement: Judgement
) -> Iterator[Exported]:
    """Give the verdicts of one issuer (an origin, `self`, or `list:NAME`), oldest first."""
    last = 0
    while rows := _some(connection, verdicts.c.id > last, issuer):
        for row in rows:
            if not is_test_card(row.sha256, row.claimed or row.own_content):
                yield _verdict(row, judgement)
        last = rows[-1].id


def export_findings(connection: Connection) -> Iterator[Exported]:
    """Give what persons here found last of each picture and rule, without who and why."""
    columns = (images.c.sha256, images.c.content, images.c.pdq, images.c.pdq_quality)
    found = (findings.c.rule, findings.c.finding, findings.c.decided)
    last = select(func.max(findings.c.id)).group_by(findings.c.image_id, findings.c.rule)
    statement = select(*columns, *found).join_from(findings, images).order_by(findings.c.id)
    statement = statement.where(findings.c.id.in_(last))
    for row in connection.execute(statement, execution_options={"yield_per": ROWS}):
        if not is_test_card(row.sha256, row.content):
            person = {"rule": row.rule, "finding": row.finding, "issued": row.decided}
            yield Exported({**_picture(row), **_of(SELF, Feed.OWN, Basis.HUMAN), **person})


def export_codes(connection: Connection) -> Iterator[tuple[bytes, int]]:
    """Give the codes of our own flagged pictures (32 bytes) with their quality."""
    statement = (
        select(codes.c.pdq, codes.c.pdq_quality, images.c.sha256, images.c.content)
        .join_from(codes, issuers, issuers.c.id == codes.c.issuer_id)
        .join(images, images.c.id == codes.c.image_id)
        .where(issuers.c.origin == SELF, ~codes.c.withdrawn)
        .order_by(codes.c.id)
    )
    for row in connection.execute(statement, execution_options={"yield_per": ROWS}):
        if not is_test_card(row.sha256, row.content):
            yield bytes(row.pdq), row.pdq_quality


def _some(connection: Connection, after: ColumnElement[bool], issuer: str) -> Any:
    statement = (
        select(
            verdicts,
            verdicts.c.content.label("claimed"),
            images.c.content.label("own_content"),
            images.c.sha256,
            pipelines.c.description,
            pipelines.c.digest,
        )
        .join_from(verdicts, issuers, issuers.c.id == verdicts.c.issuer_id)
        .join(images, images.c.id == verdicts.c.image_id)
        .outerjoin(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
        .where(issuers.c.origin == issuer, after)
        .order_by(verdicts.c.id)
        .limit(ROWS)
    )
    return connection.execute(statement).all()


def _verdict(row: Any, judgement: Judgement) -> Exported:
    basis, scores = Basis(row.basis), json.loads(row.scores) if row.scores else {}
    said = Verdict(
        issuer="",
        sha256=row.sha256,
        feed=Feed(row.feed),
        basis=basis,
        issued=row.issued,
        expires=row.expires,
        pipeline=row.digest.hex() if row.digest else None,
        scores=scores,
        rule=row.rule or None,
    )
    of_model = {
        "pipeline": json.loads(row.description) if row.description else None,
        "scores": scores,
        "flags": list(flagged_rules(said, judgement.rules, judgement)),
        "frames_seen": row.frames_seen,
        "frames_total": row.frames_total,
    }
    of_person = {"rule": row.rule, "finding": row.finding}
    times = {"issued": row.issued, "expires": row.expires}
    more = of_model if basis is Basis.MODEL else of_person
    return Exported({**_picture(row), **_of("", said.feed, basis), **more, **times})


def _of(issuer: str, feed: Feed, basis: Basis) -> dict[str, str]:
    told = {"issuer": issuer} if issuer else {}
    return {**told, "feed": feed.name.lower(), "basis": basis.name.lower()}


def _picture(row: Any) -> dict[str, Any]:
    return {
        "sha256": row.sha256.hex(),
        "content": row.content.hex() if row.content else None,
        "pdq": row.pdq.hex() if row.pdq else None,
        "pdq_quality": row.pdq_quality,
    }
