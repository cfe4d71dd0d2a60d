"""What an attacker who holds a trusted peer's key gets through before audits catch it.

`python -m benchmarks.liars`, or `python -m benchmarks.judgement liars`. Fixed seeds, no pictures.

An attacker attests honestly but for a share of its clean hits (the lie rate), which are surely
bad. Two ways, which must agree: the real code, hit by hit (`decide`, the HMAC throw, comparing and
the track record), and the chain that follows from the audit rate, solved exactly. A new peer has
no comparison yet; a veteran has 2,000 honest ones. A hit is scanned at once; what an attacker gets
through in the seconds before a scan ends comes on top.

Honest peers: on the same pipeline, a million comparisons with numeric noise; on another model,
simulated years of 100,000 clean hits. The noise between two models is *assumed*: logits of two
classes of pictures, normal with one spread and one correlation. What matters of it is one figure,
the share of clean hits that our own model surely contradicts, so the years are given by that figure
as well.
"""

import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Report, Row, note
from cache.agreement import (
    FALSE_CLEAN_HITS,
    MIN_COMPARISONS,
    NEW_PEER,
    Ours,
    Result,
    audit_rate,
    compare_clean,
    compare_flags,
    flags_fail,
)
from cache.decide import decide
from cache.judgement import Judgement, PeerState, PipelineState, PipelineTerms, Trust
from cache.publish import MARGIN
from cache.rules import parse
from cache.secret import audit_throw
from cache.track_record import ANY, TrackRecord
from cache.verdict import (
    SELF,
    Basis,
    Decision,
    Evidence,
    Feed,
    Match,
    MatchKind,
    Verdict,
)

NOW = 1_800_000_000
PEER, LABEL = "https://peer.example", "test-pattern"
OURS, THEIRS = "aa" * 32, "bb" * 32
THRESHOLD = 5_000
LOW, HIGH = 100, 9_000
VETERAN = 2_000
LIE_RATES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.002)
AUDIT_RATES = (0.01, 0.05, 0.2)
PLAYED = (1.0, 0.2, 0.05)  # lie rates that the real code plays as well
HITS_A_CELL = 60_000
TAIL = 50  # wrong cleans
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
        throw = audit_throw(self._secret, evidence, row.sha256)
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


# --- honest peers ----------------------------------------------------------------------------
NUMERIC_NOISE = 100.0
"""Standard deviation (of 10,000) of the score of one picture from machine to machine.

Torch and ONNX Runtime, CPU and GPU are at most 5 apart by one pipeline (tests/scanner/classifiers).
"""

COMPARISONS = 1_000_000
YEARS = 2_000
HITS_A_YEAR = 100_000
SAMPLES = 20_000_000
CHECKED = 20_000


