"""The words of the project as types: fingerprints, verdicts, matches, findings, decisions.

Pure data: nothing here reads a clock, a file or a database. Times are UTC epoch seconds,
scores integers 0..10000 (a probability times 10,000), hashes raw bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

SELF = "self"
"""The issuer name of this very instance; every other issuer is an origin, `https://host[:port]`."""


class Feed(IntEnum):
    """Which log a verdict came through."""

    OWN = 0  # issued here, read from our own tables
    CLEAN = 1  # /feeds/clean
    FLAGGED = 2  # /feeds/flagged


class Basis(IntEnum):
    """What a verdict rests on."""

    MODEL = 0
    HUMAN = 1


class Finding(StrEnum):
    """What a person made of one rule for one picture."""

    UPHELD = "upheld"
    DISMISSED = "dismissed"
    ESCALATED = "escalated"


class MatchKind(StrEnum):
    """How a stored picture equals the one asked about, strongest first."""

    EXACT = "exact"  # equal sha256
    CONTENT = "content"  # equal content digest
    NEAR = "near"  # PDQ distance <= 31, quality >= 50 on both sides, eight variants
    PROBABLE = "probable"  # PDQ 32..40, or pHash <= 47 to a code of our own
    TWIN = "twin"  # nearly equal to a picture that is clean here (decide.near_clean)
    NONE = "none"


class Decision(StrEnum):
    """What this instance makes of a picture now; the last two could not be judged."""

    CLEAN = "clean"
    REVIEW = "review"
    FLAGGED = "flagged"
    UNKNOWN = "unknown"  # run the scanner
    UNDECODABLE = "undecodable"
    OVER_LIMIT = "over-limit"


class FingerprintLike(Protocol):
    """What identifies a picture; the scanner's own type fits."""

    @property
    def sha256(self) -> bytes: ...  # noqa: D102
    @property
    def content(self) -> bytes | None: ...  # noqa: D102
    @property
    def pdq(self) -> bytes | None: ...  # noqa: D102
    @property
    def pdq_quality(self) -> int | None: ...  # noqa: D102
    @property
    def phash(self) -> bytes | None: ...  # noqa: D102


@dataclass(slots=True)  # not frozen: pages and look-ups make thousands, in a fifth of the time
class Verdict:
    """One issuer's scores for one picture by one pipeline, or a person's finding for one rule.

    Nothing changes one once it is made.
    """

    issuer: str
    sha256: bytes
    feed: Feed
    basis: Basis
    issued: int
    expires: int
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    pipeline: str | None = None  # hex id, None for basis HUMAN
    scores: Mapping[str, int | None] = field(default_factory=dict)
    rule: str | None = None  # basis HUMAN only
    finding: Finding | None = None
    frames_seen: int = 1
    frames_total: int = 1
    epoch: str | None = None  # where it stands in a peer's feed
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A verdict that was found for the picture asked about, and how."""

    kind: MatchKind
    verdict: Verdict
    distance: int = 0  # bits of PDQ; 0 for exact and content


@dataclass(frozen=True, slots=True)
class FindingMatch:
    """A finding of a person here, and how its picture matches."""

    kind: MatchKind
    rule: str
    finding: Finding
    decided: int
    decided_by: str
    reason: str
    distance: int = 0
    image_id: int | None = field(default=None, compare=False)  # row id of its picture


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything this instance holds that bears on one picture."""

    matches: tuple[Match, ...] = ()
    findings: tuple[FindingMatch, ...] = ()
    twins: tuple[Match, ...] = ()  # clean candidates, where `decide.near_clean` allows them
    cut: bool = False  # the near search met its limit: there may be more than stands here
    compared: bool = True  # False: no PDQ was known, so near matches could not be looked for
