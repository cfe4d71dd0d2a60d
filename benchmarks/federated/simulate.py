"""Runs a federation: every instance meets its pictures in turn, and reuses what its peers said.

Event-driven, in the order of time. At each sighting the instance gathers what trusted peers said
that has reached it by then (their page sealed and pushed, or their answer as the picture's
origin), the real `decide` decides, and what is left is scanned and published. Peers' verdicts
that were here before a scan are compared with it. Every honest instance scans alike and without
error. Pictures match exactly (equal bytes) or not at all: near matching has benchmarks of its own.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from benchmarks.federated.deciding import Decider, Said, Terms, secret_of, throw_of
from benchmarks.federated.trusting import VETERAN, Peer
from benchmarks.federated.world import DAY_SECONDS, Floats, Ints, Sightings
from cache.verdict import Decision

SCAN_SECONDS = 1.0
SEAL_FLAGGED_SECONDS = 10.0
PAGE_ROWS = 1_000
REVIEW_SECONDS = 86_400.0


@dataclass(frozen=True)
class Policy:
    """How every instance of a run is set up, and what the hostile ones do."""

    trusted: int = 10  # peers that an instance trusts
    picks: str = "seen"  # those whose posts it sees most, or "random" ones
    terms: Terms = Terms()
    audit_floor: float = 0.05  # 0: no audits at all
    compared: int = VETERAN  # comparisons that every peer starts with
    ask_origin: bool = True
    grace_seconds: float = 90.0
    seal_seconds: float = 60.0
    push_seconds: float = 2.0
    taking_part: float = 1.0  # share of the instances that run this at all
    hostile_share: float = 0.0  # of the trust: of all pairs of an instance and a peer it trusts
    poisoned_share: float = 0.02  # of the clean pictures, flagged by every hostile one
    demotes: bool = True
    seed: int = 1


@dataclass
class Result:
    """What came of a run; the hostile instances' own sightings are not counted."""

    met: Ints  # first sightings, by instance
    scanned: Ints
    published: Ints  # rows, by instance
    pages: Ints
    received: Ints  # rows that came from trusted peers
    received_pages: Ints
    met_by_day: Ints
    scanned_by_day: Ints
    abusive_by_day: Ints
    wrong_clean_by_day: Ints
    reasons: Counter[str] = field(default_factory=Counter)
    abusive_met: int = 0
    clean_met: int = 0
    wrong_clean: int = 0
    wrong_review: int = 0
    wrong_flagged: int = 0
    demoted_hostile: int = 0  # weights set to 0, over all pairs of instance and peer
    demoted_honest: int = 0
    hostile_trusted: int = 0  # pairs of an honest instance and a hostile peer it trusts
    hostile: int = 0  # instances
    asked: int = 0
    distinct: int = 0
    checked: int = 0

    @classmethod
    def empty(cls, instances: int, days: int) -> "Result":
        """Return the result of nothing."""
        by_instance = [np.zeros(instances, dtype=np.int64) for _ in range(6)]
        met, scanned, published, pages, received, received_pages = by_instance
        by_day = np.zeros((4, days), dtype=np.int64)
        return cls(met, scanned, published, pages, received, received_pages, *by_day)

    @property
    def saved(self) -> float:
        """The share of first sightings that needed no scan, 0..1."""
        return 1 - float(self.scanned.sum()) / float(self.met.sum())

    def saved_median(self, least: int = 30) -> float:
        """Do as `saved` for the median instance among those that met at least so many."""
        of = self.met >= least
        return float(np.median(1 - self.scanned[of] / self.met[of])) if of.any() else self.saved


