"""Torch and exports of one model over the pictures of one folder: scores and times of each.

Pictures are decoded in this process, once for all; only scoring is timed. What the differences
mean is `scanner/classifiers/compare.py`'s.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from fediverdict.config import Config
from scanner.classifiers.classifier import Classifier, combine
from scanner.classifiers.compare import Agreement, compare
from scanner.classifiers.engine import load_classifier
from scanner.classifiers.onnx import OnnxClassifier
from scanner.classifiers.preprocess import Pixels
from scanner.decoding.shown import read_shown
from scanner.errors import OverLimit, SourceError, Undecodable
from scanner.policy import Policy
from scanner.sources.folder import list_folder, read_item

PICTURES_AT_ONCE = 32
"""Pictures held, at the model's size, while one classifier after the other scores them."""


class Entry:
    """One classifier of a comparison, its scores and its time."""

    def __init__(self, name: str, classifier: Classifier) -> None:
        self.name, self.classifier = name, classifier
        self.scores: list[dict[str, int]] = []
        self.seconds = 0.0
        side = classifier.preprocess
        classifier.score(np.zeros((1, side.height, side.width, 3), np.uint8))  # the first is slow

    def judge(self, pictures: Sequence[Pixels]) -> None:
        """Score some pictures, each the windows of its frames, in full batches."""
        start = time.perf_counter()
        found = iter(self.classifier.score(np.concatenate(pictures)))
        self.seconds += time.perf_counter() - start
        self.scores += [combine([next(found) for _ in windows]) for windows in pictures]

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return len(self.scores) / self.seconds if self.seconds else 0.0


class Contest:
    """Scores what a folder holds; raises ModelError where a classifier cannot be loaded."""

    def __init__(
        self, config: Config, policy: Policy, paths: Sequence[Path], warn: Callable[[str], None]
    ) -> None:
        settings = config.scanner.model_copy(update={"precision": "auto"})
        torch = settings.model_copy(update={"backend": "torch", "precision": "fp32"})
        self._limits, self._warn = config.limits, warn
        self._thresholds = policy.thresholds(config.scanner.strictness)
        self.keys: list[str] = []
        self.torch = Entry("torch", load_classifier(torch, policy))
        self.exports = [
            Entry(str(path), OnnxClassifier.load(path, settings, policy)) for path in paths
        ]

    def run(self, folder: Path) -> None:
        """Score every picture below a folder; what is none is told in one sentence."""
        pictures = self._pictures(folder)
        while batch := list(islice(pictures, PICTURES_AT_ONCE)):
            self.keys += [key for key, _ in batch]
            for entry in (self.torch, *self.exports):
                entry.judge([pixels for _, pixels in batch])

    def agreement(self, entry: Entry) -> Agreement:
        """Return how an export agrees with torch."""
        return compare(self.keys, self.torch.scores, entry.scores, self._thresholds)

    def _pictures(self, folder: Path) -> Iterator[tuple[str, Pixels]]:
        for item in list_folder(folder, self._warn):
            try:
                data = read_item(folder, item.key, self._limits.image_bytes)
                frames = read_shown(data, self._limits).frames
            except (OverLimit, SourceError, Undecodable) as error:
                self._warn(f"{item.key}: {error}")
                continue
            yield item.key, self.torch.classifier.preprocess.apply(frames)
