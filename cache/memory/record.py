"""Stores what this instance found out itself: pictures, pipelines, own verdicts, findings.

Doing the same twice changes nothing. Which of our pictures stand in the near-match index is left
to `settling`, what peers say is left to `peer_rows`, what we tell them to `publish`. Every function
wants a write transaction.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from typing import NamedTuple

import rfc8785
from sqlalchemy import Connection, bindparam, exists, func, or_, select

from cache.errors import UnknownPipeline
from cache.judgement import Judgement, PeerState, PipelineState
from cache.memory.settling import end_what_was_left_early, settle
from cache.storage.bulk import Bulk, Skip
from cache.storage.case_tables import prints
from cache.storage.contents import same_content
from cache.storage.prepared import PreparedList
from cache.storage.rows import batches, insert_into, scores_text, upsert
from cache.storage.tables import findings, images, issuers, notes, pipelines, verdicts
from cache.verdict import SELF, Feed, Finding, FingerprintLike, Verdict


def record_image(
    connection: Connection,
    fingerprint: FingerprintLike,
    *,
    now: int,
    variants: Sequence[bytes] = (),
) -> int:
    """Store one fingerprint as `record_images` does, and return the picture's row id."""
    record_images(connection, [Computed(fingerprint, variants)], now=now)
    return image_row(connection, fingerprint.sha256, now=now)


class Computed(NamedTuple):
    """What this instance found out of a file by decoding it, but for its pixels.

    With the fingerprint come the 8 dihedral PDQ codes, the identity first, or none of them: they
    are kept so that a known picture needs no decoding.
    """

    fingerprint: FingerprintLike
    variants: Sequence[bytes] = ()
    media_type: str | None = None
    inside: Sequence[str] = ()  # what else the file holds, words of the scanner
    keyed: bytes | None = None  # local and secret
    width: int | None = None  # pixels, as displayed
    height: int | None = None
    frames: int | None = None  # how many the file holds


def record_images(connection: Connection, computed: Iterable[Computed], *, now: int) -> None:
    """Store what this instance computed of pictures; of one sha256 the last one stays.

    Each enters `prints` once, so that whoever follows that table meets every picture.
    """
    rows = [_image_values(one, now) for one in computed]
    if not rows:
        return
    updated = tuple(name for name in rows[0] if name not in ("sha256", "created"))
    connection.execute(upsert(connection.dialect.name, images, ("sha256",), updated), rows)
    for some in batches([one["sha256"] for one in rows]):
        connection.execute(_PRINT, {"hashes": some})


_PRINT = prints.insert().from_select(
    ["image_id"],
    select(images.c.id)
    .where(
        images.c.sha256.in_(bindparam("hashes", expanding=True, type_=images.c.sha256.type)),
        ~exists().where(prints.c.image_id == images.c.id),
    )
    .order_by(images.c.id),
)


def _image_values(one: Computed, now: int) -> dict[str, object]:
    fingerprint = one.fingerprint
    return {
        "sha256": fingerprint.sha256,
        "content": fingerprint.content,
        "pdq": fingerprint.pdq,
        "pdq_quality": fingerprint.pdq_quality,
        "pdq_variants": b"".join(one.variants) or None,
        "phash": fingerprint.phash,
        "keyed": one.keyed,
        "width": one.width,
        "height": one.height,
        "frames": one.frames,
        "media_type": one.media_type,
        "inside": " ".join(one.inside) or None,
        "fingerprinted": True,
        "created": now,
    }


def image_row(connection: Connection, sha256: bytes, *, now: int) -> int:
    """Return the row id of a picture, adding a row that knows its sha256 alone if need be."""
    return image_rows(connection, [sha256], now=now)[sha256]


def image_rows(connection: Connection, hashes: Iterable[bytes], *, now: int) -> dict[bytes, int]:
    """Return the row ids of pictures by sha256, adding rows that know it alone if need be."""
    return picture_rows(connection, hashes, now=now).ids


class Pictures(NamedTuple):
    """Row ids by sha256, and which of the pictures are new."""

    ids: dict[bytes, int]
    new: frozenset[bytes]


def picture_rows(connection: Connection, hashes: Iterable[bytes], *, now: int) -> Pictures:
    """Do as `image_rows`, and tell which rows were added; those, nothing can refer to yet."""
    wanted = sorted(set(hashes))  # neighbours in the index
    is_postgresql = connection.dialect.name == "postgresql"
    return (_found_or_added if is_postgresql else _added_or_found)(connection, wanted, now)


def _found_or_added(connection: Connection, wanted: Sequence[bytes], now: int) -> Pictures:
    """Look them up, and add the rest: COPY puts rows straight into a table, but skips none."""
    ids = _image_ids(connection, wanted)
    missing = [sha256 for sha256 in wanted if sha256 not in ids]
    new = dict(zip(missing, _next_image_ids(connection, len(missing)), strict=True))
    _IMAGES.store_tuples(connection, _image_tuples(new, now))
    return Pictures(ids | new, frozenset(new))


