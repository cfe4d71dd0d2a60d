"""The scanner as the server uses it: loaded once, one batch at a time, never in the event loop."""

import asyncio
import threading
from collections.abc import Sequence

from scanner.classifier import Classifier, combine
from scanner.engine import load_classifier
from scanner.picture import Picture
from scanner.policy import Policy
from scanner.settings import ScannerSettings


class Scanner:
    """Scores pictures by the configured model and policy; loads the model when first needed."""

    def __init__(self, settings: ScannerSettings, policy: Policy) -> None:
        self.settings = settings
        self._policy = policy
        self._lock = threading.Lock()
        self._classifier: Classifier | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._classifier is not None

    async def load(self) -> Classifier:
        """Load the model if it is not there yet; raises ModelError."""
        return await asyncio.to_thread(self._loaded)

    async def score(self, pictures: Sequence[Picture]) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each picture: its worst frame counts."""
        return await asyncio.to_thread(self._score, pictures)

    def _score(self, pictures: Sequence[Picture]) -> list[dict[str, int]]:
        classifier = self._loaded()
        frames = [frame for picture in pictures for frame in picture.frames]
        with self._lock:
            scores = iter(classifier.score(frames))
        return [combine([next(scores) for _ in picture.frames]) for picture in pictures]

    def _loaded(self) -> Classifier:
        with self._lock:
            if self._classifier is None:
                self._classifier = load_classifier(self.settings, self._policy)
            return self._classifier
