"""Measures the bundled tiny model on what it never saw, through the scanner's own path.

Writes benchmarks/results/tiny_model.json: recall of held-out test patterns and of their
copies, false positives on held-out photos, and how far the scores stay from the threshold.
"""

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from scanner.classifiers.classifier import combine, score_frames
from scanner.classifiers.engine import load_classifier
from scanner.decoding.shown import read_shown
from scanner.limits import Limits
from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import KINDS, draw_noise, draw_pattern, draw_shape
from tools.copies import COPIES

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "tiny_model.json"
HELD_OUT_SEED = 1_000_000
PATTERNS_A_KIND, SHAPES_AND_NOISE = 10, 24
SIZE = (640, 480)
Truth = str | None
"""The label that a picture is, None for neither."""


def evaluate(photos: Path | None, patterns_a_kind: int = PATTERNS_A_KIND) -> dict[str, object]:
    """Score every held-out picture in every copy; return and write the figures."""
    classifier = load_classifier(ScannerSettings(), load_policy("test"))
    thresholds = load_policy("test").thresholds()
    scores: dict[tuple[str, str, Truth], list[dict[str, int]]] = defaultdict(list)
    for group, truth, image in _pictures(photos, patterns_a_kind):
        for name, copy in COPIES.items():
            buffer = io.BytesIO()
            copy(image).save(buffer, "PNG")
            frames = read_shown(buffer.getvalue(), Limits()).frames
            scores[group, name, truth].append(combine(score_frames(classifier, frames)))
    rows = [_row(*key, found, thresholds) for key, found in sorted(scores.items(), key=str)]
    result: dict[str, object] = {"pipeline": dict(classifier.pipeline), "rows": rows}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _pictures(
    photos: Path | None, patterns_a_kind: int
) -> Iterator[tuple[str, Truth, Image.Image]]:
    """Yield group, truth and picture; no seed and no photo of these was in the training."""
    for number, kind in enumerate(KINDS):
        for turn in range(patterns_a_kind):
            seed = HELD_OUT_SEED + number * 1000 + turn
            yield f"pattern {kind}", "test-pattern", draw_pattern(seed, SIZE, kind)
    held = sorted((photos / "held").glob("*.jpg")) if photos else []
    demo = sorted((ROOT / "fediverdict" / "demo_photos").glob("*.jpg"))
    for path in held:
        yield "wallpapers held out", None, Image.open(path).convert("RGB")
    for path in demo:
        yield "photos of the demo", None, Image.open(path).convert("RGB")
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + SHAPES_AND_NOISE):
        ground = Image.open(demo[seed % len(demo)]) if seed % 2 else None
        yield "shapes", "shape", draw_shape(seed, SIZE, ground)
        yield "noise", None, draw_noise(seed, SIZE)


def _row(
    group: str, copy: str, truth: Truth, found: list[dict[str, int]], thresholds: dict[str, int]
) -> dict[str, object]:
    """Return how many of a group were judged right for each label, and the closest score."""
    row: dict[str, object] = {"group": group, "copy": copy, "pictures": len(found)}
    for label, threshold in thresholds.items():
        values = np.array([scores[label] for scores in found])
        right = values >= threshold if truth == label else values < threshold
        closest = values.min() if truth == label else values.max()
        row[label] = {"right": int(right.sum()), "closest": int(closest)}
    return row


def report(result: dict[str, object]) -> str:
    """Return the rows summed up by group as lines of text."""
    groups: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in result["rows"]:  # type: ignore[attr-defined]
        groups[row["group"]].append(row)
    lines = []
    for group, rows in groups.items():
        total = sum(row["pictures"] for row in rows)  # type: ignore[misc]
        for label in ("test-pattern", "shape"):
            right = sum(row[label]["right"] for row in rows)  # type: ignore[index]
            scores = [row[label]["closest"] for row in rows]  # type: ignore[index]
            lines.append(f"{group:22} {label:13} right {right}/{total}, closest {_range(scores)}")
    return "\n".join(lines)


def _range(scores: list[int]) -> str:
    return f"{min(scores)}..{max(scores)}"