def _added_or_found(connection: Connection, wanted: Sequence[bytes], now: int) -> Pictures:
    """Try to add all: where every picture is new, as with pages of peers, nothing is looked up."""
    new = dict(zip(wanted, _next_image_ids(connection, len(wanted)), strict=True))
    if _UNKNOWN_IMAGES.store_tuples(connection, _image_tuples(new, now)) == len(wanted):
        return Pictures(new, frozenset(new))
    ids = _image_ids(connection, wanted)
    return Pictures(ids, frozenset(sha256 for sha256 in wanted if ids[sha256] == new[sha256]))


def _image_tuples(ids: Mapping[bytes, int], now: int) -> list[tuple[object, ...]]:
    return [(row_id, sha256, False, now) for sha256, row_id in ids.items()]


def _image_ids(connection: Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
    return dict(map(tuple, _IMAGE_IDS.rows(connection, hashes)))


_IMAGES = Bulk(images, ("id", "sha256", "fingerprinted", "created"))
_UNKNOWN_IMAGES = Bulk(images, _IMAGES.columns, Skip(("sha256",)))
_IMAGE_IDS = PreparedList(
    lambda listed: select(images.c.sha256, images.c.id).where(listed(images.c.sha256))
)


def _next_image_ids(connection: Connection, number: int) -> Iterable[int]:
    """Return row ids for new pictures: there is one writer, so the next ones are ours."""
    if not number:
        return ()
    if connection.dialect.name == "postgresql":
        taken = func.nextval(func.pg_get_serial_sequence("images", "id"))
        series = func.generate_series(1, number).table_valued("value")
        return connection.execute(select(taken).select_from(series)).scalars()
    last = connection.execute(select(func.coalesce(func.max(images.c.id), 0))).scalar_one()
    return range(last + 1, last + 1 + number)


def own_issuer(connection: Connection, *, now: int) -> int:
    """Return the row id of this instance as an issuer."""
    found = select(issuers.c.id).where(issuers.c.origin == SELF)
    row_id = connection.execute(found).scalar_one_or_none()
    if row_id is None:
        values = {"origin": SELF, "state": PeerState.SELF.value, "created": now}
        connection.execute(issuers.insert().values(**values))
        row_id = connection.execute(found).scalar_one()
    return int(row_id)


def pipeline_row(connection: Connection, description: Mapping[str, str]) -> int:
    """Store a pipeline's description, and return its row id.

    Its id on the wire is the SHA-256 of the description's RFC 8785 form, see `pipeline_id`.
    """
    text = rfc8785.dumps(dict(description))
    digest = sha256_of(text).digest()
    connection.execute(
        insert_into(connection, pipelines)
        .values(digest=digest, description=text.decode())
        .on_conflict_do_nothing(index_elements=["digest"])
    )
    return _pipeline(connection, digest.hex())


def pipeline_id(description: Mapping[str, str]) -> str:
    """Return the id of a pipeline: the lower-case hex SHA-256 of its RFC 8785 form."""
    return sha256_of(rfc8785.dumps(dict(description))).hexdigest()


def pipeline_rows(connection: Connection, ids: Iterable[str]) -> dict[str, int]:
    """Return the row ids of pipelines (hex ids); raises UnknownPipeline."""
    return {name: _pipeline(connection, name) for name in set(ids)}


def record_verdict(
    connection: Connection, verdict: Verdict, judgement: Judgement, *, now: int
) -> None:
    """Store one verdict of our own as `record_verdicts` does."""
    record_verdicts(connection, [verdict], judgement, now=now)


def record_verdicts(
    connection: Connection, new: Sequence[Verdict], judgement: Judgement, *, now: int
) -> None:
    """Store verdicts of our own; of one picture and pipeline the later issued stays.

    A picture's code enters the near-match index while any verdict of ours flags it, or a person
    upheld or escalated it. Raises UnknownPipeline.
    """
    if not new:
        return
    issuer_id = own_issuer(connection, now=now)
    by_id = pipeline_rows(connection, (verdict.pipeline or "" for verdict in new))
    image_ids = image_rows(connection, (verdict.sha256 for verdict in new), now=now)
    rows = [
        verdict_values(verdict, Feed.OWN, now=now)
        | {
            "image_id": image_ids[verdict.sha256],
            "issuer_id": issuer_id,
            "pipeline_id": by_id[verdict.pipeline or ""],
        }
        for verdict in new
    ]
    updated = tuple(name for name in rows[0] if name not in VERDICT_KEY)
    dialect = connection.dialect.name
    connection.execute(upsert(dialect, verdicts, VERDICT_KEY, updated, later="issued"), rows)
    settle(connection, issuer_id, image_ids.values(), judgement)


VERDICT_KEY = ("image_id", "issuer_id", "feed", "pipeline_id", "basis", "rule")
"""What is unique in `verdicts`."""

VERDICT_COLUMNS = tuple(one.name for one in verdicts.columns if one.name != "id")


def verdict_values(verdict: Verdict, feed: Feed, *, now: int) -> dict[str, object]:
    """Return a verdict's columns, but for the row ids of image, issuer and pipeline."""
    return {
        "feed": int(feed),
        "basis": int(verdict.basis),
        "rule": verdict.rule or "",
        "finding": verdict.finding.value if verdict.finding else None,
        "scores": scores_text(verdict.scores),
        "content": verdict.content,
        "pdq": verdict.pdq,
        "pdq_quality": verdict.pdq_quality,
        "issued": verdict.issued,
        "expires": verdict.expires,
        "frames_seen": verdict.frames_seen,
        "frames_total": verdict.frames_total,
        "epoch": verdict.epoch,
        "seq": verdict.seq,
        "received": now,
    }


@dataclass(frozen=True, slots=True)
class NewFinding:
    """What a person here decided of one rule for one picture, and why."""

    sha256: bytes
    rule: str
    finding: Finding
    reason: str
    decided_by: str


def record_finding(
    connection: Connection, new: NewFinding, judgement: Judgement, *, now: int
) -> None:
    """Append a person's finding; it holds for the picture and for its equals in content.

    It is newer than what was found before, also where the clock was set back since.
    """
    image_id = image_row(connection, new.sha256, now=now)
    content = connection.execute(
        select(images.c.content).where(images.c.id == image_id)
    ).scalar_one()
    connection.execute(
        findings.insert().values(
            image_id=image_id,
            content=content,
            rule=new.rule,
            finding=new.finding.value,
            reason=new.reason,
            decided_by=new.decided_by,
            decided=max(now, 1 + _decided_last(connection, image_id, content, new.rule)),
        )
    )
    settle_codes(connection, equal_images(connection, image_id), judgement, now=now)


def _decided_last(connection: Connection, image_id: int, content: bytes | None, rule: str) -> int:
    """Return when a person last found something of a rule on this picture or its equals; or 0."""
    here = findings.c.image_id == image_id
    if content is not None:
        here = or_(here, findings.c.content == content)
    last = select(func.max(findings.c.decided)).where(here, findings.c.rule == rule)
    return int(connection.execute(last).scalar_one() or 0)


def settle_codes(
    connection: Connection, image_ids: Iterable[int], judgement: Judgement, *, now: int
) -> None:
    """Let the codes of these pictures of ours stand in the near-match index, or withdraw them."""
    settle(connection, own_issuer(connection, now=now), image_ids, judgement)


SETTLED_BY = "codes-settled-by"
"""The note that tells by which rules and thresholds our codes stand."""


def settle_if_changed(connection: Connection, judgement: Judgement, *, now: int) -> bool:
    """Do as `settle_own_codes` if rules or thresholds differ from the last call; tells whether.

    Pipelines in shadow have no part in it, as in `bears_code`.
    """
    rules = {name: rule.text for name, rule in sorted(judgement.rules.items())}
    terms = {
        name: [term.state.value, dict(sorted(term.thresholds.items()))]
        for name, term in sorted(judgement.pipelines.items())
        if term.state is not PipelineState.SHADOW
    }
    value = sha256_of(json.dumps([rules, terms]).encode()).hexdigest()
    noted = select(notes.c.value).where(notes.c.name == SETTLED_BY)
    if connection.execute(noted).scalar_one_or_none() == value:
        return False
    settle_own_codes(connection, judgement, now=now)
    connection.execute(
        insert_into(connection, notes)
        .values(name=SETTLED_BY, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )
    return True


def settle_own_codes(connection: Connection, judgement: Judgement, *, now: int) -> None:
    """Bring what we hold of all our pictures in line with rules or thresholds that changed."""
    end_what_was_left_early(connection, judgement, now=now)
    judged = select(verdicts.c.image_id).where(verdicts.c.feed == int(Feed.OWN)).distinct()
    image_ids = connection.execute(judged).scalars().all()
    settle_codes(connection, image_ids, judgement, now=now)


def equal_images(connection: Connection, image_id: int) -> set[int]:
    """Return the row ids of the picture and of those we judged that equal it in content."""
    content = select(images.c.content).where(images.c.id == image_id).scalar_subquery()
    rows = select(verdicts.c.image_id).where(
        same_content(verdicts.c.content, content), verdicts.c.feed == int(Feed.OWN)
    )
    return {image_id, *connection.execute(rows).scalars()}


def _pipeline(connection: Connection, pipeline: str) -> int:
    digest = bytes.fromhex(pipeline)
    row_id = connection.execute(
        select(pipelines.c.id).where(pipelines.c.digest == digest)
    ).scalar_one_or_none()
    if row_id is None:
        raise UnknownPipeline(f"The pipeline {pipeline} is not stored here; describe it first.")
    return int(row_id)
