"""Finds the pictures that both a peer and this instance judged, with what each says of them.

Decides which rows may be compared: equal in sha256 or content, the peer's neither expired nor come
after ours was published, so that echoing earns nothing; of ours those in force. What a comparison
comes to is left to `agreement`. Reads only.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from cache.judgement import Judgement
from cache.storage.contents import content_in
from cache.storage.feed_tables import feed_rows
from cache.storage.rows import batches
from cache.storage.tables import findings, images, issuers, pipelines, verdicts
from cache.testcard import RULE as TEST_CARD
from cache.trust.agreement import Ours
from cache.verdict import SELF, Basis, Feed, Finding, Match, MatchKind, Verdict
from cache.weigh import expires, standing

Rows = dict[int, Row[Any]]
"""Rows of a table by their ids, in the order in which they were read."""

_IsOneOf = Callable[[Sequence[Any]], ColumnElement[bool]]


@dataclass(slots=True)
class Picture:
    """A picture judged here, in all its files that are known, and what peers say of it."""

    content: bytes | None
    files: dict[int, bytes] = field(default_factory=dict)  # image row id -> sha256
    verdicts: list[Verdict] = field(default_factory=list)  # our own, in force
    findings: dict[str, Finding] = field(default_factory=dict)  # the newest of each rule
    rows: dict[int, list[Verdict]] = field(default_factory=dict)  # issuer row id -> its rows

    @property
    def key(self) -> bytes:
        """What it is counted by: the content computed here, else sha256."""
        return self.content or min(self.files.values())

    @property
    def ours(self) -> Ours:
        """What we hold of it."""
        return Ours(self.verdicts, self.findings)


def comparable(
    connection: Connection, image_ids: Sequence[int], judgement: Judgement, *, now: int
) -> Iterator[Picture]:
    """Give the pictures among these, and their equals, on which a peer's rows may be compared.

    `image_ids` are those of files judged here, or of files that a peer judged.
    """
    for some in batches(sorted(set(image_ids))):
        pictures = _judged_here(connection, some, judgement, now)
        _add_rows_of_peers(connection, pictures, judgement, now)
        yield from sorted((one for one in pictures if one.rows), key=lambda one: one.key)


def _judged_here(
    connection: Connection, image_ids: Sequence[int], judgement: Judgement, now: int
) -> list[Picture]:
    contents = _contents(connection, image_ids)
    found: dict[bytes, Picture] = {}
    own = _VERDICTS.where(verdicts.c.feed == int(Feed.OWN), issuers.c.origin == SELF)
    for row in _either(connection, own, _ON_VERDICTS, image_ids, contents).values():
        verdict, picture = _verdict(row), _picture(found, row)
        terms = judgement.terms(verdict)
        if verdict.expires > now and terms is not None and terms.current:
            picture.verdicts.append(verdict)
    by_id = _either(connection, _FINDINGS, _ON_FINDINGS, image_ids, contents)
    for row in sorted(by_id.values(), key=_finding_age):
        if row.rule != TEST_CARD:  # a card that everybody knows proves nothing
            _picture(found, row).findings[row.rule] = Finding(row.finding)
    return [one for one in found.values() if one.verdicts or one.findings]


def _contents(connection: Connection, image_ids: Sequence[int]) -> list[bytes]:
    """Return the contents of these pictures, as computed here or claimed by whoever judged them."""
    found: set[bytes] = set()
    for column, image_id in (
        (images.c.content, images.c.id),
        (verdicts.c.content, verdicts.c.image_id),
    ):
        rows = select(column).where(image_id.in_(image_ids), column.is_not(None)).distinct()
        found |= {bytes(content) for content in connection.execute(rows).scalars()}
    return sorted(found)


def _picture(found: dict[bytes, Picture], row: Row[Any]) -> Picture:
    """Return the picture of a row of ours, noting the file that the row is on."""
    content = row.content if row.content is not None else row.computed
    picture = found.setdefault(content or row.sha256, Picture(content))
    picture.files[row.image_id] = row.sha256
    return picture


def _add_rows_of_peers(
    connection: Connection, pictures: Sequence[Picture], judgement: Judgement, now: int
) -> None:
    by_file = {image_id: picture for picture in pictures for image_id in picture.files}
    by_content = {picture.content: picture for picture in pictures if picture.content}
    published = _published(connection, pictures)
    theirs = _VERDICTS.where(verdicts.c.feed != int(Feed.OWN), issuers.c.origin != SELF)
    found = _either(connection, theirs, _ON_VERDICTS, list(by_file), list(by_content))
    for row in found.values():
        verdict = _verdict(row)
        if expires(verdict, judgement.trust_in(verdict.issuer)) <= now:
            continue
        for picture in _matched(row, by_file, by_content):
            files = {row.sha256, *picture.files.values()}
            first = min((published[one] for one in files if one in published), default=None)
            if first is None or row.received < first:
                picture.rows.setdefault(row.issuer_id, []).append(verdict)
    for picture in pictures:
        for issuer_id, said in picture.rows.items():
            picture.rows[issuer_id] = _standing(said)


def _matched(
    row: Row[Any], by_file: dict[int, Picture], by_content: dict[bytes, Picture]
) -> list[Picture]:
    """Return the pictures that a peer's row is on: by its sha256, and by the content it claims."""
    found = [by_file.get(row.image_id), by_content.get(row.content) if row.content else None]
    return list({id(one): one for one in found if one is not None}.values())


