"""Leaves an origin alone that does not answer, and tries it again now and then.

Closed -> open after so many failures in a row -> half-open after a while, when one try goes
through: it closes the breaker, or opens it for twice as long. Pure: the clock is handed in.
"""


class Breaker:
    """The breaker of one origin; times are seconds of any one clock."""

    def __init__(self, failures: int, seconds: float, seconds_max: float) -> None:
        self._limit, self._seconds, self._seconds_max = failures, seconds, seconds_max
        self._failures = 0
        self._rest = seconds
        self._until: float | None = None  # None: closed
        self._is_trying = False

    def lets_through(self, now: float) -> bool:
        """Tell whether the origin may be asked; whoever is let through says how it went."""
        if self._until is None:
            return True
        if now < self._until or self._is_trying:
            return False
        self._is_trying = True
        return True

    def succeeded(self) -> None:
        """Note that the origin answered."""
        self._failures, self._rest, self._until = 0, self._seconds, None
        self._is_trying = False

    def failed(self, now: float) -> None:
        """Note that the origin did not answer, or not to the purpose."""
        self._failures += 1
        is_first = self._until is None and self._failures >= self._limit
        if is_first or self._is_trying:
            self._until = now + self._rest
            self._rest = min(2 * self._rest, self._seconds_max)
            self._is_trying = False

    def gave_up(self) -> None:
        """Note that the asker left before it could tell."""
        self._is_trying = False
