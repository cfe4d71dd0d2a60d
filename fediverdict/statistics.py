"""What the counts tell: how much inference was saved, by which matches, and thanks to whom.

Decides how the counts of `tally` are summed up, and the JSON of `fediverdict stats`, documented
in docs/stats.md. Reads only.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from cache.memory.counts import (
    SECONDS_PER_DAY,
    Held,
    Stored,
    counts_since,
    first_day,
    held_by_issuer,
    open_cases,
    unread_notices,
)
from cache.verdict import Decision, MatchKind
from fediverdict.tally import BY_PEERS, MILLISECONDS, How

SETTLED = (Decision.CLEAN, Decision.REVIEW, Decision.FLAGGED)


@dataclass(frozen=True, slots=True)
class Stats:
    """What is known of the days asked for, and what is held now."""

    since: int  # days since 1970-01-01 UTC
    first: int | None  # the first day of which counts are held
    counts: Sequence[Stored]
    held: Sequence[Held]
    open_cases: int
    unread_notices: int

    def answers(self, *how: How, **wanted: str) -> int:
        """Return how many answers came about in one of these ways, and were of that kind."""
        return sum(
            one.number
            for one in self.counts
            if one.origin is None
            and (parts := _parts(one.what))
            and parts["how"] in how
            and all(parts[name] == value for name, value in wanted.items())
        )

    def of_peer(self, origin: str, decision: Decision) -> int:
        """Return how many answers a peer's verdicts settled, or helped to, without a scan."""
        return sum(
            one.number for one in self.counts if one.origin == origin and one.what == decision
        )

    @property
    def saved(self) -> float | None:
        """The share of the judgeable pictures that took no inference here, 0..1."""
        return self._share(self.answers(How.REUSED))

    @property
    def saved_by_peers(self) -> float | None:
        """The part of `saved` in which verdicts of peers had a part."""
        return self._share(self._number(BY_PEERS))

    def mean_milliseconds(self, how: How) -> float | None:
        """Return how long answers of this way took in the mean."""
        spent = self._number(MILLISECONDS[how])
        return spent / number if (number := self.answers(how)) else None

    @property
    def saved_seconds(self) -> float | None:
        """An estimate: what the reused answers would have taken more, had they been scanned."""
        scan, reuse = (self.mean_milliseconds(how) for how in (How.SCANNED, How.REUSED))
        if scan is None or reuse is None:
            return None
        return max(0.0, self.answers(How.REUSED) * (scan - reuse) / 1000)

    def _number(self, what: str) -> int:
        return sum(one.number for one in self.counts if one.what == what and one.origin is None)

    def _share(self, answers: int) -> float | None:
        judged = self.answers(How.REUSED, How.SCANNED, How.OPEN)
        return answers / judged if judged else None


def read_stats(connection: Connection, since: int) -> Stats:
    """Return the statistics from that day on."""
    return Stats(
        since,
        first_day(connection),
        counts_since(connection, since),
        held_by_issuer(connection),
        open_cases(connection),
        unread_notices(connection),
    )


def stats_json(found: Stats) -> dict[str, Any]:
    """Return the statistics as documented in docs/stats.md."""
    return {
        "since": date_of(found.since),
        "answers": {
            how.value: {
                decision.value: number
                for decision in Decision
                if (number := found.answers(how, decision=decision))
            }
            for how in How
        },
        "reused_by_match": {
            kind.value: number
            for kind in MatchKind
            if (number := found.answers(How.REUSED, kind=kind))
        },
        "reasons": _reasons(found),
        "inference_saved": _rounded(found.saved, 4),
        "inference_saved_by_peers": _rounded(found.saved_by_peers, 4),
        "mean_scan_ms": _rounded(found.mean_milliseconds(How.SCANNED)),
        "mean_reuse_ms": _rounded(found.mean_milliseconds(How.REUSED)),
        "estimated_seconds_saved": _rounded(found.saved_seconds),
        "issuers": [_issuer_json(found, one) for one in found.held],
        "open_cases": found.open_cases,
        "unread_notices": found.unread_notices,
    }


def _issuer_json(found: Stats, one: Held) -> dict[str, Any]:
    return {
        "issuer": one.origin,
        "verdicts": one.verdicts,
        "codes": one.codes,
        "reused": {decision.value: found.of_peer(one.origin, decision) for decision in SETTLED},
        "clean_compared": one.clean_compared,
        "clean_false": one.clean_false,
        "flag_compared": one.flag_compared,
        "flag_agreed": one.flag_agreed,
    }


def _reasons(found: Stats) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for one in found.counts:
        if one.origin is None and (parts := _parts(one.what)):
            reasons[parts["reason"]] = reasons.get(parts["reason"], 0) + one.number
    return reasons


def _parts(what: str) -> dict[str, str]:
    """Return what an answer was counted as; empty for what is no answer."""
    parts = what.split()
    return dict(zip(("how", "decision", "kind", "reason"), parts, strict=True)) if parts[3:] else {}


def date_of(day: int) -> str:
    """Return a day as 2026-01-31."""
    return time.strftime("%Y-%m-%d", time.gmtime(day * SECONDS_PER_DAY))


def _rounded(number: float | None, digits: int = 1) -> float | None:
    return None if number is None else round(number, digits)