def _published(connection: Connection, pictures: Sequence[Picture]) -> dict[bytes, int]:
    """Return when a statement of ours on each file was first to be published."""
    hashes = sorted({sha256 for picture in pictures for sha256 in picture.files.values()})
    found: dict[bytes, int] = {}
    for some in batches(hashes):
        rows = (
            select(feed_rows.c.sha256, func.min(feed_rows.c.added))
            .where(feed_rows.c.sha256.in_(some), feed_rows.c.op == 0)
            .group_by(feed_rows.c.sha256)
        )
        found |= {bytes(sha256): int(added) for sha256, added in connection.execute(rows)}
    return found


def _standing(said: Sequence[Verdict]) -> list[Verdict]:
    return [match.verdict for match in standing(Match(MatchKind.EXACT, one) for one in said)]


def _either(
    connection: Connection,
    statement: Select[Any],
    on: tuple[_IsOneOf, _IsOneOf],
    image_ids: Sequence[int],
    contents: Sequence[bytes],
) -> Rows:
    """Return the rows on these files and those on these contents, once each."""
    found: Rows = {}
    for is_one_of, values in zip(on, (image_ids, contents), strict=True):
        for some in batches(list(values)):
            rows = connection.execute(statement.where(is_one_of(some)))
            found |= {row.id: row for row in rows}
    return found


_ON_VERDICTS = verdicts.c.image_id.in_, partial(content_in, verdicts.c.content)
_ON_FINDINGS = findings.c.image_id.in_, findings.c.content.in_
_VERDICTS = (
    select(
        verdicts,
        issuers.c.origin,
        images.c.sha256,
        images.c.content.label("computed"),
        pipelines.c.digest,
    )
    .join_from(verdicts, images, images.c.id == verdicts.c.image_id)
    .join(issuers, issuers.c.id == verdicts.c.issuer_id)
    .outerjoin(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
)
_FINDINGS = select(findings, images.c.sha256, images.c.content.label("computed")).join_from(
    findings, images, images.c.id == findings.c.image_id
)


def _finding_age(row: Row[Any]) -> tuple[object, ...]:
    """Order findings so that the newest comes last, as deciding does."""
    return (row.decided, row.finding != Finding.DISMISSED.value, row.id)


def _verdict(row: Row[Any]) -> Verdict:
    return Verdict(
        issuer=row.origin,
        sha256=row.sha256,
        feed=Feed(row.feed),
        basis=Basis(row.basis),
        issued=row.issued,
        expires=row.expires,
        content=row.content,
        pipeline=row.digest.hex() if row.digest is not None else None,
        scores=json.loads(row.scores) if row.scores else {},
        rule=row.rule or None,
        finding=Finding(row.finding) if row.finding else None,
        frames_seen=row.frames_seen,
        frames_total=row.frames_total,
        epoch=row.epoch,
        seq=row.seq,
    )
