"""What an admin decided beforehand: rules, pipelines with thresholds, trust in peers, quorums.

Pure data and the look-ups on it. Weights and quorums are integer hundredths, so that the order
of adding them up cannot matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cache.rules import Rule, Truth
from cache.verdict import Verdict

EVERY_LABEL = "*"


class PipelineState(StrEnum):
    """What a pipeline's scores may do here."""

    DEFAULT = "default"  # scans are made with it
    ACCEPTED = "accepted"  # its verdicts count as those of the default
    RETIRED = "retired"  # its flags are remembered, its clean counts no more
    SHADOW = "shadow"  # on trial: compared, without effect


class NearClean(StrEnum):
    """Whose clean verdicts are reused for a picture that is only nearly the same."""

    OFF = "off"
    OWN = "own"  # ours; the keyed distance must be small as well
    PEERS = "peers"  # ours and those of trusted peers


class PeerState(StrEnum):
    """observed -> trusted -> suspended; any of them may follow any other."""

    SELF = "self"  # this instance
    OBSERVED = "observed"  # stored and compared, weight 0
    TRUSTED = "trusted"  # its weights count
    SUSPENDED = "suspended"  # its weights count no more


@dataclass(frozen=True, slots=True)
class PipelineTerms:
    """How this instance reads one pipeline's scores: a threshold (1..10000) for each label."""

    thresholds: Mapping[str, int]
    state: PipelineState = PipelineState.ACCEPTED

    @property
    def current(self) -> bool:
        """Whether its unexpired verdicts are current (design, "Deciding")."""
        return self.state in (PipelineState.DEFAULT, PipelineState.ACCEPTED)


@dataclass(frozen=True, slots=True)
class LabelTrust:
    """What overrides a peer's weights for one label; None leaves the peer's own (hundredths)."""

    clean: int | None = None
    flag: int | None = None


@dataclass(frozen=True, slots=True)
class Trust:
    """What one peer's verdicts may do here; weights are 0..100 hundredths."""

    clean: int = 0
    flag: int = 0
    labels: Mapping[str, LabelTrust] = field(default_factory=dict)
    heard: frozenset[str] = frozenset({EVERY_LABEL})
    max_age_days: int = 180
    operator: str | None = None  # instances of one operator count once
    audit_rate: float = 0.05  # 0..1, the share of clean hits that are scanned all the same, now
    state: PeerState = PeerState.OBSERVED
    audit_floor: float = 0.05  # what `audit_rate` falls to while its record is good
    min_agreement: float = 0.95  # 0..1, below it its flags weigh nothing any more

    def hears(self, label: str) -> bool:
        """Tell whether this peer is heard for `label`."""
        return EVERY_LABEL in self.heard or label in self.heard

    def clean_weight(self, label: str) -> int:
        """Return what its clean verdicts weigh for `label`, 0 where it is not heard."""
        own = self.labels.get(label, LabelTrust()).clean
        return self._weight(label, self.clean if own is None else own)

    def flag_weight(self, label: str) -> int:
        """Return what its flags weigh for `label`, 0 where it is not heard."""
        own = self.labels.get(label, LabelTrust()).flag
        return self._weight(label, self.flag if own is None else own)

    @property
    def largest_flag_weight(self) -> int:
        """What a flag of it weighs at most, whatever the label."""
        if self.state is not PeerState.TRUSTED or not self.heard:
            return 0
        return max([self.flag, *(terms.flag or 0 for terms in self.labels.values())])

    @property
    def largest_clean_weight(self) -> int:
        """What a clean verdict of it weighs at most, whatever the label."""
        if self.state is not PeerState.TRUSTED or not self.heard:
            return 0
        return max([self.clean, *(terms.clean or 0 for terms in self.labels.values())])

    def _weight(self, label: str, weight: int) -> int:
        if self.state is not PeerState.TRUSTED or not self.hears(label):
            return 0
        return weight


NO_TRUST = Trust()
"""In a peer never heard of."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything of the config and of the trust tables that deciding needs."""

    rules: Mapping[str, Rule]  # name -> rule
    pipelines: Mapping[str, PipelineTerms]  # pipeline id (hex) -> terms
    trust: Mapping[str, Trust] = field(default_factory=dict)  # origin -> trust
    clean_quorum: int = 100
    flag_quorum: int = 200
    audits: bool = False  # whether clean hits are audited by the throw
    has_scanner: bool = True  # scanner or worker; without, a peer counts half the quorum at most
    near_clean: NearClean = NearClean.OFF
    near_clean_audit: float = 0.25  # at least so many of the near clean hits are scanned
    tripped: frozenset[str] = frozenset()  # origins past the blast radius: they only ask for review

    def terms(self, verdict: Verdict) -> PipelineTerms | None:
        """Return the terms of the verdict's pipeline, None where it is not listed here."""
        return self.pipelines.get(verdict.pipeline) if verdict.pipeline else None

    def trust_in(self, origin: str) -> Trust:
        """Return the trust in a peer; one never heard of has none."""
        return self.trust.get(origin, NO_TRUST)


def label_truth(scores: Mapping[str, int | None], terms: PipelineTerms, label: str) -> Truth:
    """Tell whether a score reaches the threshold of its pipeline; None where either is missing."""
    score, threshold = scores.get(label), terms.thresholds.get(label)
    if score is None or threshold is None:
        return None
    return score >= threshold
