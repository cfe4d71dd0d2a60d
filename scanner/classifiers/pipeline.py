"""What produced scores: a description of five strings, and its id.

The description travels with verdicts and readers compute the id, so the form is fixed:
RFC 8785 JSON, SHA-256, lower-case hex.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from scanner.classifiers.windows import RATIO, WINDOWS_MAX

FIELDS = ("architecture", "policy", "precision", "preprocessing", "weights")


def describe(
    *, architecture: str, policy: str, precision: str, preprocessing: str, weights: str
) -> dict[str, str]:
    """Return the description of a pipeline; `policy` and `weights` are hex digests."""
    return {
        "architecture": architecture,
        "policy": policy,
        "precision": precision,
        "preprocessing": preprocessing,
        "weights": weights,
    }


def pipeline_id(description: Mapping[str, str]) -> str:
    """Return the hex SHA-256 of a description's RFC 8785 form.

    Raises ValueError when it has not exactly the five fields, all strings.
    """
    if set(description) != set(FIELDS):
        raise ValueError(f"a pipeline has exactly the fields {', '.join(FIELDS)}")
    if not all(isinstance(value, str) for value in description.values()):
        raise ValueError("every field of a pipeline is a string")
    return hashlib.sha256(rfc8785.dumps(dict(description))).hexdigest()


def family_of(description: Mapping[str, str]) -> str:
    """Return what is equal for two pipelines that differ in nothing but precision (hex)."""
    rest = {name: value for name, value in description.items() if name != "precision"}
    return hashlib.sha256(rfc8785.dumps(rest)).hexdigest()


def whole_picture(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return open_clip's preprocessing settings so that nothing is cropped away unseen.

    open_clip scales the short side and keeps the middle; here the picture is squashed instead.
    """
    mode = settings.get("resize_mode", "shortest")
    return {**settings, "resize_mode": "squash" if mode == "shortest" else mode}


def preprocessing_text(settings: Mapping[str, Any]) -> str:
    """Return open_clip's preprocessing settings, and how long frames are cut, as sorted JSON."""
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}
    plain["windows"] = [RATIO, WINDOWS_MAX]
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))
