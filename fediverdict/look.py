"""What this instance makes of one picture: a look at what is held, and the answer it ends in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cache.index.twins import Shape
from cache.memory.lookup import StoredFingerprint
from cache.outcome import Outcome, explain
from cache.verdict import (
    SELF,
    Basis,
    Decision,
    Evidence,
    FingerprintLike,
    Match,
    MatchKind,
    Verdict,
)
from scanner.decoding.facts import Facts
from scanner.errors import OverLimit, Undecodable
from scanner.formats.inside import Inside
from scanner.formats.media_types import is_mismatch


@dataclass(frozen=True, slots=True)
class Query:
    """A picture that is asked about, with whatever is known of it besides its fingerprint.

    Twins need the canvas as well: of a picture that was just decoded it stands in `facts`, of
    one that was fingerprinted here before in its row, of fingerprints alone nowhere.
    """

    fingerprint: FingerprintLike
    variants: Sequence[bytes] = ()
    media_type: str | None = None
    inside: tuple[str, ...] = ()
    shape: Shape | None = None  # of a picture that was decoded now

    @classmethod
    def of_facts(cls, facts: Facts) -> "Query":
        """Return a picture that was decoded now."""
        shape = Shape(facts.width, facts.height, facts.frames_total, facts.keyed)
        return cls(facts.fingerprint, facts.pdq_variants, facts.media_type, facts.inside, shape)

    @classmethod
    def of_known(cls, known: StoredFingerprint) -> "Query":
        """Return a picture that was fingerprinted here before."""
        return cls(known, known.variants, known.media_type, known.inside)


@dataclass(frozen=True, slots=True)
class Bare:
    """A picture of which the sha256 alone is known; fits FingerprintLike."""

    sha256: bytes
    content: bytes | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    phash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What this instance says of one picture, and how it came to it."""

    decision: Decision
    sentence: str
    fingerprint: FingerprintLike | None = None
    outcome: Outcome | None = None
    evidence: Evidence = Evidence()
    scanned: bool = False
    seconds: float = 0.0
    media_type: str | None = None
    inside: tuple[str, ...] = ()  # what else the file holds

    def named(self, name: str | None) -> "Answer":
        """Return the answer for a file that came with this name or media type."""
        if name is None or self.media_type is None or not is_mismatch(self.media_type, name):
            return self
        return replace(self, inside=tuple(sorted({*self.inside, Inside.TYPE_MISMATCH})))

    @property
    def own(self) -> list[Verdict]:
        """Our own verdicts on these very bytes, by whatever pipeline."""
        return [match.verdict for match in self.evidence.matches if _is_own(match)]


@dataclass(frozen=True, slots=True)
class Look:
    """A picture that was looked up: its fingerprint, what is held on it, what follows."""

    fingerprint: FingerprintLike
    evidence: Evidence
    outcome: Outcome
    media_type: str | None = None
    inside: tuple[str, ...] = ()

    def answer(self, *, scanned: bool = False) -> Answer:
        """Return the look as what the caller is told."""
        return Answer(
            self.outcome.decision,
            explain(self.outcome),
            self.fingerprint,
            self.outcome,
            self.evidence,
            scanned=scanned,
            media_type=self.media_type,
            inside=self.inside,
        )


def could_not(error: Undecodable | OverLimit) -> Answer:
    """Return the answer for a picture that could not be judged."""
    over = isinstance(error, OverLimit)
    return Answer(Decision.OVER_LIMIT if over else Decision.UNDECODABLE, str(error))


def own_verdicts(answers: Iterable[Answer]) -> list[Verdict]:
    """Return our own verdicts on the pictures of some answers."""
    return [verdict for answer in answers for verdict in answer.own]


def _is_own(match: Match) -> bool:
    of_model = match.verdict.issuer == SELF and match.verdict.basis is Basis.MODEL
    return of_model and match.kind is MatchKind.EXACT