@dataclass(frozen=True)
class Noise:
    """Two models over one stream of pictures: normal logits, harmless and bad ones.

    Both separate the classes equally well; `together` is the correlation within a class.
    """

    name: str
    harmless: float = -6.0  # mean logit
    bad: float = 4.0
    spread: float = 1.5
    together: float = 0.8
    share_bad: float = 0.02

    def scores(self, dice: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        """Return our scores and the peer's of `size` pictures."""
        mean = np.where(dice.random(size) < self.share_bad, self.bad, self.harmless)
        ours, own = dice.standard_normal(size), dice.standard_normal(size)
        theirs = self.together * ours + np.sqrt(1 - self.together**2) * own
        return _score(mean + self.spread * ours), _score(mean + self.spread * theirs)


NOISES = (
    Noise("both miss 0.4 % and flag 3 in 100,000 wrongly, correlation 0.8"),
    Noise("both miss 0.4 % and flag 3 in 100,000 wrongly, correlation 0.5", together=0.5),
    Noise("both miss 2 % and flag 1 in 1,000 wrongly, correlation 0.8", spread=2.0),
)
"""The first is the one that the goal is held against."""


def _score(logit: Floats) -> Floats:
    return np.rint(10_000 / (1 + np.exp(-logit)))


@dataclass(frozen=True)
class Rates:
    """How often two honest models surely contradict each other, of what could be compared."""

    false_clean: float
    false_flag: float
    flags: float  # comparisons of flags a clean hit


def rates_of(noise: Noise) -> Rates:
    """Measure the rates on SAMPLES pictures, after holding a part of them against the real code."""
    dice = np.random.default_rng(SEED)
    _check(*noise.scores(dice, CHECKED))
    sums = np.zeros(4)
    for _ in range(SAMPLES // 1_000_000):
        clean, flag = _results(*noise.scores(dice, 1_000_000))
        sums += (clean == 1).sum(), (clean >= 0).sum(), (flag == 1).sum(), (flag >= 0).sum()
    return Rates(sums[0] / sums[1], sums[2] / sums[3], sums[3] / sums[1])


def _results(ours: Floats, theirs: Floats) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return what comparing comes to: 1 false, 0 agreed, -1 none, of the clean and of the flag.

    Whoever publishes as we do calls nothing clean that lies within MARGIN of the threshold.
    """
    over, under = ours >= THRESHOLD + 1_000, ours < THRESHOLD - 1_000
    clears, flags = theirs < THRESHOLD - MARGIN, theirs >= THRESHOLD
    clean = np.where(clears & (ours < THRESHOLD), 0, np.where(clears & over, 1, -1))
    flag = np.where(flags & (ours >= THRESHOLD), 0, np.where(flags & under, 1, -1))
    return clean.astype(np.int8), flag.astype(np.int8)


def _check(ours: Floats, theirs: Floats) -> None:
    """Raise unless the short form of comparing is that of `agreement`."""
    judgement, words = here(0.05), {Result.AGREED: 0, Result.FALSE_CLEAN: 1, Result.FALSE_FLAG: 1}
    for i, (clean, flag) in enumerate(zip(*_results(ours, theirs), strict=True)):
        row = verdict(PEER, b"x" * 32, int(theirs[i]), THEIRS)
        own = Ours([verdict(SELF, b"x" * 32, int(ours[i]))])
        for claim, expected in ((compare_clean, clean), (compare_flags, flag)):
            if claim is compare_clean and THRESHOLD - MARGIN <= theirs[i] < THRESHOLD:
                continue  # not published
            found = claim([row], own, judgement)
            if (words[found.result] if found else -1) != expected:
                raise RuntimeError(f"{claim.__name__} differs from its short form")


def years_demoted(rates: Rates, *, floor: float = 0.05) -> tuple[float, float]:
    """Return the shares of YEARS in which the clean and the flag weight of a peer fell."""
    dice = np.random.default_rng(SEED)
    clean = sum(_clean_falls(rates.false_clean, floor, dice) for _ in range(YEARS))
    flags = round(HITS_A_YEAR * rates.flags)
    flag = sum(_flag_falls(rates.false_flag, flags, dice) for _ in range(YEARS))
    return clean / YEARS, flag / YEARS


def _clean_falls(false: float, floor: float, dice: np.random.Generator) -> bool:
    """Let one year of clean hits pass; only the false cleans of the record are drawn."""
    hits, n, known = 0, 0, None  # hits so far, comparisons since a false clean, hits at the last
    gaps = iter(_gaps(false, dice))
    while True:
        audits = next(gaps)  # audited hits until the next false clean, itself included
        hits += _hits_for(n, audits, floor, dice)
        if hits > HITS_A_YEAR:
            return False
        if known is not None and hits - known <= FALSE_CLEAN_HITS:
            return True
        known, n = hits, 0


def _gaps(false: float, dice: np.random.Generator) -> Iterator[int]:
    while True:
        yield int(dice.geometric(false)) if false > 0 else 10 * HITS_A_YEAR


def _hits_for(n: int, audits: int, floor: float, dice: np.random.Generator) -> int:
    """Draw how many hits pass until so many are audited, `n` comparisons since a false clean."""
    counted = np.arange(n, n + min(audits, HITS_A_YEAR))
    rates = np.maximum(floor, NEW_PEER / (NEW_PEER + counted))
    return int(dice.geometric(rates).sum())


def _flag_falls(false: float, flags: int, dice: np.random.Generator) -> bool:
    """Let one year of flags pass, looked at after each."""
    agreed = np.cumsum(dice.random(flags) >= false)
    compared = np.arange(1, flags + 1)
    least = _least_agreed(flags)
    return bool((agreed[MIN_COMPARISONS - 1 :] < least[compared[MIN_COMPARISONS - 1 :]]).any())


_LEAST: dict[int, NDArray[np.int64]] = {}


def _least_agreed(flags: int) -> NDArray[np.int64]:
    """Return for each number of comparisons how many must agree, by the real bound."""
    if flags not in _LEAST:
        least = np.zeros(flags + 1, np.int64)
        agreed = 0
        for compared in range(1, flags + 1):
            while agreed < compared and flags_fail(agreed, compared, 0.95):
                agreed += 1
            least[compared] = agreed
        _LEAST[flags] = least
    return _LEAST[flags]


def same_pipeline() -> int:
    """Return how often a peer on our pipeline falls in COMPARISONS with numeric noise.

    Every true score lies within ten times the noise of the threshold, the worst place for it.
    """
    dice = np.random.default_rng(SEED)
    true = THRESHOLD + dice.uniform(-10, 10, COMPARISONS) * NUMERIC_NOISE
    ours, theirs = (
        np.clip(np.rint(true + dice.normal(0, NUMERIC_NOISE, COMPARISONS)), 0, 10_000)
        for _ in range(2)
    )
    judgement, record, falls = here(0.05), TrackRecord(), 0
    for mine, said in zip(ours, theirs, strict=True):
        row = verdict(PEER, b"x" * 32, int(said))
        own = Ours([verdict(SELF, b"x" * 32, int(mine))])
        for feed, claim in ((Feed.CLEAN, compare_clean), (Feed.FLAGGED, compare_flags)):
            compared = claim([row], own, judgement)
            if compared is not None:
                falls += record.count(feed, compared) is not None
                falls += record.flags_fail(0.95)
    note(f"compared {record.any.clean_compared} cleans and {record.any.flag_compared} flags")
    return falls


# --- the report ------------------------------------------------------------------------------
def main() -> int:
    """Play, solve, print and write; 1 where a goal was missed."""
    report = Report("judgement_liars")
    for honest, who in ((0, "new peer"), (VETERAN, f"veteran of {VETERAN:,}")):
        for floor in AUDIT_RATES:
            for lie_rate in LIE_RATES:
                note(f"{who}, lies in {lie_rate:.1%}, audit rate {floor:.0%}")
                _add_attack(report, honest, who, lie_rate, floor)
    note(f"an honest peer on the same pipeline, {COMPARISONS:,} comparisons")
    metric = f"same pipeline, noise {NUMERIC_NOISE:g} points, {COMPARISONS:,} comparisons: falls"
    report.add(Row(metric, same_pipeline(), "times", goal=0, goal_is="at most"))
    _add_other_models(report)
    return report.finish()


def _add_attack(report: Report, honest: int, who: str, lie_rate: float, floor: float) -> None:
    chain, case = Chain(lie_rate, floor), f"{who}, lies in {lie_rate:.1%}, audited {floor:.0%}"
    mean, tail = chain.mean(honest), chain.tail(honest, TAIL)
    goals: dict[str, float] = {}
    if (honest, lie_rate, floor) == (0, 0.05, 0.05):
        goals = {"mean": 3}
    if (honest, lie_rate, floor) == (VETERAN, 1.0, 0.05):
        goals = {"mean": 20, "tail": 0.08}
    report.add(_at_most(f"{case}: wrong cleans, mean", mean, "pictures", goals.get("mean")))
    report.add(_at_most(f"{case}: {TAIL} or more", tail, "probability", goals.get("tail")))
    if lie_rate in PLAYED:
        found = played(lie_rate, floor, honest)
        mean_played = statistics.fmean(found)
        report.add(Row(f"{case}: mean of {len(found):,} played", mean_played, "pictures"))
        report.add(Row(f"{case}: median played", statistics.median(found), "pictures"))
        report.add(Row(f"{case}: 95 % played", float(np.quantile(found, 0.95)), "pictures"))
        off = abs(mean_played - mean) / (_error(found) or 1)
        report.add(_at_most(f"{case}: played off the exact mean", off, "standard errors", 4.5))


def _error(found: list[int]) -> float:
    return float(np.std(found)) / float(np.sqrt(len(found)))


def _at_most(metric: str, value: float, unit: str, goal: float | None) -> Row:
    return Row(metric, value, unit, goal=goal, goal_is="at most")


def _add_other_models(report: Report) -> None:
    for i, noise in enumerate(NOISES):
        note(f"an honest peer on another model: {noise.name}")
        rates = rates_of(noise)
        clean, flag = years_demoted(rates)
        case, goal = f"another model ({noise.name})", 0.01 if i == 0 else None
        report.add(Row(f"{case}: false cleans", rates.false_clean, "of clean hits"))
        report.add(Row(f"{case}: false flags", rates.false_flag, "of flags"))
        report.add(_at_most(f"{case}: clean weight falls", clean, "of years", goal))
        report.add(_at_most(f"{case}: flag weight falls", flag, "of years", goal))
    for false in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3):
        clean, _ = years_demoted(Rates(false, 0.0, 0.0))
        case = f"any model with {false:.0e} false cleans a hit, {HITS_A_YEAR:,} hits a year"
        report.add(Row(f"{case}: clean weight falls", clean, "of years"))
    for false in (0.02, 0.03, 0.04, 0.05, 0.06):
        _, flag = years_demoted(Rates(0.0, false, 0.02))
        case = f"any model with {false:.0%} false flags, 2,000 flags a year"
        report.add(Row(f"{case}: flag weight falls", flag, "of years"))


if __name__ == "__main__":
    sys.exit(main())
