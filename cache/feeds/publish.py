"""Decides which feed a verdict of ours enters.

The law is design.md, "What is published". A picture stands in one feed at most, the test card in
none: the card itself, by sha256 or `content`. A picture that merely looks like it is never called
clean, but a flag on it is published: else whoever draws near the card keeps bad pictures unnamed.
Appending is idempotent: what already stands in the feed is not said again, so that a crash or a
rescan doubles nothing. The rows themselves are left to `statements`, sealing them into signed
pages to `federation`; whether a source shares at all is left to the caller.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, exists, select

from cache.feeds.statements import Statement, change, settle
from cache.judgement import Judgement, PipelineTerms
from cache.memory.lookup import findings_of_image, verdicts_of_image
from cache.memory.record import equal_images, image_row, pipeline_rows
from cache.rules import Rule, Truth
from cache.storage.case_tables import case_pictures, cases
from cache.storage.feed_tables import feed_rows
from cache.storage.rows import batches, scores_text
from cache.storage.tables import findings, images, issuers, pipelines
from cache.testcard import RULE as TEST_CARD
from cache.testcard import is_copy_of_test_card, is_test_card
from cache.verdict import SELF, Basis, Feed, Finding, Verdict

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

    A picture under embargo (escalated, or in a case with one that is) changes nothing; one that a
    person upheld, or that another current verdict of ours flags, never enters the clean feed; one
    whose flagged rules are all dismissed enters neither.
    """
    image_row(connection, verdict.sha256, now=now)
    if (wanted := _wanted(connection, verdict, judgement, now)) is not None:
        settle(connection, *wanted)


def is_published(
    connection: Connection, verdict: Verdict, judgement: Judgement, *, now: int
) -> bool:
    """Tell whether `publish_verdict` would append nothing; reads only."""
    wanted = _wanted(connection, verdict, judgement, now)
    return wanted is None or not change(connection, *wanted)


def publish_finding(
    connection: Connection, sha256: bytes, rule: str, judgement: Judgement, *, now: int
) -> None:
    """Bring the feeds in line with the newest findings on a picture of ours, `rule` and others.

    Upheld enters the flagged feed; dismissed retracts what stood there; while any rule is
    escalated, or the case under embargo, nothing changes, and what was held back then follows
    with the next finding. The
    model's own rows of the picture follow, where they stand in a feed.
    """
    image_id = image_row(connection, sha256, now=now)
    found = {found.rule: found for found in findings_of_image(connection, image_id)}
    if any(finding.finding is Finding.ESCALATED for finding in found.values()):
        return
    if _is_under_embargo(connection, image_id):
        return
    for verdict in _published(connection, image_id):
        publish_verdict(connection, verdict, judgement, now=now)
    for name in sorted({rule, *_decided_here(connection, image_id)}):
        newest = found.get(name)
        upheld = newest is not None and newest.finding is Finding.UPHELD
        leaves = name != TEST_CARD and not is_test_card(sha256, _content(connection, image_id))
        decided = min(newest.decided, now) if newest else now  # readers refuse what is to come
        human = _human(connection, sha256, name, decided, now)
        settle(connection, human, Feed.FLAGGED if upheld and leaves else None)


def published_in(connection: Connection, sha256: bytes) -> Feed | None:
    """Return the feed of ours in which a statement on the picture stands now, None for none."""
    feed = connection.execute(
        select(feed_rows.c.feed)
        .where(feed_rows.c.sha256 == sha256, feed_rows.c.op == 0, feed_rows.c.live)
        .order_by(feed_rows.c.feed.desc())
    ).scalar()
    return None if feed is None else Feed(feed)


def published_among(connection: Connection, hashes: Iterable[bytes]) -> set[bytes]:
    """Return those pictures (sha256) on which a statement stands in a feed of ours now."""
    found: set[bytes] = set()
    for some in batches(list(dict.fromkeys(hashes))):
        rows = select(feed_rows.c.sha256).where(
            feed_rows.c.sha256.in_(some), feed_rows.c.op == 0, feed_rows.c.live
        )
        found |= {bytes(sha256) for sha256 in connection.execute(rows).scalars()}
    return found


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


def _statement(connection: Connection, verdict: Verdict, feed: Feed | None, now: int) -> Statement:
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


