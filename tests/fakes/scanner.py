"""A scanner without torch: what is mostly red is a test pattern. It counts its batches."""

import threading

import numpy as np

from fediverdict.scanning import Scanner
from scanner.classifiers.pipeline import describe, pipeline_id
from scanner.classifiers.preprocess import Preprocess
from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from tests.waiting import HELD


class RedClassifier:
    """Scores by the mean colour, deterministically."""

    name = "red"
    labels = ("shape", "test-pattern")
    preprocess = Preprocess(64, 64, (0.5,) * 3, (0.5,) * 3, "bilinear")

    def __init__(self, weights="00"):
        policy = load_policy("test").digest()
        self.pipeline = describe(
            architecture="red", policy=policy, precision="fp32", preprocessing="{}", weights=weights
        )
        self.pipeline_id = pipeline_id(self.pipeline)

    def score(self, pixels):
        return [self._score(one) for one in pixels]

    def _score(self, pixels):
        red, green, _ = np.asarray(pixels).reshape(-1, 3).mean(0)
        return {"test-pattern": 9_500 if red > green + 60 else 50, "shape": 10}


class FakeScanner(Scanner):
    """Waits at `gate` before it answers, so that tests can hold a scan open."""

    def __init__(self, weights="00", purpose="serve"):
        super().__init__(ScannerSettings(), load_policy("test"), purpose)
        self._classifier = RedClassifier(weights)
        self.gate = threading.Event()
        self.gate.set()
        self.batches = []
        self.scores = None  # what every window gets, if set

    def _score(self, parts):
        self.gate.wait(HELD)
        self.batches.append(sum(map(len, parts)))
        if self.scores is not None:
            return [self.scores for part in parts for _ in part]
        return super()._score(parts)
