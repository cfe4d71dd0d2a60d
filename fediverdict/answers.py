"""How an answer looks as JSON, the same in the API and on the command line."""

from typing import Any

from cache.outcome import explain
from cache.verdict import SELF, Match, MatchKind
from fediverdict.judge import Answer


def answer_json(answer: Answer, *, show_distance: bool = False) -> dict[str, Any]:
    """Return the answer as the API documents it; hashes are lower-case hex."""
    outcome = answer.outcome
    made_by = outcome.matches if outcome else ()
    match: dict[str, Any] = {"kind": outcome.kind if outcome else MatchKind.NONE}
    if show_distance:
        match["distance"] = outcome.distance if outcome else 0
    return {
        "decision": answer.decision,
        "reason": outcome.reason if outcome else answer.decision,
        "explanation": _explanation(answer, show_distance=show_distance),
        "match": match,
        "fingerprint": _fingerprint_json(answer),
        "scores": _scores(answer, made_by),
        "rules": list(outcome.rules) if outcome else [],
        "sources": [_source(found) for found in made_by],
        "scanned": answer.scanned,
        "inside": list(answer.inside),
        "elapsed_ms": round(answer.seconds * 1000, 2),
    }


def _explanation(answer: Answer, *, show_distance: bool) -> str:
    if answer.outcome is None:
        return answer.sentence
    return explain(answer.outcome, show_distance=show_distance)


def _fingerprint_json(answer: Answer) -> dict[str, Any] | None:
    found = answer.fingerprint
    if found is None:
        return None
    return {
        "sha256": _hex(found.sha256),
        "content": _hex(found.content),
        "pdq": _hex(found.pdq),
        "pdq_quality": found.pdq_quality,
        "phash": _hex(found.phash),
    }


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value else None


def _scores(answer: Answer, made_by: tuple[Match, ...]) -> dict[str, int | None]:
    """Return the scores of the verdict that decided, else our own newest."""
    own = sorted(answer.own, key=lambda verdict: verdict.issued, reverse=True)
    deciding = [match.verdict for match in made_by] + own
    return next((dict(verdict.scores) for verdict in deciding if verdict.scores), {})


def _source(match: Match) -> dict[str, Any]:
    verdict = match.verdict
    return {
        "issuer": verdict.issuer if verdict.issuer != SELF else "self",
        "pipeline": verdict.pipeline,
        "issued": verdict.issued,
        "expires": verdict.expires,
    }
