"""An attacker who holds a trusted peer's key: played by the real code, and solved exactly."""

import random

import numpy as np
from numpy.typing import NDArray

from cache.decide import decide
from cache.judgement import Judgement, PeerState, PipelineState, PipelineTerms, Trust
from cache.rules import parse
from cache.secret import audit_throw
from cache.trust.agreement import FALSE_CLEAN_HITS, Ours, audit_rate, compare_clean
from cache.trust.track_record import ANY, TrackRecord
from cache.verdict import SELF, Basis, Decision, Evidence, Feed, Match, MatchKind, Verdict

NOW = 1_800_000_000
PEER, LABEL = "https://peer.example", "test-pattern"
OURS, THEIRS = "aa" * 32, "bb" * 32
THRESHOLD = 5_000
LOW, HIGH = 100, 9_000
HITS_A_CELL = 60_000
SEED = 20_261_124

Floats = NDArray[np.float64]


# --- an attacker, played by the real code ----------------------------------------------------
def here(rate: float) -> Judgement:
    """Return a judgement in which one peer's clean verdicts suffice, audited at this rate."""
    trust = Trust(clean=100, flag=100, state=PeerState.TRUSTED, audit_rate=rate)
    return Judgement(
        rules={"pattern": parse(LABEL)},
        pipelines={
            OURS: PipelineTerms({LABEL: THRESHOLD}, PipelineState.DEFAULT),
            THEIRS: PipelineTerms({LABEL: THRESHOLD}),
        },
        trust={PEER: trust},
        audits=True,
    )


def verdict(issuer: str, content: bytes, score: int, pipeline: str = OURS) -> Verdict:
    """Return a clean-feed row of the peer, or a scan of ours."""
    feed = Feed.OWN if issuer == SELF else Feed.CLEAN
    return Verdict(
        *(issuer, content, feed, Basis.MODEL, NOW, NOW + 999),
        content=content,
        pipeline=pipeline,
        scores={LABEL: score},
    )


class Attack:
    """One peer from its first lie until its clean weight is 0."""

    def __init__(self, lie_rate: float, floor: float, honest: int, seed: int) -> None:
        self._dice = random.Random(seed)
        self._secret = self._dice.randbytes(32)
        self._lie_rate, self._floor = lie_rate, floor
        self.record = TrackRecord()
        self.record.of(ANY).clean_compared = self.record.of(ANY).since_false = honest
        self.hits = self.let_through = 0
        self._judgements: dict[float, Judgement] = {}

    def play(self) -> int:
        """Return how many wrong cleans were let through."""
        while not self._hit():
            pass
        return self.let_through

    def _hit(self) -> bool:
        """Ask for one picture that the peer called clean; tells whether its weight ended."""
        self.hits += 1
        lies = self._dice.random() < self._lie_rate
        row = verdict(PEER, self._dice.randbytes(32), LOW)
        rate = audit_rate(self._floor, self.record.any.since_false)
        judgement = self._judgements.get(rate) or self._judgements.setdefault(rate, here(rate))
        evidence = Evidence((Match(MatchKind.EXACT, row),))
        throw = audit_throw(self._secret, evidence, row.sha256, judgement)
        outcome = decide(evidence, judgement, now=NOW, can_scan=True, throw=throw)
        if outcome.decision is Decision.CLEAN:
            self.let_through += lies
            self.record.of(ANY).hits_since_false += 1
            return False
        own = verdict(SELF, row.sha256, HIGH if lies else LOW)
        compared = compare_clean([row], Ours([own]), judgement)
        if compared is None:
            raise RuntimeError("a hit that was audited could not be compared")
        return self.record.count(Feed.CLEAN, compared) is not None


def played(lie_rate: float, floor: float, honest: int) -> list[int]:
    """Return what many attacks let through, as many as HITS_A_CELL hits allow."""
    found: list[int] = []
    hits = 0
    while hits < HITS_A_CELL:
        attack = Attack(lie_rate, floor, honest, hash((SEED, len(found), honest)))
        found.append(attack.play())
        hits += attack.hits
    return found


