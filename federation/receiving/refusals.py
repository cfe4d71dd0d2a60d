"""Counts what the inbox refused, by cause, and logs it at a bounded rate."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from federation.errors import FederationError

_log = logging.getLogger(__name__)
LOG_SECONDS: Final = 60.0
"""A cause is logged once in this time, with how often it came since."""


class Refusals:
    """The refusals of one process; causes are names of error classes, so they are few."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.counts: Counter[str] = Counter()
        self._told: dict[str, tuple[float, int]] = {}  # cause -> when it was logged, and its count

    def note(self, error: FederationError) -> None:
        """Count a refusal, and log it if its cause was not logged lately."""
        cause, now = type(error).__name__, self._monotonic()
        self.counts[cause] += 1
        last, told = self._told.get(cause, (now - LOG_SECONDS, 0))
        if now - last < LOG_SECONDS:
            return
        count = self.counts[cause]
        self._told[cause] = (now, count)
        extra = {"action": "inbox_refused", "cause": cause, "count": count - told}
        _log.info("refused: %s", error, extra=extra)