def trust_of(
    sightings: Sightings, instances: int, policy: Policy, absent: frozenset[int] = frozenset()
) -> list[list[int]]:
    """Return whom each instance trusts, most seen first; nobody trusts the absent ones."""
    if policy.picks == "random":
        return _random_trust(instances, policy)
    here = np.array([i not in absent for i in range(instances)])
    away = (sightings.origin != sightings.instance) & here[sightings.origin]
    pairs = sightings.instance[away] * instances + sightings.origin[away]
    found, number = np.unique(pairs, return_counts=True)
    order = np.lexsort((found % instances, -number, found // instances))
    found = found[order]
    starts = np.searchsorted(found // instances, np.arange(instances + 1))
    origins = (found % instances).tolist()
    return [
        origins[starts[i] : min(starts[i] + policy.trusted, starts[i + 1])]
        for i in range(instances)
    ]


def _hostile(trusted: list[list[int]], share: float, rng: np.random.Generator) -> frozenset[int]:
    """Return random instances that have together that share of all the trust, as near as can be."""
    links = np.bincount([p for some in trusted for p in some] or [0], minlength=len(trusted))
    left = share * links.sum() if any(trusted) else 0.0
    chosen = set()
    for i in rng.permutation(len(trusted)).tolist():
        if 0 < links[i] <= left:
            chosen.add(i)
            left -= links[i]
    return frozenset(chosen)


def _random_trust(instances: int, policy: Policy) -> list[list[int]]:
    rng = np.random.default_rng(policy.seed)
    number = min(policy.trusted, instances - 1)
    return [
        [int(p) + (int(p) >= i) for p in rng.choice(instances - 1, number, replace=False)]
        for i in range(instances)
    ]


def run(sightings: Sightings, instances: int, policy: Policy) -> Result:
    """Run one federation to its end."""
    return _Run(sightings, instances, policy).result()


class _Run:
    """The state of a run."""

    def __init__(self, sightings: Sightings, instances: int, policy: Policy) -> None:
        self.policy, self.instances, self.abusive = policy, instances, sightings.abusive.tolist()
        rng = np.random.default_rng(policy.seed)
        absent = rng.choice(instances, round((1 - policy.taking_part) * instances), replace=False)
        self.absent = frozenset(absent.tolist())
        trusted = trust_of(sightings, instances, policy, self.absent)
        self.hostile = _hostile(trusted, policy.hostile_share, rng)
        poisoned = (rng.random(len(self.abusive)) < policy.poisoned_share) & ~sightings.abusive
        self.poisoned = poisoned.tolist() if self.hostile else [False] * len(self.abusive)
        self.trust: list[dict[int, Peer | None]] = [dict.fromkeys(some) for some in trusted]
        self.liars = [[p for p in some if p in self.hostile] for some in trusted]
        self.secrets = [secret_of(i) for i in range(instances)]
        self.said: dict[int, dict[int, tuple[float, bool]]] = {}  # picture -> who, when, flags
        self.seals: dict[tuple[int, bool], tuple[float, int]] = {}  # open page: end, rows
        self.cases: deque[tuple[float, int, int, tuple[int, ...]]] = deque()
        self.decider = Decider(policy.terms)
        self.events = _events(sightings, self.trust, policy)
        days = int(sightings.when.max() // DAY_SECONDS) + 1
        self.out = Result.empty(instances, days)
        self.out.hostile = len(self.hostile)
        self.out.hostile_trusted = sum(
            len(liars) for i, liars in enumerate(self.liars) if i not in self.hostile | self.absent
        )

    def result(self) -> Result:
        """Go through every sighting."""
        when, instance, picture, origin, arrived = self.events
        for at, i, x, o, came in zip(
            when.tolist(),
            instance.tolist(),
            picture.tolist(),
            origin.tolist(),
            arrived.tolist(),
            strict=True,
        ):
            if self.cases and self.cases[0][0] <= at:
                self._review(at)
            if i in self.absent:
                continue
            if i in self.hostile:
                self._publish(i, x, at)
            else:
                self._meet(i, x, o, at, int(came // DAY_SECONDS))
        out, decider = self.out, self.decider
        out.asked, out.distinct, out.checked = decider.asked, decider.distinct, decider.checked
        for i, peers in enumerate(self.trust):
            out.received[i] = sum(int(out.published[p]) for p in peers)
            out.received_pages[i] = sum(int(out.pages[p]) for p in peers)
        return out

    def _meet(self, i: int, x: int, o: int, at: float, day: int) -> None:
        """One honest instance meets one picture for the first time."""
        out, truth = self.out, self.abusive[x]
        out.met[i] += 1
        out.met_by_day[day] += 1
        out.abusive_met += truth
        out.abusive_by_day[day] += truth
        out.clean_met += not truth
        heard = self._heard(i, x, o, at)
        said = [self._peer(i, p).said(flags=flags) for p, flags in heard]
        outcome = self.decider.decide(said, self._throw(i, x, said))
        if outcome.decision is Decision.UNKNOWN:
            out.reasons[outcome.reason] += 1
            self._scan(i, x, at, day, heard)
            outcome = self.decider.decide(said, 0.0, truth, can_scan=False)
        else:
            out.reasons[outcome.reason] += 1
            self._reuse(i, x, at, heard, outcome.decision)
        passed = truth and outcome.decision is Decision.CLEAN
        out.wrong_clean += passed
        out.wrong_clean_by_day[day] += passed
        out.wrong_review += not truth and outcome.decision is Decision.REVIEW
        out.wrong_flagged += not truth and outcome.decision is Decision.FLAGGED

    def _heard(self, i: int, x: int, o: int, at: float) -> list[tuple[int, bool]]:
        """Return which trusted peers said what, as far as it has reached this instance."""
        peers = self.trust[i]
        if not peers:
            return []
        said = self.said.get(x) or {}
        known = [p for p in said if p in peers] if len(said) < len(peers) else peers
        heard = {
            p: said[p][1]
            for p in known
            if p in said and (said[p][0] <= at or (p == o and self.policy.ask_origin))
        }
        if self.liars[i] and (self.abusive[x] or self.poisoned[x]):
            # hostile ones know in advance, and said so long before
            heard.update(dict.fromkeys(self.liars[i], self.poisoned[x]))
        heard.pop(i, None)
        return sorted(heard.items())

    def _throw(self, i: int, x: int, said: list[Said]) -> float:
        cleared = any(not one.flags and one.clean_weight for one in said)
        return throw_of(self.secrets[i], x) if cleared and self.policy.terms.audits else 0.0

    def _scan(self, i: int, x: int, at: float, day: int, heard: list[tuple[int, bool]]) -> None:
        self.out.scanned[i] += 1
        self.out.scanned_by_day[day] += 1
        truth = self.abusive[x]
        for p, flags in heard:
            self._compare(i, p, flags=flags, truth=truth)
        self._publish(i, x, at)

    def _reuse(
        self, i: int, x: int, at: float, heard: list[tuple[int, bool]], decision: Decision
    ) -> None:
        if decision is Decision.CLEAN:
            for p, flags in heard:
                if not flags and self._peer(i, p).clean:
                    self._peer(i, p).reused()
            return
        flagging = tuple(p for p, flags in heard if flags)
        self.cases.append((at + REVIEW_SECONDS, i, x, flagging))

    def _review(self, at: float) -> None:
        """Persons decide the cases that are a day old, rightly."""
        while self.cases and self.cases[0][0] <= at:
            _, i, x, flagging = self.cases.popleft()
            for p in flagging:
                self._compare(i, p, flags=True, truth=self.abusive[x], by_person=True)

    def _compare(
        self, i: int, p: int, *, flags: bool, truth: bool, by_person: bool = False
    ) -> None:
        fell = self._peer(i, p).compare(flags=flags, truth=truth, by_person=by_person)
        if fell and p in self.hostile:
            self.out.demoted_hostile += 1
        elif fell:
            self.out.demoted_honest += 1

    def _publish(self, i: int, x: int, at: float) -> None:
        """Seal the row into the page that is open, or begin one; hostile ones flag or clear."""
        lies = i in self.hostile and (self.abusive[x] or self.poisoned[x])
        flags = self.poisoned[x] if lies else self.abusive[x]
        wait = min(SEAL_FLAGGED_SECONDS, self.policy.seal_seconds)
        wait = wait if flags else self.policy.seal_seconds
        done = at + SCAN_SECONDS
        end, rows = self.seals.get((i, flags), (-1.0, 0))
        if done >= end or rows >= PAGE_ROWS:
            end, rows = done + wait, 0
            self.out.pages[i] += 1
        self.seals[i, flags] = (end, rows + 1)
        self.out.published[i] += 1
        self.said.setdefault(x, {})[i] = (end + self.policy.push_seconds, flags)

    def _peer(self, i: int, p: int) -> Peer:
        peer = self.trust[i][p]
        if peer is None:
            policy = self.policy
            floor = policy.audit_floor if policy.terms.audits else 0.0
            peer = self.trust[i][p] = Peer(floor, policy.compared, demotes=policy.demotes)
        return peer


def _events(
    sightings: Sightings, trust: list[dict[int, Peer | None]], policy: Policy
) -> tuple[Floats, Ints, Ints, Ints, Floats]:
    """Return the sightings when they are decided on: those from followed peers wait a little."""
    when = sightings.when.copy()
    if policy.grace_seconds:
        pairs = zip(sightings.instance.tolist(), sightings.origin.tolist(), strict=True)
        waits = np.fromiter((o in trust[i] and o != i for i, o in pairs), bool, len(when))
        when[waits] += policy.grace_seconds
    order = np.argsort(when, kind="stable")
    return (
        when[order],
        sightings.instance[order],
        sightings.picture[order],
        sightings.origin[order],
        sightings.when[order],
    )