# --- the same, solved exactly ----------------------------------------------------------------
class Chain:
    """The chain of comparisons of one attacker, from the audit rate alone.

    A state is the number n of comparisons since the last false clean, and, within
    FALSE_CLEAN_HITS hits of one, the number h of hits since it.
    """

    def __init__(self, lie_rate: float, floor: float) -> None:
        self.lie = lie_rate
        self.floor_at = next(n for n in range(10**6) if audit_rate(floor, n) <= floor)
        size = max(self.floor_at, FALSE_CLEAN_HITS) + 2
        self.rate = np.array([audit_rate(floor, n) for n in range(size)])

    def mean(self, honest: int) -> float:
        """Return the mean of wrong cleans let through, `honest` comparisons before the first."""
        calm = self._mean_until_false_clean()
        held, again = self._mean_within(calm)
        return float(calm[min(honest, self.floor_at)] + held / (1 - again))

    def _mean_until_false_clean(self) -> Floats:
        last, lie, rate = self.floor_at, self.lie, self.rate
        found = np.zeros_like(rate)
        found[last:] = (1 - rate[last]) / rate[last]
        for n in range(last - 1, -1, -1):
            found[n] = (1 - rate[n]) * lie / rate[n] + (1 - lie) * found[n + 1]
        return found

    def _mean_within(self, calm: Floats) -> tuple[float, float]:
        """Return the mean from a false clean on, and how likely it is that no second follows."""
        held, again = calm.copy(), np.ones_like(calm)
        for h in range(FALSE_CLEAN_HITS - 1, -1, -1):
            rate, n, more = self.rate[: h + 1], slice(0, h + 1), slice(1, h + 2)
            honest, missed = rate * (1 - self.lie), 1 - rate
            held[n] = honest * held[more] + missed * (self.lie + held[n])
            again[n] = honest * again[more] + missed * again[n]
        return float(held[0]), float(again[0])

    def tail(self, honest: int, wrong: int) -> float:
        """Return the probability of `wrong` or more wrong cleans."""
        start, size = min(honest, self.floor_at), len(self.rate)
        within = np.ones((FALSE_CLEAN_HITS + 1, FALSE_CLEAN_HITS + 2))
        calm, first = np.ones(size), 1.0
        for _ in range(wrong):
            value, slope = self._calm(calm)
            within, offset, factor = self._within(within, value, slope)
            first = offset / (1 - factor)
            within = within[0] + first * within[1]
            calm = value + first * slope
        return float(calm[start])

    def _calm(self, before: Floats) -> tuple[Floats, Floats]:
        """Return the step to one wrong clean more, as a line in what holds after a false clean."""
        last, lie, rate = self.floor_at, self.lie, self.rate
        value, slope = np.zeros_like(before), np.zeros_like(before)
        value[last:] = (1 - rate[last]) * before[last]  # lie * (...) / lie
        slope[last:] = rate[last]
        for n in range(last - 1, -1, -1):
            stays = 1 - (1 - rate[n]) * (1 - lie)
            missed, honest = (1 - rate[n]) * lie * before[n], rate[n] * (1 - lie)
            value[n] = (missed + honest * value[n + 1]) / stays
            slope[n] = (rate[n] * lie + honest * slope[n + 1]) / stays
        return value, slope

    def _within(self, before: Floats, value: Floats, slope: Floats) -> tuple[Floats, float, float]:
        columns = FALSE_CLEAN_HITS + 2
        found = np.zeros((2, FALSE_CLEAN_HITS + 1, columns))
        found[0, -1], found[1, -1] = value[:columns], slope[:columns]
        for h in range(FALSE_CLEAN_HITS - 1, -1, -1):
            rate, n, more = self.rate[: h + 1], slice(0, h + 1), slice(1, h + 2)
            honest, missed = rate * (1 - self.lie), 1 - rate
            later = found[:, h + 1]
            found[:, h, n] = honest * later[:, more] + missed * (1 - self.lie) * later[:, n]
            found[0, h, n] += missed * self.lie * before[h + 1, n]
        return found, float(found[0, 0, 0]), float(found[1, 0, 0])
