"""Shows how a pipeline in shadow disagrees with the one that decides.

Over the pictures of ours that both scored, whole or part: for each rule, whether it holds by the
scores of both, of one, or of neither, each read by its own thresholds. Expired verdicts count
too, the test card does not. Reads only, a few rows at a time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import loads

from sqlalchemy import Connection, Row, Subquery, select

from cache.judgement import Judgement, PipelineTerms, label_truth
from cache.rules import Rule, Truth
from cache.storage.tables import images, issuers, pipelines, verdicts
from cache.testcard import is_test_card
from cache.verdict import SELF, Basis, Feed

ROWS = 1_000
"""Rows fetched at a time."""

Scores = Mapping[str, int | None]


@dataclass(slots=True)
class RuleCounts:
    """In how many pictures a rule holds, by whose scores; `open` where one leaves it open."""

    both: int = 0
    only_ours: int = 0
    only_shadow: int = 0
    neither: int = 0
    open: int = 0

    def add(self, ours: Truth, shadow: Truth) -> bool:
        """Count one picture; tells whether the two disagree."""
        match (ours, shadow):
            case (True, True):
                self.both += 1
            case (True, False):
                self.only_ours += 1
            case (False, True):
                self.only_shadow += 1
            case (False, False):
                self.neither += 1
            case _:
                self.open += 1
        return ours is not None and shadow is not None and ours is not shadow


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A picture for which rules hold by one pipeline's scores alone."""

    sha256: bytes
    rules: tuple[str, ...]
    ours: Scores
    shadow: Scores


@dataclass(slots=True)
class Compared:
    """What comparing found; `shown` holds the first of the disagreements, by sha256."""

    pictures: int = 0
    disagreements: int = 0
    rules: dict[str, RuleCounts] = field(default_factory=dict)
    shown: list[Disagreement] = field(default_factory=list)


def compare_shadow(
    connection: Connection, judgement: Judgement, *, ours: str, shadow: str, limit: int
) -> Compared:
    """Compare two pipelines of ours (hex ids); at most `limit` disagreements are shown."""
    found = Compared(rules={name: RuleCounts() for name in sorted(judgement.rules)})
    our_terms, shadow_terms = judgement.pipelines[ours], judgement.pipelines[shadow]
    for row in _both(connection, ours, shadow):
        if is_test_card(row.sha256, row.content):
            continue
        scores, others = loads(row.ours), loads(row.shadow)
        differing = tuple(
            name
            for name, rule in sorted(judgement.rules.items())
            if found.rules[name].add(
                _truth(rule, scores, our_terms), _truth(rule, others, shadow_terms)
            )
        )
        found.pictures += 1
        found.disagreements += bool(differing)
        if differing and len(found.shown) < limit:
            found.shown.append(Disagreement(row.sha256, differing, scores, others))
    return found


def _truth(rule: Rule, scores: Scores, terms: PipelineTerms) -> Truth:
    return rule.truth(lambda label: label_truth(scores, terms, label))


def _both(connection: Connection, ours: str, shadow: str) -> Iterator[Row[tuple[object, ...]]]:
    """Give sha256, content and both scores of the pictures that both pipelines scored."""
    one, other = _scored(ours), _scored(shadow)
    statement = (
        select(
            images.c.sha256,
            images.c.content,
            one.c.scores.label("ours"),
            other.c.scores.label("shadow"),
        )
        .join(one, one.c.image_id == images.c.id)
        .join(other, other.c.image_id == images.c.id)
        .order_by(images.c.sha256)
    )
    rows = connection.execute(statement, execution_options={"yield_per": ROWS})
    yield from rows  # type: ignore[misc]  # a row of four columns is a row


def _scored(pipeline: str) -> Subquery:
    """Return our own verdicts by one pipeline."""
    return (
        select(verdicts.c.image_id, verdicts.c.scores)
        .join(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
        .join(issuers, issuers.c.id == verdicts.c.issuer_id)
        .where(pipelines.c.digest == bytes.fromhex(pipeline), issuers.c.origin == SELF)
        .where(verdicts.c.feed == int(Feed.OWN), verdicts.c.basis == int(Basis.MODEL))
        .where(verdicts.c.scores.is_not(None))
        .subquery()
    )
