"""Keeps count of how one peer fared, label by label, and decides when its clean weight ends.

Pure; the label "" stands for any. Counting a comparison that was counted before first takes the
old one back, so that the counts are always the sum of what was compared.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from cache.trust.agreement import (
    FALSE_CLEAN_COMPARISONS,
    FALSE_CLEAN_HITS,
    Compared,
    Result,
    flags_fail,
)
from cache.verdict import Feed

ANY = ""


@dataclass(slots=True)
class Counts:
    """How often a peer agreed, for one label or any."""

    clean_compared: int = 0
    clean_false: int = 0
    flag_compared: int = 0
    flag_agreed: int = 0
    since_false: int = 0  # clean comparisons since its last false clean
    hits_since_false: int = 0  # its clean verdicts reused or compared since then


class Fall(StrEnum):
    """Why a peer's clean verdicts weigh nothing any more."""

    SECOND = "a second false clean within 1,000 clean hits"
    PERSON = "a person here upheld what it called clean"


@dataclass(slots=True)
class TrackRecord:
    """How one peer fared, by label."""

    labels: dict[str, Counts] = field(default_factory=dict)

    @property
    def any(self) -> Counts:
        """The counts over all labels, to be read."""
        return self.labels.get(ANY, Counts())

    def of(self, label: str) -> Counts:
        """Return the counts of one label, to be changed."""
        return self.labels.setdefault(label, Counts())

    def count(self, feed: Feed, new: Compared, before: Compared | None = None) -> Fall | None:
        """Count a comparison in place of what was counted of the picture before.

        Returns why the clean weight ends, if it does.
        """
        fall = self._fall(new) if _is_news(new, before) else None
        if before is not None:
            self._add(feed, before, -1)
        self._add(feed, new, 1)
        if feed is Feed.CLEAN:
            self._age(new, before)
        return fall

    def flags_fail(self, min_agreement: float) -> bool:
        """Tell whether its flags agreed so seldom that they shall weigh nothing."""
        return flags_fail(self.any.flag_agreed, self.any.flag_compared, min_agreement)

    def _fall(self, new: Compared) -> Fall | None:
        if new.by_person:
            return Fall.PERSON
        few = self.any.since_false < FALSE_CLEAN_COMPARISONS
        within = few or self.any.hits_since_false + 1 <= FALSE_CLEAN_HITS
        return Fall.SECOND if self.any.clean_false and within else None

    def _add(self, feed: Feed, compared: Compared, sign: int) -> None:
        differ = _differing(compared)
        for label in sorted({ANY, *compared.counted}):
            counts, agreed = self.of(label), label not in differ
            if feed is Feed.CLEAN:
                counts.clean_compared += sign
                counts.clean_false += sign * (not agreed)
            else:
                counts.flag_compared += sign
                counts.flag_agreed += sign * agreed

    def _age(self, new: Compared, before: Compared | None) -> None:
        """Let the time since a false clean go on, or begin anew."""
        differ = _differing(new)
        for label in differ - (_differing(before) if before is not None else frozenset()):
            counts = self.of(label)
            counts.since_false = counts.hits_since_false = 0
        if before is None:
            for label in {ANY, *new.counted} - differ:
                counts = self.of(label)
                counts.since_false += 1
                counts.hits_since_false += 1


def _is_news(new: Compared, before: Compared | None) -> bool:
    """Tell whether this is a false clean that was not known as such, or not from a person."""
    if new.result is not Result.FALSE_CLEAN:
        return False
    known = before is not None and before.result is Result.FALSE_CLEAN
    return not known or (new.by_person and before is not None and not before.by_person)


def _differing(compared: Compared) -> frozenset[str]:
    if compared.result is Result.AGREED:
        return frozenset()
    return compared.differ | {ANY}
