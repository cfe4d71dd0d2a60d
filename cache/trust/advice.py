"""Decides what an admin is advised to change about a peer, by its record alone. Pure.

More trust is advised by the lower bound of agreement, less by the upper one, neither with few
comparisons. Advice changes nothing: only false cleans and flags that fail do, see `comparing`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cache.judgement import Trust
from cache.trust.agreement import MIN_COMPARISONS, wilson
from cache.trust.track_record import ANY, TrackRecord

HALF, FULL = 50, 100

Claim = Literal["clean", "flag"]


@dataclass(frozen=True, slots=True)
class Advice:
    """A weight (hundredths) that the record speaks for, of one label or of any."""

    claim: Claim
    label: str
    weight: int
    agreed: int
    compared: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of 95 % of the agreement."""
        return wilson(self.agreed, self.compared)


def advise(trust: Trust, record: TrackRecord) -> list[Advice]:
    """Return what the record of a peer speaks for: more weight, or less, for one label or any."""
    return [*_more(trust, record), *_less(trust, record)]


def _more(trust: Trust, record: TrackRecord) -> Iterator[Advice]:
    claims: tuple[tuple[Claim, int], ...] = (("clean", trust.clean), ("flag", trust.flag))
    for claim, weight in claims:
        agreed, compared = counted(record, claim, ANY)
        earned = _earned(agreed, compared, trust.min_agreement)
        if earned > weight:
            yield Advice(claim, ANY, earned, agreed, compared)


def _less(trust: Trust, record: TrackRecord) -> Iterator[Advice]:
    for label in sorted(record.labels):
        claims: tuple[tuple[Claim, int], ...] = (
            ("clean", trust.clean if label == ANY else trust.clean_weight(label)),
            ("flag", trust.flag if label == ANY else trust.flag_weight(label)),
        )
        for claim, weight in claims:
            agreed, compared = counted(record, claim, label)
            fails = wilson(agreed, compared)[1] < trust.min_agreement
            if weight and compared >= MIN_COMPARISONS and fails:
                yield Advice(claim, label, 0, agreed, compared)


def counted(record: TrackRecord, claim: Claim, label: str) -> tuple[int, int]:
    """Return in how many comparisons a peer agreed, and of how many, for a label or any."""
    counts = record.labels.get(label)
    if counts is None:
        return 0, 0
    if claim == "clean":
        return counts.clean_compared - counts.clean_false, counts.clean_compared
    return counts.flag_agreed, counts.flag_compared


def _earned(agreed: int, compared: int, min_agreement: float) -> int:
    """Return the weight that an agreement earns: half, and full where it is twice as near to 1."""
    low, _ = wilson(agreed, compared)
    if compared < MIN_COMPARISONS or low < min_agreement:
        return 0
    return FULL if low >= (1 + min_agreement) / 2 else HALF
