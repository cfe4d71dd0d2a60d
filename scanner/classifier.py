"""What a classifier is to the rest of the program, and how frames add up to a picture."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Protocol

from PIL import Image

from scanner.errors import ModelError

SCORE_MAX = 10_000
"""A probability of 1 as an integer score."""


class Classifier(Protocol):
    """Scores frames by labels, and says by which pipeline."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def pipeline(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def pipeline_id(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102

    def score(self, frames: Sequence[Image.Image]) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each frame, in order."""
        ...


def combine(frame_scores: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return each label's largest score over the frames: one bad frame makes a bad picture.

    Raises ValueError for no frames, or frames of different labels.
    """
    if not frame_scores:
        raise ValueError("a picture has at least one frame")
    if any(scores.keys() != frame_scores[0].keys() for scores in frame_scores):
        raise ValueError("all frames must be scored by the same labels")
    return {label: max(scores[label] for scores in frame_scores) for label in frame_scores[0]}


def to_score(probability: float) -> int:
    """Return a probability 0..1 as an integer 0..10000, rounded half to even.

    Raises ModelError for what is no number: a broken model must not look like a clean picture.
    """
    if not isfinite(probability):
        raise ModelError(f"the model gave {probability} for a score: its weights are damaged")
    return min(max(round(probability * SCORE_MAX), 0), SCORE_MAX)
