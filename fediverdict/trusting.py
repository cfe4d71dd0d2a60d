"""Decides what a peer's trust becomes when an admin changes some of it. Pure.

    observed --a weight is raised--> trusted --suspend--> suspended --a weight is raised--> trusted
        ^                               |
        +------- no weight left --------+      `--preset observe` leads back from anywhere

What was not given stays as it was. Lowering a weight lifts no suspension, and lets no peer count
again that was put to observed with its weights noted (as `panic` does).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cache.judgement import LabelTrust, PeerState, Trust
from cache.trust.trust import weighs

PRESETS: Mapping[str, tuple[int, int]] = {
    "observe": (0, 0),
    "trust-clean": (100, 0),
    "trust-all": (100, 100),
}
"""Clean and flag weight (hundredths) of each preset; weights of single labels go with it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an admin wants otherwise; None leaves it, weights are hundredths."""

    clean: int | None = None
    flag: int | None = None
    labels: tuple[str, ...] = ()  # set the weights for these alone
    preset: str | None = None
    heard: tuple[str, ...] = ()
    max_age_days: int | None = None
    audit_floor: float | None = None
    min_agreement: float | None = None
    operator: str | None = None  # "" for none

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is wanted; labels alone say nothing."""
        return replace(self, labels=()) == Wish()

    @property
    def raises(self) -> bool:
        """Whether it gives any weight."""
        return bool(self.clean or self.flag or any(PRESETS.get(self.preset or "", ())))


def granted(trust: Trust, wish: Wish) -> Trust:
    """Return the trust as wished."""
    after = _weighted(trust, wish)
    after = replace(
        after,
        heard=frozenset(wish.heard) or after.heard,
        max_age_days=after.max_age_days if wish.max_age_days is None else wish.max_age_days,
        audit_floor=after.audit_floor if wish.audit_floor is None else wish.audit_floor,
        min_agreement=after.min_agreement if wish.min_agreement is None else wish.min_agreement,
        operator=after.operator if wish.operator is None else wish.operator or None,
    )
    return replace(after, state=_state(after, wish))


def _weighted(trust: Trust, wish: Wish) -> Trust:
    if wish.preset is not None:
        clean, flag = PRESETS[wish.preset]
        return replace(trust, clean=clean, flag=flag, labels={})
    if wish.labels:
        overrides = {label: _override(trust, label, wish) for label in wish.labels}
        return replace(trust, labels={**trust.labels, **overrides})
    return replace(
        trust,
        clean=trust.clean if wish.clean is None else wish.clean,
        flag=trust.flag if wish.flag is None else wish.flag,
    )


def _override(trust: Trust, label: str, wish: Wish) -> LabelTrust:
    before = trust.labels.get(label, LabelTrust())
    return LabelTrust(
        before.clean if wish.clean is None else wish.clean,
        before.flag if wish.flag is None else wish.flag,
    )


def _state(after: Trust, wish: Wish) -> PeerState:
    if wish.preset == "observe":
        return PeerState.OBSERVED
    if wish.raises:
        return PeerState.TRUSTED
    ends = after.state is PeerState.TRUSTED and not weighs(after)
    return PeerState.OBSERVED if ends else after.state