def _human(connection: Connection, sha256: bytes, rule: str, decided: int, now: int) -> Statement:
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


def _wanted(
    connection: Connection, verdict: Verdict, judgement: Judgement, now: int
) -> tuple[Statement, Feed | None] | None:
    """Return where the verdict is to stand; None where it is expired or under embargo."""
    if verdict.expires <= now:
        return None
    image_id = connection.execute(
        select(images.c.id).where(images.c.sha256 == verdict.sha256)
    ).scalar_one_or_none()
    found = {found.rule: found.finding for found in findings_of_image(connection, image_id or 0)}
    if Finding.ESCALATED in found.values() or _is_under_embargo(connection, image_id or 0):
        return None
    feed = _entered(verdict, judgement, found)
    if feed is Feed.CLEAN and any(
        other.expires > now and _entered(other, judgement, found) is Feed.FLAGGED
        for other in _own_verdicts(connection, image_id or 0)
        if other.pipeline != verdict.pipeline
    ):
        feed = None
    return _statement(connection, verdict, feed, now), feed


def _is_under_embargo(connection: Connection, image_id: int) -> bool:
    """Tell whether the picture stands in a case of which any picture is escalated."""
    held = (
        select(cases.c.id)
        .join(case_pictures, case_pictures.c.case_id == cases.c.id)
        .where(case_pictures.c.image_id == image_id, cases.c.embargo)
    )
    return connection.execute(held.limit(1)).first() is not None


def is_held_back(sha256: ColumnElement[bytes]) -> ColumnElement[bool]:
    """Tell of the picture of a feed's row whether an embargo keeps it from leaving meanwhile.

    For rows that were written before the case was escalated and that no page holds yet.
    """
    return exists(
        select(cases.c.id)
        .join(case_pictures, case_pictures.c.case_id == cases.c.id)
        .join(images, images.c.id == case_pictures.c.image_id)
        .where(images.c.sha256 == sha256, cases.c.embargo)
    )


def _entered(verdict: Verdict, judgement: Judgement, found: Mapping[str, Finding]) -> Feed | None:
    """Return the feed for a verdict by itself, given what persons found of its picture."""
    terms = judgement.terms(verdict)
    if terms is None or not terms.current or is_test_card(verdict.sha256, verdict.content):
        return None
    feed = feed_for(verdict, judgement.rules, terms)
    if feed is Feed.CLEAN:
        silent = Finding.UPHELD in found.values() or is_copy_of_test_card(verdict.pdq)
        return None if silent else feed
    rest = {
        name: rule
        for name, rule in judgement.rules.items()
        if found.get(name) is not Finding.DISMISSED
    }
    return feed if feed_for(verdict, rest, terms) is Feed.FLAGGED else None


def _content(connection: Connection, image_id: int) -> bytes | None:
    found: bytes | None = connection.execute(
        select(images.c.content).where(images.c.id == image_id)
    ).scalar_one_or_none()
    return found


def _published(connection: Connection, image_id: int) -> list[Verdict]:
    """Return our verdicts of the picture and its equals whose rows stand in a feed."""
    return [
        verdict
        for equal in sorted(equal_images(connection, image_id))
        for verdict in _own_verdicts(connection, equal)
        if _stands(connection, verdict)
    ]


def _own_verdicts(connection: Connection, image_id: int) -> Iterable[Verdict]:
    own = select(issuers.c.id).where(issuers.c.origin == SELF)
    issuer_id = connection.execute(own).scalar_one_or_none()
    return verdicts_of_image(connection, image_id, issuer_id or 0)


def _decided_here(connection: Connection, image_id: int) -> Sequence[str]:
    """Return the rules decided for this very picture: only those are published."""
    rules = select(findings.c.rule).where(findings.c.image_id == image_id).distinct()
    return connection.execute(rules).scalars().all()


def _stands(connection: Connection, verdict: Verdict) -> bool:
    rows = (
        select(feed_rows.c.id)
        .join(pipelines, pipelines.c.id == feed_rows.c.pipeline_id)
        .where(feed_rows.c.sha256 == verdict.sha256, feed_rows.c.op == 0, feed_rows.c.live)
        .where(pipelines.c.digest == bytes.fromhex(verdict.pipeline or ""))
    )
    return connection.execute(rows).first() is not None
