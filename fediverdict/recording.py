"""What the judge writes: fingerprints, our own verdicts, and what of them enters the feeds.

With every scan of ours the peers that judged the same picture are compared.
Every function runs in a transaction of the store, and doing the same twice changes nothing.
Scans that end at the same time are written together: most of the cost is for the first one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from cache.cases.arrivals import note_met
from cache.feeds.publish import is_published, publish_verdict, published_among
from cache.memory.record import (
    Computed,
    image_rows,
    own_issuer,
    pipeline_row,
    record_images,
    record_verdicts,
)
from cache.trust.comparing import compare
from cache.trust.notices import tell
from cache.verdict import SELF, Basis, Feed, Verdict
from fediverdict.judgement import Judgements
from fediverdict.look import Answer
from fediverdict.scoring import Scored
from scanner.classifiers.pipeline import family_of
from scanner.decoding.facts import Facts

DAY_SECONDS = 86_400
ANSWERED_TOO_SOON = "answered-too-soon"
"""The kind of notice for a picture that `decide.fast_clean` let pass."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A picture that was scanned: its facts, the scores that decide, and those in shadow."""

    facts: Facts
    scored: Scored
    shadow: Scored | None = None


class Recorder:
    """Writes for one judge."""

    def __init__(self, judgements: Judgements, clock: Callable[[], float]) -> None:
        self._judgements, self._clock = judgements, clock

    @property
    def _now(self) -> int:
        return int(self._clock())

    def remember(self, connection: Connection, known: Sequence[Facts]) -> None:
        """Keep the fingerprints that were computed, so the next request decodes nothing."""
        record_images(connection, [_computed(facts) for facts in known], now=self._now)

    def note_late(
        self, connection: Connection, known: Sequence[Facts], sha256: bytes, answer: Answer
    ) -> None:
        """Tell of a picture that was answered clean too soon (`decide.fast_clean`).

        One that lies in a source becomes a case, by the queue that it is noted in.
        """
        self.remember(connection, known)
        now = self._now
        image_id = image_rows(connection, [sha256], now=now)[sha256]
        met = {image_id: answer.decision}
        note_met(connection, met, own_issuer_id=own_issuer(connection, now=now))
        text = (
            f"The picture {sha256.hex()} was answered clean by the word of peers, before it was"
            f" matched; matched, it is {answer.decision}: {answer.sentence}"
        )
        tell(connection, ANSWERED_TOO_SOON, text, now=now)

    def record(self, connection: Connection, scans: Sequence[Scan]) -> None:
        """Store scans; what already stands in a feed stays true."""
        self.remember(connection, [scan.facts for scan in scans])
        decided = [(scan.facts, scan.scored) for scan in scans]
        for some in _by_pipeline(decided):
            self._record(connection, some)
        tried = [(scan.facts, scan.shadow) for scan in scans if scan.shadow is not None]
        for some in _by_pipeline(tried):
            self._record_shadow(connection, some)

    def not_published(self, connection: Connection, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Return those that are yet to be published; reads only."""
        judgement, now = self._judgements.current(connection), self._now
        return [v for v in verdicts if not is_published(connection, v, judgement, now=now)]

    def publish(self, connection: Connection, verdicts: Sequence[Verdict]) -> None:
        """Let verdicts of ours enter their feeds."""
        judgement, now = self._judgements.current(connection), self._now
        for verdict in verdicts:
            publish_verdict(connection, verdict, judgement, now=now)

    def _record(self, connection: Connection, scans: Sequence[tuple[Facts, Scored]]) -> None:
        """Store the scans of one pipeline."""
        classifier, now = scans[0][1].classifier, self._now
        family, pipeline = family_of(classifier.pipeline), classifier.pipeline_id
        judgement = self._judgements.adopt(connection, pipeline, now, family=family)
        pipeline_row(connection, classifier.pipeline)
        verdicts = [self._verdict(facts, scored) for facts, scored in scans]
        record_verdicts(connection, verdicts, judgement, now=now)
        hashes = [verdict.sha256 for verdict in verdicts]
        compare(connection, image_rows(connection, hashes, now=now).values(), judgement, now=now)
        published = published_among(connection, hashes)
        for verdict in verdicts:
            if verdict.sha256 in published:
                publish_verdict(connection, verdict, judgement, now=now)

    def _record_shadow(self, connection: Connection, scans: Sequence[tuple[Facts, Scored]]) -> None:
        """Store the scores of a pipeline in shadow, unless it is one that counts."""
        classifier, now = scans[0][1].classifier, self._now
        judgement = self._judgements.adopt_shadow(connection, classifier.pipeline_id, now)
        if judgement is not None:
            pipeline_row(connection, classifier.pipeline)
            verdicts = [self._verdict(facts, scored) for facts, scored in scans]
            record_verdicts(connection, verdicts, judgement, now=now)

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


def _computed(facts: Facts) -> Computed:
    return Computed(
        facts.fingerprint,
        facts.pdq_variants,
        facts.media_type,
        facts.inside,
        facts.keyed,
        width=facts.width,
        height=facts.height,
        frames=facts.frames_total,
    )


def _by_pipeline(
    scans: Iterable[tuple[Facts, Scored]],
) -> Iterable[Sequence[tuple[Facts, Scored]]]:
    """Give the scans of each pipeline together."""

    def pipeline(scan: tuple[Facts, Scored]) -> str:
        return scan[1].classifier.pipeline_id

    return [list(some) for _, some in groupby(sorted(scans, key=pipeline), key=pipeline)]
