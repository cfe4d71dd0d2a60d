"""A line on a terminal that says how far long work is: done, rate, time left.

Shown on standard error alone, and only where that is a terminal. What is counted, and how many
there will be, is told by whoever works.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

SHOW_SECONDS = 0.5
ERASE = "\r\x1b[K"
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class Progress:
    """Counts what is done and keeps one line of it."""

    def __init__(
        self,
        noun: str,
        total: int | None = None,
        *,
        about: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin; `about` says that `total` is an estimate."""
        self._noun, self._total, self._about, self._clock = noun, total, about, clock
        self._stream = stream or sys.stderr
        self._is_shown = self._stream.isatty()
        self._started = self._last = clock()
        self.done = 0

    @property
    def seconds(self) -> float:
        """How long the work has gone on."""
        return self._clock() - self._started

    def add(self, count: int = 1) -> None:
        """Count what was done, and show it now and then."""
        self.done += count
        if self._is_shown and self._clock() - self._last >= SHOW_SECONDS:
            self._last = self._clock()
            self._write(ERASE + self.line())

    def reach(self, done: int, total: int | None) -> None:
        """Note how far the work is, and how far it goes if that is known by now."""
        self._total = total
        self.add(done - self.done)

    def line(self) -> str:
        """Return the line: how many of how many, at which rate, and the time left."""
        rate = self.done / self.seconds if self.seconds else 0.0
        said = f"{self.done:,}{self._of()} {self._noun}, {rate:,.1f} a second"
        if self._total is None or not rate or self.done >= self._total:
            return said
        return f"{said}, {span((self._total - self.done) / rate)} left"

    def clear(self) -> None:
        """Take the line away, for something else to be printed."""
        if self._is_shown:
            self._write(ERASE)

    def _of(self) -> str:
        if self._total is None or self.done > self._total:
            return ""
        return f" of {'about ' if self._about else ''}{self._total:,}"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def span(seconds: float) -> str:
    """Return a length of time for people, in its two largest units."""
    left, parts = round(seconds), list[str]()
    for name, length in UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {name}")
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"
