"""What the judge writes: fingerprints, our own verdicts, and what of them enters the feeds.

Every function runs in one transaction of the store, and doing the same twice changes nothing.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from cache.publish import is_published, publish_verdict, published_in
from cache.record import pipeline_row, record_image, record_verdict
from cache.verdict import SELF, Basis, Feed, Verdict
from fediverdict.judgement import Judgements
from fediverdict.scoring import Scored
from scanner.facts import Facts

DAY_SECONDS = 86_400


class Recorder:
    """Writes for one judge."""

    def __init__(self, judgements: Judgements, clock: Callable[[], float]) -> None:
        self._judgements, self._clock = judgements, clock

    @property
    def _now(self) -> int:
        return int(self._clock())

    def remember(self, connection: Connection, facts: Facts) -> None:
        """Keep the fingerprints that were computed, so the next request decodes nothing."""
        record_image(connection, facts.fingerprint, now=self._now, variants=facts.pdq_variants)

    def record(
        self, connection: Connection, facts: Facts, scored: Scored, shadow: Scored | None
    ) -> None:
        """Store a scan; what already stands in a feed stays true."""
        now, pipeline = self._now, scored.classifier.pipeline_id
        judgement = self._judgements.adopt(connection, pipeline, now)
        pipeline_row(connection, scored.classifier.pipeline)
        self.remember(connection, facts)
        verdict = self._verdict(facts, scored)
        record_verdict(connection, verdict, judgement, now=now)
        if published_in(connection, verdict.sha256) is not None:
            publish_verdict(connection, verdict, judgement, now=now)
        if shadow is not None:
            self._record_shadow(connection, facts, shadow)

    def not_published(self, connection: Connection, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Return those that are yet to be published; reads only."""
        judgement, now = self._judgements.current(connection), self._now
        return [v for v in verdicts if not is_published(connection, v, judgement, now=now)]

    def publish(self, connection: Connection, verdicts: Sequence[Verdict]) -> None:
        """Let verdicts of ours enter their feeds."""
        judgement, now = self._judgements.current(connection), self._now
        for verdict in verdicts:
            publish_verdict(connection, verdict, judgement, now=now)

    def _record_shadow(self, connection: Connection, facts: Facts, shadow: Scored) -> None:
        """Store the scores of the pipeline in shadow, unless it is one that counts."""
        pipeline, now = shadow.classifier.pipeline_id, self._now
        judgement = self._judgements.adopt_shadow(connection, pipeline, now)
        if judgement is not None:
            pipeline_row(connection, shadow.classifier.pipeline)
            record_verdict(connection, self._verdict(facts, shadow), judgement, now=now)

    def _verdict(self, facts: Facts, scored: Scored) -> Verdict:
        found, now = facts.fingerprint, self._now
        pdq, quality = scored.near_code or (found.pdq, found.pdq_quality)
        return Verdict(
            issuer=SELF,
            sha256=found.sha256,
            feed=Feed.OWN,
            basis=Basis.MODEL,
            issued=now,
            expires=now + self._judgements.config.reuse.verdict_days * DAY_SECONDS,
            content=found.content,
            pdq=pdq,
            pdq_quality=quality,
            pipeline=scored.classifier.pipeline_id,
            scores=scored.scores,
            frames_seen=scored.frames_seen,
            frames_total=facts.frames_total,
        )
