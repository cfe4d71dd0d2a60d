"""What deciding ends in: a decision, its reason, and the verdicts that made it."""

from dataclasses import dataclass
from enum import StrEnum

from cache.testcard import RULE as TEST_CARD
from cache.verdict import SELF, Decision, FindingMatch, Match, MatchKind


class Reason(StrEnum):
    """Which clause decided (design, "Deciding"); a closed list."""

    PERSON_UPHELD = "person-upheld"  # 1
    PERSON_ESCALATED = "person-escalated"  # 1
    OWN_FLAG = "own-flag"  # 2
    PEERS_FLAG = "peers-flag"  # 3
    PEERS_CONTRADICT_OWN = "peers-contradict-own"  # 3, but our own verdict clears
    BLAST_RADIUS = "blast-radius"  # 3, but one of them caused too much within the hour
    NEAR_UPHELD = "near-upheld"  # 4
    OWN_PAST_FLAG = "own-past-flag"  # 4, expired or of a retired pipeline
    NEAR_OWN_FLAG = "near-own-flag"  # 4
    OWN_CLEAR = "own-clear"  # 5
    OWN_UNDETERMINED = "own-undetermined"  # 5, and no scan is left
    NEAR_QUORUM = "near-quorum"  # 6
    SUSPECTED = "suspected"  # 6: some flags, a probable match, or a flag we cannot weigh
    PEERS_CLEAR = "peers-clear"  # 7
    AUDIT = "audit"  # 7, but this picture is scanned all the same
    NOT_COMPARED = "not-compared"  # 7, but no PDQ is known: a flagged twin of ours would be missed
    NEAR_CLEAN = "near-clean"  # 7, by a nearly equal picture, as `decide.near_clean` allows
    NO_EVIDENCE = "no-evidence"  # 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision, why, and what made it; `matches` and `findings` are sorted, strongest first."""

    decision: Decision
    reason: Reason
    rules: tuple[str, ...] = ()  # the rules flagged, by name
    kind: MatchKind = MatchKind.NONE  # the strongest match among what made it
    distance: int = 0  # of that match, in bits
    matches: tuple[Match, ...] = ()
    findings: tuple[FindingMatch, ...] = ()
    dismissed: tuple[str, ...] = ()  # the rules that a person here took out


_SENTENCES = {
    Reason.PERSON_UPHELD: "A person here upheld {rules} for this picture.",
    Reason.PERSON_ESCALATED: "A person here escalated {rules} for this picture.",
    Reason.OWN_FLAG: "Our own verdict flags {rules}.",
    Reason.PEERS_FLAG: "Trusted peers ({issuers}) flag {rules} with the flag quorum.",
    Reason.PEERS_CONTRADICT_OWN: (
        "Trusted peers ({issuers}) flag {rules} with the flag quorum, but our own verdict clears."
    ),
    Reason.BLAST_RADIUS: "Peers ({issuers}) flag {rules} with the flag quorum, but one of them"
    " caused too many actions within the hour: a person has to look.",
    Reason.NEAR_UPHELD: "It is near{distance} a picture for which a person here upheld {rules}.",
    Reason.OWN_PAST_FLAG: "Our own verdict flagged {rules}, but it has expired or its pipeline is"
    " retired.",
    Reason.NEAR_OWN_FLAG: "It is near{distance} a picture that our own verdict flags for {rules}.",
    Reason.OWN_CLEAR: "Our own verdict clears every rule.",
    Reason.OWN_UNDETERMINED: "Our own verdict leaves a rule open, and no scan is left to do.",
    Reason.NEAR_QUORUM: "Trusted peers ({issuers}) flag {rules} for this or a near picture with the"
    " flag quorum.",
    Reason.SUSPECTED: "There is some evidence against it ({kind}, {issuers}), short of the flag"
    " quorum: it has to be scanned or looked at.",
    Reason.PEERS_CLEAR: "Trusted peers ({issuers}) clear every rule with the clean quorum.",
    Reason.NOT_COMPARED: "Trusted peers ({issuers}) clear it, but without the picture or its PDQ it"
    " cannot be compared with what is flagged here: send the picture.",
    Reason.AUDIT: "{issuers} would clear it, but it is scanned all the same, to audit them.",
    Reason.NEAR_CLEAN: "It is nearly{distance} a picture that {issuers} cleared.",
    Reason.NO_EVIDENCE: "Nothing known here settles it.",
}

_OF_TEST_CARD = {
    Reason.PERSON_UPHELD: "It is the installation test card, which every installation flags.",
    Reason.NEAR_UPHELD: "It is near{distance} the installation test card; a person has to look.",
}


def explain(outcome: Outcome, *, show_distance: bool = True) -> str:
    """Return one sentence that says why, for people; the distance is not for everybody."""
    issuers = sorted({match.verdict.issuer for match in outcome.matches})
    names = ["this instance" if issuer == SELF else issuer for issuer in issuers]
    sentence = _SENTENCES[outcome.reason]
    if outcome.rules == (TEST_CARD,):
        sentence = _OF_TEST_CARD.get(outcome.reason, sentence)
    if outcome.dismissed:
        sentence += f" A person here dismissed {' and '.join(outcome.dismissed)}."
    return sentence.format(
        rules=" and ".join(outcome.rules) or "no rule",
        issuers=", ".join(names) or "this instance",
        distance=f" ({outcome.distance} bits)" if show_distance else "",
        kind=outcome.kind,
    )
