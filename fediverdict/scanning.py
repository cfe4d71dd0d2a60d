"""The scanner as the server uses it: loaded once, one batch at a time, never in the event loop.

It has a thread of its own, so that a model that loads slowly, or from afar, takes no thread from
decoding and look-ups. Those who wait for the model share one attempt to load it, and its failure;
the next one tries again.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from scanner.classifier import Classifier, combine, score_frames
from scanner.engine import load_classifier
from scanner.picture import Picture
from scanner.policy import Policy
from scanner.settings import ScannerSettings

State = Literal["ready", "loading", "failed"]


class Scanner:
    """Scores pictures by the configured model and policy; loads the model when first needed."""

    def __init__(self, settings: ScannerSettings, policy: Policy) -> None:
        self.settings = settings
        self._policy = policy
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scanner")
        self._classifier: Classifier | None = None
        self._loading: Future[Classifier] | None = None

    @property
    def state(self) -> State:
        """Whether a picture can be scanned now; a model that is not preloaded is not waited for."""
        if self._has_failed:
            return "failed"
        return "ready" if self._classifier or not self.settings.preload else "loading"

    async def load(self) -> Classifier:
        """Load the model if it is not there yet; raises ModelError."""
        if self._classifier is not None:
            return self._classifier
        if self._loading is None or self._has_failed:
            self._loading = self._thread.submit(self._loaded)
        return await asyncio.wrap_future(self._loading)

    async def score(self, pictures: Sequence[Picture]) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each picture: its worst frame counts."""
        await self.load()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._score, pictures)

    def _score(self, pictures: Sequence[Picture]) -> list[dict[str, int]]:
        frames = [frame for picture in pictures for frame in picture.frames]
        scores = iter(score_frames(self._loaded(), frames))
        return [combine([next(scores) for _ in picture.frames]) for picture in pictures]

    def _loaded(self) -> Classifier:
        if self._classifier is None:
            self._classifier = load_classifier(self.settings, self._policy)
        return self._classifier

    @property
    def _has_failed(self) -> bool:
        last = self._loading
        return last is not None and last.done() and (last.cancelled() or bool(last.exception()))
