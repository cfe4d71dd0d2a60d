"""The scanner as the program uses it: loaded once, fed in batches, never in the event loop.

Windows of many pictures share a batch: while one batch is judged, those who come meanwhile wait
together and fill the next, so nobody waits for a batch to fill. It has threads of its own, so
that a model that loads slowly takes no thread from decoding and look-ups. Those who wait for the
model share one attempt to load it, and its failure; the next one tries again. How many windows
wait is bounded by how many pictures are open, which is the callers' business.
"""

import asyncio
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np

from scanner.classifiers.classifier import Classifier
from scanner.classifiers.engine import Purpose, load_classifier
from scanner.classifiers.preprocess import Pixels
from scanner.errors import ModelError
from scanner.policy import Policy
from scanner.settings import ScannerSettings, batch_of

State = Literal["ready", "loading", "failed"]
Scores = list[dict[str, int]]
Batch = list[tuple[Pixels, asyncio.Future[Scores]]]

BATCHES_AT_ONCE = 2
"""On a device of its own: while it computes one batch, the next is copied to it."""


class Scanner:
    """Scores windows by the configured model and policy; loads the model when first needed."""

    def __init__(
        self, settings: ScannerSettings, policy: Policy, purpose: Purpose = "serve"
    ) -> None:
        self.settings, self.purpose = settings, purpose
        self._policy = policy
        self._threads = ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix="scanner")
        self._classifier: Classifier | None = None
        self._loading: Future[Classifier] | None = None
        self._waiting: deque[tuple[Pixels, asyncio.Future[Scores]]] = deque()
        self._running = 0
        self._closed = False

    @property
    def state(self) -> State:
        """Whether a picture can be scanned now; a model that is not preloaded is not waited for."""
        if self._has_failed:
            return "failed"
        return "ready" if self._classifier or not self.settings.preload else "loading"

    @property
    def classifier(self) -> Classifier | None:
        """The classifier once it is loaded."""
        return self._classifier

    @property
    def batch(self) -> int:
        """How many windows are judged at once."""
        return batch_of(self.settings, has_device=self._has_device)

    @property
    def _has_device(self) -> bool:
        """Whether the classifier says that it computes elsewhere than on the CPU."""
        return bool(getattr(self._classifier, "has_device", False))

    async def load(self) -> Classifier:
        """Load the model if it is not there yet; raises ModelError."""
        if self._classifier is not None:
            return self._classifier
        if self._loading is None or self._has_failed:
            self._loading = self._threads.submit(self._load)
        return await asyncio.wrap_future(self._loading)

    async def score(self, pixels: Pixels) -> Scores:
        """Return label -> 0..10000 for each window, (n, height, width, 3), in order."""
        await self.load()
        scores: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, scores))
        self._pump()
        return await scores

    def close(self) -> None:
        """Let go of the threads; a download is ended, and goes on where it was the next time."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _pump(self) -> None:
        """Start batches, as many as may run at once."""
        at_once = BATCHES_AT_ONCE if self._has_device else 1
        while self._waiting and self._running < at_once:
            self._running += 1
            batch = self._next_batch()
            work = asyncio.get_running_loop().run_in_executor(
                self._threads, self._score, [pixels for pixels, _ in batch]
            )
            work.add_done_callback(partial(self._finish, batch))

    def _next_batch(self) -> Batch:
        """Take those who wait, until their windows fill a batch."""
        batch = [self._waiting.popleft()]
        windows = len(batch[0][0])
        while self._waiting and windows + len(self._waiting[0][0]) <= self.batch:
            batch.append(self._waiting.popleft())
            windows += len(batch[-1][0])
        return batch

    def _finish(self, batch: Batch, done: asyncio.Future[Scores]) -> None:
        """Give each picture its scores, or all of them the error."""
        self._running -= 1
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        found = iter(() if error else done.result())
        for pixels, scores in batch:
            own = list(islice(found, len(pixels)))
            if scores.done():
                continue  # who waited was cancelled
            if error:
                scores.set_exception(error)
            else:
                scores.set_result(own)
        self._pump()

    def _score(self, parts: list[Pixels]) -> Scores:
        classifier = self._load()
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        found = classifier.score(pixels)
        if len(found) != len(pixels):  # another's scores must not be taken for a picture's own
            raise ModelError(f"{classifier.name} gave {len(found)} scores for {len(pixels)} inputs")
        return found

    def _load(self) -> Classifier:
        if self._classifier is None:
            self._classifier = load_classifier(
                self.settings, self._policy, self.purpose, self._go_on
            )
        return self._classifier

    def _go_on(self, _done: int, _total: int | None) -> None:
        """Let a download go on unless nobody waits for it: the process could not end before."""
        if self._closed:
            raise ModelError("the program ended while the weights were downloaded")

    @property
    def _has_failed(self) -> bool:
        last = self._loading
        return last is not None and last.done() and (last.cancelled() or bool(last.exception()))
