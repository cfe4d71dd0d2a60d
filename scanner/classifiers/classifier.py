"""What a classifier is to the rest of the program, and how frames add up to a picture.

A classifier takes pixels of one fixed size (`Preprocess`) and gives integer scores; it knows
nothing of files, frames and pictures. Others can bring their own: see `docs/classifiers.md`.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Protocol

import numpy as np
from PIL import Image

from scanner.classifiers.pipeline import pipeline_id
from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.errors import ModelError

SCORE_MAX = 10_000
"""A probability of 1 as an integer score."""


class Classifier(Protocol):
    """Scores pixels by labels, and says by which pipeline; safe to call from threads."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def pipeline(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def pipeline_id(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def preprocess(self) -> Preprocess: ...  # noqa: D102

    def score(self, pixels: Pixels) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each entry of (n, height, width, 3) uint8, in order."""
        ...


class Described:
    """What a classifier says of itself: a base for those here. Others need no base."""

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        pipeline: Mapping[str, str],
        preprocess: Preprocess,
        *,
        has_device: bool = False,
    ) -> None:
        self._name, self._labels, self._has_device = name, labels, has_device
        self._pipeline, self._preprocess = dict(pipeline), preprocess

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self._name

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the policy."""
        return self._labels

    @property
    def pipeline(self) -> dict[str, str]:
        """The description of what produces the scores."""
        return dict(self._pipeline)

    @property
    def pipeline_id(self) -> str:
        """The hex id of that description."""
        return pipeline_id(self._pipeline)

    @property
    def preprocess(self) -> Preprocess:
        """What the model's input looks like."""
        return self._preprocess

    @property
    def has_device(self) -> bool:
        """Whether it computes elsewhere than on the CPU, so that a second batch may be sent."""
        return self._has_device


def score_frames(classifier: Classifier, frames: Sequence[Image.Image]) -> list[dict[str, int]]:
    """Return label -> 0..10000 for each RGB frame, in order: its worst window counts."""
    parts = [classifier.preprocess.of_frame(frame) for frame in frames]
    scores = iter(classifier.score(np.concatenate(parts)) if parts else ())
    return [combine([next(scores) for _ in part]) for part in parts]


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
