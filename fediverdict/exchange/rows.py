"""Turns the object of one line into a list entry or a verdict; believes nothing but its shape.

Raises BadRow with what is wrong, for people. Reading lines is left to `lines`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.memory.lists import LIFE_DAYS, SECONDS_PER_DAY, Entry
from cache.rules import is_label
from cache.verdict import Basis, Feed, Finding, Verdict
from scanner.classifiers.pipeline import FIELDS, pipeline_id

HASH_BYTES = 32
BITS = 8 * HASH_BYTES
MAX_TIME = 2**53
MAX_FRAMES = 2**31 - 1
MAX_QUALITY = 100
MAX_SCORE = 10_000
MAX_LABELS = 200
MAX_PART = 2_000
"""Characters of a part of a pipeline's description, fewer than that."""


class BadRow(ValueError):
    """What is wrong with a line, said for people."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An exported verdict, with the description of its pipeline (None for a person's)."""

    verdict: Verdict
    pipeline: Mapping[str, str] | None = None


Row = Entry | Judged


def row_of(value: Mapping[str, Any]) -> Row | None:
    """Return the object of a line as an entry of a list, or as a verdict."""
    if "basis" in value:
        return _judged(value)
    pdq = value.get("pdq")
    bits = value.get("pdq_hash_binary")
    quality = value.get("pdq_quality", value.get("quality", MAX_QUALITY))
    code = code_of_bits(bits) if bits is not None else hash_of(pdq, "pdq") if pdq else None
    entry = Entry(
        hash_of(value["sha256"], "sha256") if value.get("sha256") else None,
        hash_of(value["content"], "content") if value.get("content") else None,
        code,
        quality_of(quality) if code else None,
        _name(value["rule"], "rule") if value.get("rule") else None,
    )
    if entry.sha256 is None and entry.content is None and entry.pdq is None:
        raise BadRow("it names no picture: give pdq, sha256 or content")
    return entry


def _judged(value: Mapping[str, Any]) -> Judged | None:
    """Return an exported verdict; None for a finding that is not against the picture."""
    if value["basis"] == "human":
        if value["finding"] != Finding.UPHELD:
            return None
        return Judged(_common(value, Basis.HUMAN, rule=_name(value["rule"], "rule")))
    if value["basis"] != "model":
        raise BadRow("basis is model or human")
    pipeline, scores = value["pipeline"], value["scores"]
    if not isinstance(pipeline, dict) or sorted(pipeline) != sorted(FIELDS):
        raise BadRow(f"pipeline is an object of {', '.join(sorted(FIELDS))}")
    if not all(isinstance(part, str) and len(part) < MAX_PART for part in pipeline.values()):
        raise BadRow("the parts of a pipeline are text")
    return Judged(_common(value, Basis.MODEL, scores=_scores(scores), pipeline=pipeline), pipeline)


def _common(
    value: Mapping[str, Any],
    basis: Basis,
    *,
    rule: str | None = None,
    scores: Mapping[str, int | None] | None = None,
    pipeline: Mapping[str, str] | None = None,
) -> Verdict:
    seen = _number(value.get("frames_seen", 1), MAX_FRAMES)
    total = _number(value.get("frames_total", 1), MAX_FRAMES)
    flagged = basis is Basis.HUMAN or bool(value.get("flags")) or seen < total
    pdq = value.get("pdq")
    issued = _number(value["issued"], MAX_TIME)
    return Verdict(
        issuer="",
        sha256=hash_of(value["sha256"], "sha256"),
        feed=Feed.FLAGGED if flagged else Feed.CLEAN,
        basis=basis,
        issued=issued,
        expires=_expiry(value, basis, issued),
        content=hash_of(value["content"], "content") if value.get("content") else None,
        pdq=hash_of(pdq, "pdq") if pdq else None,
        pdq_quality=quality_of(value.get("pdq_quality", 0)) if pdq else None,
        pipeline=pipeline_id(pipeline) if pipeline else None,
        scores=scores or {},
        rule=rule,
        finding=Finding.UPHELD if basis is Basis.HUMAN else None,
        frames_seen=seen,
        frames_total=total,
    )


def _expiry(value: Mapping[str, Any], basis: Basis, issued: int) -> int:
    """Return when a verdict ends; what a person found ends with the list if no date is given."""
    if basis is Basis.HUMAN and value.get("expires") is None:
        return issued + LIFE_DAYS * SECONDS_PER_DAY
    return _number(value["expires"], MAX_TIME)


def _scores(value: Any) -> dict[str, int | None]:
    if not isinstance(value, dict) or len(value) > MAX_LABELS:
        raise BadRow(f"scores is an object of at most {MAX_LABELS} labels")
    return {
        _name(label, "label"): None if score is None else _number(score, MAX_SCORE)
        for label, score in value.items()
    }


def hash_of(text: Any, name: str) -> bytes:
    """Return 32 bytes given as hex digits; `name` is what they are called."""
    try:
        found = bytes.fromhex(text)
    except (TypeError, ValueError):
        found = b""
    if len(found) != HASH_BYTES or len(text) != 2 * HASH_BYTES:
        raise BadRow(f"{name} is {2 * HASH_BYTES} hex digits, not {str(text)[:80]!r}")
    return found


def code_of_bits(text: Any) -> bytes:
    """Return PieFed's 0/1 characters, the first one the highest bit."""
    if not isinstance(text, str) or len(text) != BITS or not set(text) <= {"0", "1"}:
        raise BadRow(f"a binary hash is {BITS} characters 0 and 1")
    return int(text, 2).to_bytes(HASH_BYTES, "big")


def quality_of(value: Any) -> int:
    """Return a PDQ quality."""
    return _number(value, MAX_QUALITY, "a quality")


def _number(value: Any, most: int, name: str = "a number there") -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise BadRow(f"{name} is an integer 0..{most}, not {str(value)[:20]!r}")
    return value


def _name(value: Any, kind: str) -> str:
    if not isinstance(value, str) or not is_label(value):
        raise BadRow(f"{str(value)[:80]!r} cannot name a {kind}")
    return value
