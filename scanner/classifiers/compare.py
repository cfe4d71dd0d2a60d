"""How far two classifiers agree on the same pictures. Pure: scores in, numbers out.

Scores are whole pictures' (the worst window of each label). A label's decision changes where its
two scores lie on different sides of the policy's threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

QUANTILES = (0.5, 0.9, 0.99)
Scores = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LabelAgreement:
    """Absolute differences of one label's scores, in units of 1/10,000."""

    mean: float
    quantiles: dict[float, float]
    largest: int
    changed: int
    """Pictures on the other side of the threshold."""


@dataclass(frozen=True, slots=True)
class Change:
    """A picture whose label lies on the other side of its threshold."""

    key: str
    label: str
    threshold: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a comparison over some pictures found."""

    pictures: int
    labels: dict[str, LabelAgreement]
    changes: tuple[Change, ...]

    @property
    def changed_share(self) -> float:
        """The share of the pictures, 0..1, that have a changed label."""
        return (
            len({change.key for change in self.changes}) / self.pictures if self.pictures else 0.0
        )


def compare(
    keys: Sequence[str],
    before: Sequence[Scores],
    after: Sequence[Scores],
    thresholds: Mapping[str, int],
) -> Agreement:
    """Return how the scores `after` agree with `before`, picture by picture.

    Raises ValueError for different numbers of pictures, KeyError for a label that is not scored.
    """
    changes = tuple(
        Change(key, label, threshold, one[label], other[label])
        for key, one, other in zip(keys, before, after, strict=True)
        for label, threshold in thresholds.items()
        if (one[label] >= threshold) != (other[label] >= threshold)
    )
    labels = {label: _label(label, before, after, changes) for label in thresholds if keys}
    return Agreement(len(keys), labels, changes)


def _label(
    label: str, before: Sequence[Scores], after: Sequence[Scores], changes: Sequence[Change]
) -> LabelAgreement:
    pairs = zip(before, after, strict=True)
    apart = np.abs([one[label] - other[label] for one, other in pairs])
    return LabelAgreement(
        mean=float(apart.mean()),
        quantiles={share: float(np.quantile(apart, share)) for share in QUANTILES},
        largest=int(apart.max()),
        changed=sum(change.label == label for change in changes),
    )
