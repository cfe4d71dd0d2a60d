"""How many bodies may be on their way in at once: what they hold in memory is bounded.

One network holds at most a quarter of the places, so that who sends slowly from one of them
takes none from the others.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from federation.errors import TooBusy
from federation.receiving.shedding import SHARES


class Bodies:
    """The places of one process."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._share = max(1, at_once // SHARES)
        self._taken: Counter[str | None] = Counter()

    @contextmanager
    def taken(self, network: str | None) -> Iterator[None]:
        """Hold a place within the block; raises `TooBusy` where none is left."""
        is_over_share = network is not None and self._taken[network] >= self._share
        if is_over_share or self._taken.total() >= self._at_once:
            message = f"{self._taken.total()} bodies are on their way in"
            raise TooBusy(message)
        self._taken[network] += 1
        try:
            yield
        finally:
            self._taken[network] -= 1
            if not self._taken[network]:
                del self._taken[network]
