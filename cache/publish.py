"""Decides which feed a verdict of ours enters, and appends to the feeds.

The law is design.md, "What is published". Rows are appended in the very transaction that stores
the verdict; sealing them into signed pages is left to `federation`. Appending is idempotent: what
already stands in the feed is not said again, so that a crash or a rescan doubles nothing. Whether
a source shares at all is left to the caller.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Row, select

from cache.feed_tables import feed_rows
from cache.judgement import Judgement, PipelineTerms
from cache.lookup import findings_of_image, verdicts_of_image
from cache.record import equal_images, image_row, own_issuer, pipeline_rows
from cache.rows import scores_text
from cache.rules import Rule, Truth
from cache.tables import images, pipelines
from cache.verdict import Basis, Feed, Finding, Verdict

MARGIN = 1_000
"""How much each score is raised, at most, before a verdict is called clean (of 10,000)."""

SECONDS_PER_DAY = 86_400

_UPHELD_DAYS = 366
"""A finding never expires here; on the wire it has to, and this is the longest life there."""


def feed_for(verdict: Verdict, rules: Mapping[str, Rule], terms: PipelineTerms) -> Feed | None:
    """Return the feed that a model's verdict of ours enters by our thresholds, None for neither.

    Flagged: a rule is true. Clean: every rule is false, also when any score is raised by
    min(1000, half its threshold), and every frame was seen.
    """
    scores = verdict.scores
    if any(rule.truth(lambda label: _raised(scores, terms, label, 0)) for rule in rules.values()):
        return Feed.FLAGGED
    far_from = all(
        rule.truth(lambda label: _raised(scores, terms, label, MARGIN)) is False
        for rule in rules.values()
    )
    seen = verdict.frames_seen >= verdict.frames_total
    return Feed.CLEAN if rules and far_from and seen else None


def publish_verdict(
    connection: Connection, verdict: Verdict, judgement: Judgement, *, now: int
) -> None:
    """Bring the feeds in line with a verdict of ours and with what persons found of its picture.

    A picture under escalation changes nothing; one that a person upheld never enters the clean
    feed; one whose flagged rules are all dismissed enters neither.
    """
    image_id = image_row(connection, verdict.sha256, now=now)
    found = {found.rule: found.finding for found in findings_of_image(connection, image_id)}
    if Finding.ESCALATED in found.values():
        return
    terms = judgement.terms(verdict)
    feed = feed_for(verdict, judgement.rules, terms) if terms and terms.current else None
    if feed is Feed.CLEAN and Finding.UPHELD in found.values():
        feed = None
    if feed is Feed.FLAGGED and terms:
        dismissed = {rule for rule, finding in found.items() if finding is Finding.DISMISSED}
        rest = {name: rule for name, rule in judgement.rules.items() if name not in dismissed}
        feed = feed if feed_for(verdict, rest, terms) is Feed.FLAGGED else None
    _settle(connection, _statement(connection, verdict, feed, now), feed)


def publish_finding(
    connection: Connection, sha256: bytes, rule: str, judgement: Judgement, *, now: int
) -> None:
    """Bring the feeds in line with the newest finding for `rule` on a picture of ours.

    Upheld enters the flagged feed; dismissed retracts what stood there; escalated changes
    nothing. The model's own rows of the picture follow, where they stand in a feed.
    """
    image_id = image_row(connection, sha256, now=now)
    found = {found.rule: found for found in findings_of_image(connection, image_id)}
    if any(finding.finding is Finding.ESCALATED for finding in found.values()):
        return
    newest = found.get(rule)
    upheld = newest is not None and newest.finding is Finding.UPHELD
    feed = Feed.FLAGGED if upheld else None
    decided = newest.decided if newest else now
    _settle(connection, _human(connection, sha256, rule, decided, now), feed)
    for verdict in _published(connection, image_id):
        publish_verdict(connection, verdict, judgement, now=now)


def published_in(connection: Connection, sha256: bytes) -> Feed | None:
    """Return the feed of ours in which a statement on the picture stands now, None for none."""
    feed = connection.execute(
        select(feed_rows.c.feed)
        .where(feed_rows.c.sha256 == sha256, feed_rows.c.op == 0, feed_rows.c.live)
        .order_by(feed_rows.c.feed.desc())
    ).scalar()
    return None if feed is None else Feed(feed)


def _raised(
    scores: Mapping[str, int | None], terms: PipelineTerms, label: str, margin: int
) -> Truth:
    """Tell a label's truth; None where the score is missing, or the margin would change it."""
    score, threshold = scores.get(label), terms.thresholds.get(label)
    if score is None or threshold is None:
        return None
    if score >= threshold:
        return True
    return None if score + min(margin, threshold // 2) >= threshold else False


def _statement(
    connection: Connection, verdict: Verdict, feed: Feed | None, now: int
) -> dict[str, object]:
    by_id = pipeline_rows(connection, [verdict.pipeline] if verdict.pipeline else [])
    issued = verdict.issued
    if feed is Feed.CLEAN:  # the hour would tell when the picture was met
        issued -= issued % SECONDS_PER_DAY
    return {
        "sha256": verdict.sha256,
        "content": verdict.content,
        "pdq": verdict.pdq if feed is Feed.FLAGGED else None,
        "pdq_quality": verdict.pdq_quality if feed is Feed.FLAGGED else None,
        "pipeline_id": by_id.get(verdict.pipeline or "", 0),
        "basis": int(Basis.MODEL),
        "rule": "",
        "scores": scores_text(verdict.scores),
        "issued": issued,
        "expires": verdict.expires,
        "added": now,
    }


def _human(
    connection: Connection, sha256: bytes, rule: str, decided: int, now: int
) -> dict[str, object]:
    image = connection.execute(select(images).where(images.c.sha256 == sha256)).one()
    return {
        "sha256": sha256,
        "content": image.content,
        "pdq": image.pdq,
        "pdq_quality": image.pdq_quality,
        "pipeline_id": 0,
        "basis": int(Basis.HUMAN),
        "rule": rule,
        "finding": Finding.UPHELD.value,
        "issued": decided,
        "expires": decided + _UPHELD_DAYS * SECONDS_PER_DAY,
        "added": now,
    }


def _settle(connection: Connection, statement: dict[str, object], feed: Feed | None) -> None:
    """Let exactly this statement stand in `feed`, and none of its key in the other."""
    live = _live(connection, statement)
    for row in live:
        if row.feed != feed:
            _retract(connection, row, statement)
    standing = [row for row in live if row.feed == feed]
    if feed is None or any(_says_the_same(row, statement) for row in standing):
        return
    for row in standing:
        _end(connection, row)
    connection.execute(feed_rows.insert().values(feed=int(feed), op=0, live=True, **statement))


def _live(
    connection: Connection, statement: dict[str, object]
) -> Sequence[Row[tuple[object, ...]]]:
    key = ("sha256", "pipeline_id", "basis", "rule")
    return connection.execute(
        select(feed_rows)
        .where(feed_rows.c.op == 0, feed_rows.c.live)
        .where(*(feed_rows.c[name] == statement[name] for name in key))
        .order_by(feed_rows.c.id)
    ).all()


def _says_the_same(row: Row[tuple[object, ...]], statement: dict[str, object]) -> bool:
    """Tell whether a standing row says it already; an expired one has to be said again."""
    names = ("content", "pdq", "pdq_quality", "finding", "scores")
    same = all(getattr(row, name) == statement.get(name) for name in names)
    return same and int(row.expires) > int(str(statement["added"]))


def _retract(
    connection: Connection, row: Row[tuple[object, ...]], statement: dict[str, object]
) -> None:
    _end(connection, row)
    connection.execute(
        feed_rows.insert().values(
            feed=row.feed,
            op=1,
            sha256=row.sha256,
            pipeline_id=row.pipeline_id,
            basis=row.basis,
            rule=row.rule,
            issued=statement["added"],
            expires=row.expires,
            target_id=row.id,
            live=True,
            added=statement["added"],
        )
    )


def _end(connection: Connection, row: Row[tuple[object, ...]]) -> None:
    connection.execute(feed_rows.update().where(feed_rows.c.id == row.id).values(live=False))


def _published(connection: Connection, image_id: int) -> list[Verdict]:
    """Return our verdicts of the picture and its equals whose rows stand in a feed."""
    issuer_id = own_issuer(connection, now=0)
    return [
        verdict
        for equal in sorted(equal_images(connection, image_id))
        for verdict in verdicts_of_image(connection, equal, issuer_id)
        if _stands(connection, verdict)
    ]


def _stands(connection: Connection, verdict: Verdict) -> bool:
    rows = (
        select(feed_rows.c.id)
        .join(pipelines, pipelines.c.id == feed_rows.c.pipeline_id)
        .where(feed_rows.c.sha256 == verdict.sha256, feed_rows.c.op == 0, feed_rows.c.live)
        .where(pipelines.c.digest == bytes.fromhex(verdict.pipeline or ""))
    )
    return connection.execute(rows).first() is not None
