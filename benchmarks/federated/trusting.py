"""Keeps how a simulated instance trusts one peer, by the real record and the real formulas.

What is a comparison's result, what the audit rate is after so many, and what ends a weight come
from `cache.trust.agreement` and `cache.trust.track_record`; here stands only when the simulation
compares.
"""

from benchmarks.federated.deciding import Said
from cache.trust.agreement import Compared, Result, audit_rate
from cache.trust.track_record import Counts, TrackRecord
from cache.verdict import Feed

MIN_AGREEMENT = 0.95
VETERAN = 2_000
"""How many comparisons without a fault a veteran starts with."""

_AGREED = Compared(Result.AGREED, frozenset())
_FALSE_CLEAN = Compared(Result.FALSE_CLEAN, frozenset())
_FALSE_FLAG = Compared(Result.FALSE_FLAG, frozenset())
_FALSE_FLAG_BY_PERSON = Compared(Result.FALSE_FLAG, frozenset(), by_person=True)


class Peer:
    """A peer as one instance trusts it; weights are hundredths."""

    __slots__ = ("clean", "demotes", "flag", "floor", "record")

    def __init__(self, floor: float, compared: int, *, demotes: bool = True) -> None:
        self.clean = self.flag = 100
        self.floor, self.demotes = floor, demotes
        self.record = TrackRecord(
            {
                "": Counts(
                    clean_compared=compared,
                    flag_compared=compared // 100,
                    flag_agreed=compared // 100,
                    since_false=compared,
                    hits_since_false=compared,
                )
            }
        )

    def said(self, *, flags: bool) -> Said:
        """Return what it says, with what it weighs now."""
        rate = audit_rate(self.floor, self.record.any.since_false) if self.floor else 0.0
        return Said(flags, self.clean, self.flag, rate)

    def reused(self) -> None:
        """Count a clean verdict that was reused, as `fediverdict.tally` does."""
        self.record.any.hits_since_false += 1

    def compare(self, *, flags: bool, truth: bool, by_person: bool = False) -> bool:
        """Compare what it said with what is true; tell whether a weight fell."""
        if flags:
            return self._compare_flag(truth=truth, by_person=by_person)
        fall = self.record.count(Feed.CLEAN, _FALSE_CLEAN if truth else _AGREED)
        if fall is None or not self.demotes or not self.clean:
            return False
        self.clean = 0
        return True

    def _compare_flag(self, *, truth: bool, by_person: bool) -> bool:
        false = _FALSE_FLAG_BY_PERSON if by_person else _FALSE_FLAG
        self.record.count(Feed.FLAGGED, _AGREED if truth else false)
        if not self.demotes or not self.flag or not self.record.flags_fail(MIN_AGREEMENT):
            return False
        self.flag = 0
        return True
