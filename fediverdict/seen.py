"""One object of a source and what was made of it; which of them are findings.

A finding is what an admin may act on: flagged, up for review, not judgeable although it is named
as a picture is, or holding more than a picture. Pure.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath

from cache.memory.runs import Finding
from cache.memory.sightings import JUDGED, Sighting
from cache.verdict import Decision, Feed
from fediverdict.look import Answer
from scanner.limits import Limits
from scanner.sources.source import Item

FOUND = frozenset({Decision.FLAGGED, Decision.REVIEW})
COULD_NOT = frozenset({Decision.UNDECODABLE, Decision.OVER_LIMIT})
DECODERS = ("pillow", "av")
"""Distributions that decode; with another version of one, what failed is tried again."""
PICTURE_SUFFIXES = frozenset(
    [
        "",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".apng",
        ".gif",
        ".webp",
        ".avif",
        ".mp4",
        ".m4v",
        ".mov",
        ".webm",
        ".mkv",
    ]
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One object of the source and what was made of it; `problem` where it could not be read."""

    item: Item
    answer: Answer | None = None
    sha256: bytes | None = None
    problem: str | None = None
    was_read: bool = True  # False: it is unchanged, and what is known of it was taken
    feed: Feed | None = None  # the feed of ours that its verdict stands in

    @property
    def key(self) -> str:
        """The object's name within the source."""
        return self.item.key

    @property
    def decision(self) -> Decision | None:
        """What was decided on it; None where it has no answer, or could not be judged."""
        if self.answer is None or self.answer.decision in COULD_NOT:
            return None
        return self.answer.decision

    @property
    def is_no_picture(self) -> bool:
        """Whether it neither decodes as a picture nor is named as one."""
        undecodable = self.answer is not None and self.answer.decision is Decision.UNDECODABLE
        suffix = PurePosixPath(self.key).suffix.lower()
        return undecodable and suffix not in PICTURE_SUFFIXES

    @property
    def is_finding(self) -> bool:
        """Whether an admin may want to act on it."""
        if self.answer is None or self.is_no_picture:
            return False
        return self.answer.decision in FOUND | COULD_NOT or bool(self.answer.inside)

    def finding(self) -> Finding:
        """Return it as a row of its run; only for what is a finding."""
        answer = self.answer or Answer(Decision.UNKNOWN, "")
        return Finding(
            key=self.key,
            size=self.item.size,
            mark=self.item.mark,
            sha256=self.sha256,
            decision=answer.decision,
            reason=answer.sentence,
            rules=answer.outcome.rules if answer.outcome else (),
            inside=answer.inside,
        )

    def sighting(self, source_id: int, terms: str, now: int) -> Sighting:
        """Return it as it will be known again; only for what has an answer."""
        answer = self.answer or Answer(Decision.UNKNOWN, "")
        could_not = answer.decision in COULD_NOT
        return Sighting(
            source_id=source_id,
            key=self.key,
            size=self.item.size,
            mark=self.item.mark,
            sha256=self.sha256,
            outcome=str(answer.decision) if could_not else JUDGED,
            seen=now,
            reason=answer.sentence if could_not else "",
            terms=terms,
        )


def terms_of(limits: Limits) -> str:
    """Return a digest of what makes a picture undecodable or over a limit here."""
    facts = [limits.model_dump_json(), *(_version(name) for name in ("fediverdict", *DECODERS))]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
