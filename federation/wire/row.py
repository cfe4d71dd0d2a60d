"""The rows of a feed: an attestation of one verdict, or the retraction of an earlier row.

Pure data, as pages carry it. Times are epoch seconds, hashes raw bytes, scores integers
0..10000, labels and rules bare names without their `urn:` prefix.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cache.verdict import Basis, Feed, Finding

ATTEST: Final = 0
RETRACT: Final = 1

CLEAN_COLUMNS: Final = (
    *("op", "sha256", "content", "pipeline", "basis"),
    *("finding", "scores", "issued", "expires", "target"),
)
COLUMNS: Final = {Feed.CLEAN: CLEAN_COLUMNS, Feed.FLAGGED: (*CLEAN_COLUMNS, "pdq", "quality")}
BASES: Final = {"model": Basis.MODEL, "human": Basis.HUMAN}
BASIS_NAMES: Final = {basis: name for name, basis in BASES.items()}


@dataclass(slots=True)  # frozen, a thousand of them take a millisecond more of the seven of a page
class Attestation:
    """One verdict: `pipeline` and `scores` on basis MODEL, `rule` and `finding` on basis HUMAN.

    Nothing changes one once it is made.
    """

    sha256: bytes
    basis: Basis
    issued: int
    expires: int
    content: bytes | None = None
    pipeline: str | None = None  # hex id
    scores: Mapping[str, int | None] = field(default_factory=dict)
    rule: str | None = None
    finding: Finding | None = None  # upheld; nothing else is published
    pdq: bytes | None = None  # flagged feed only
    pdq_quality: int | None = None


@dataclass(frozen=True, slots=True)
class Retraction:
    """Frees the row `seq` of `epoch` in the same feed, and states no opinion."""

    epoch: str
    seq: int


Row: TypeAlias = Attestation | Retraction
