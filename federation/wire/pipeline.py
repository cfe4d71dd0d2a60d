"""Pipelines as pages carry them: a description of five strings, whose digest is the id.

Readers compute ids themselves. A description is a claim: believing it is believing the peer.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from federation.errors import BadPage
from federation.wire.strictjson import canonical

KEYS: Final = frozenset({"architecture", "policy", "precision", "preprocessing", "weights"})
MAX_TEXT_CHARACTERS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What produced scores; `id` is the lower-case hex SHA-256 of the RFC 8785 description."""

    id: str
    description: Mapping[str, str]


def pipeline_id(description: Mapping[str, str]) -> str:
    """Return the id of a description."""
    return hashlib.sha256(canonical(dict(description))).hexdigest()


def parse_pipeline(value: object) -> Pipeline:
    """Return the pipeline that a page describes; raises `BadPage`."""
    if not isinstance(value, dict) or value.keys() != KEYS:
        raise BadPage(f"a pipeline's description has exactly the keys {sorted(KEYS)}")
    if not all(isinstance(text, str) for text in value.values()):
        raise BadPage("a pipeline's description holds something else than strings")
    if any(len(text) > MAX_TEXT_CHARACTERS for text in value.values()):
        raise BadPage(f"a pipeline's description has over {MAX_TEXT_CHARACTERS} characters")
    return Pipeline(pipeline_id(value), value)
