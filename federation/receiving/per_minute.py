"""Counts amounts a minute for each of many keys, in memory that strangers cannot grow."""

from collections.abc import Callable, Hashable
from typing import Final

MAX_KEYS: Final = 10_000
"""Keys counted in one minute; further ones are not (who relies on it must not be harmed by it)."""


class PerMinute:
    """Amounts of the running minute of `clock` (epoch seconds); when it ends they are forgotten."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._minute = 0
        self._amounts: dict[Hashable, int] = {}

    def of(self, key: Hashable) -> int:
        """Return what was added to a key this minute."""
        minute = self._clock() // 60
        if minute != self._minute:
            self._minute = minute
            self._amounts.clear()
        return self._amounts.get(key, 0)

    def add(self, key: Hashable, amount: int = 1) -> None:
        """Add to a key, unless so many others are counted already."""
        known = self.of(key)
        if known or len(self._amounts) < MAX_KEYS:
            self._amounts[key] = known + amount
