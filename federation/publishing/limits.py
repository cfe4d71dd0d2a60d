"""How often one follower may ask for what takes work, counted minute by minute, in memory."""

from collections import Counter
from typing import Final

from federation.errors import TooManyQuestions
from federation.origin import Url

WINDOW_SECONDS: Final = 60


class MinuteLimit:
    """At most `most` of something, called `what` in the log, for one reader a minute."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._asked: Counter[Url] = Counter()  # within the window
        self._window = 0

    def count(self, reader: Url, now: int) -> None:
        """Count one more; raises `TooManyQuestions` past the limit."""
        window = now // WINDOW_SECONDS
        if window != self._window:
            self._asked.clear()
            self._window = window
        self._asked[reader] += 1
        if self._asked[reader] > self._most:
            message = f"{reader} asked for more than {self._most} {self._what} within a minute"
            raise TooManyQuestions(message)
