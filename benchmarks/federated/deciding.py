"""Puts the simulation's questions to the real `cache.decide`, each distinct one once.

A question is how many trusted peers call the picture clean and how many flag it, how many of each
still weigh anything, what our own scan said, and whether the audit throw lies under the largest
rate; peers are alike but for that. Its answer is decided by the real `decide` over real verdicts,
trust and throw when it first comes up, and remembered; every `CHECK_EVERY`-th one that is
remembered is decided again and must be the same.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cache.decide import decide
from cache.judgement import Judgement, PeerState, PipelineState, PipelineTerms, Trust
from cache.outcome import Outcome
from cache.rules import parse
from cache.secret import audit_throw
from cache.verdict import SELF, Basis, Evidence, Feed, Match, MatchKind, Verdict

CHECK_EVERY = 997
PIPELINE = "00" * 32
LABEL = "abusive"
NOW = 1_795_000_000
SCORES = {False: {LABEL: 100}, True: {LABEL: 9_900}}


class Said(NamedTuple):
    """What one trusted peer says of the picture, and how it is trusted by now."""

    flags: bool
    clean_weight: int  # hundredths
    flag_weight: int
    audit_rate: float

    @property
    def weighs(self) -> bool:
        """Whether what it says can count."""
        return bool(self.flag_weight if self.flags else self.clean_weight)


@dataclass(frozen=True)
class Terms:
    """What an instance of the simulation decides by."""

    clean_quorum: int = 100
    flag_quorum: int = 200
    audits: bool = True


class Decider:
    """Decides, and counts how often it was asked and how often `decide` was."""

    def __init__(self, terms: Terms) -> None:
        self._judgement = Judgement(
            rules={"abusive": parse(LABEL)},
            pipelines={PIPELINE: PipelineTerms({LABEL: 5_000}, PipelineState.DEFAULT)},
            clean_quorum=terms.clean_quorum,
            flag_quorum=terms.flag_quorum,
            audits=terms.audits,
        )
        self._known: dict[tuple[object, ...], Outcome] = {}
        self.asked = 0
        self.checked = 0

    @property
    def distinct(self) -> int:
        """How many distinct questions there were."""
        return len(self._known)

    def decide(
        self, said: Sequence[Said], throw: float, own: bool | None = None, *, can_scan: bool = True
    ) -> Outcome:
        """Return the outcome; `own` is whether our scan flags, None before it."""
        self.asked += 1
        key = _signature(said, throw, own, can_scan=can_scan)
        outcome = self._known.get(key)
        if outcome is None:
            outcome = self._known[key] = self._really(said, throw, own, can_scan=can_scan)
        elif self.asked % CHECK_EVERY == 0:
            self.checked += 1
            again = self._really(said, throw, own, can_scan=can_scan)
            if (again.decision, again.reason) != (outcome.decision, outcome.reason):
                raise AssertionError(f"{key}: {again.reason} and {outcome.reason}")
        return outcome

    def _really(
        self, said: Sequence[Said], throw: float, own: bool | None, *, can_scan: bool
    ) -> Outcome:
        names = [f"https://{number}.example" for number in range(len(said))]
        trust = {
            name: Trust(
                clean=one.clean_weight,
                flag=one.flag_weight,
                audit_rate=one.audit_rate,
                state=PeerState.TRUSTED,
            )
            for name, one in zip(names, said, strict=True)
        }
        matches = [
            Match(MatchKind.EXACT, _verdict(name, Feed.FLAGGED if one.flags else Feed.CLEAN))
            for name, one in zip(names, said, strict=True)
        ]
        if own is not None:
            verdict = replace(_verdict(SELF, Feed.OWN), scores=SCORES[own])
            matches.append(Match(MatchKind.EXACT, verdict))
        judgement = replace(self._judgement, trust=trust)
        evidence = Evidence(tuple(matches))
        return decide(evidence, judgement, now=NOW, can_scan=can_scan, throw=throw)


def _signature(
    said: Sequence[Said], throw: float, own: bool | None, *, can_scan: bool
) -> tuple[object, ...]:
    clean = idle_clean = flags = idle_flags = 0
    rate = 0.0
    for one in said:
        if one.flags:
            flags, idle_flags = (
                (flags + 1, idle_flags) if one.flag_weight else (flags, idle_flags + 1)
            )
        elif one.clean_weight:
            clean += 1
            rate = max(rate, one.audit_rate)
        else:
            idle_clean += 1
    return (clean, idle_clean, flags, idle_flags, throw < rate, own, can_scan)


def _verdict(issuer: str, feed: Feed) -> Verdict:
    return Verdict(
        issuer=issuer,
        sha256=bytes(32),
        content=bytes(32),
        feed=feed,
        basis=Basis.MODEL,
        issued=NOW - 60,
        expires=NOW + 86_400,
        pipeline=PIPELINE,
        scores=SCORES[feed is Feed.FLAGGED],
    )


def secret_of(instance: int) -> bytes:
    """Return the secret of a simulated instance (32 bytes)."""
    return hashlib.sha256(b"instance %d" % instance).digest()


def throw_of(secret: bytes, picture: int) -> float:
    """Return the audit throw of a picture at an instance, by the real function.

    All rows on a picture claim the same content.
    """
    content = picture.to_bytes(32, "big")
    return audit_throw(secret, Evidence(), content, Judgement({}, {}))
