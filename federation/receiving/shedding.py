"""How much of the inbox one sender may take, and that nobody pays for what another sends.

Three quotas, each of the running minute, each past its limit 429 with `Retry-After`:

- **A peer**, by its origin: so many activities and bytes. Only what its own key signed is charged,
  so nobody can use up the quota of another: what comes with a proof alone, and may be sent again
  by whoever once received it, is charged to the network that it came from as well, and apart.
- **All strangers together**: so many Follows of actors that are not known here, as each of them
  may cause a fetch; of those one network may take a quarter.
- **Wrong signatures**, charged to the network that they came from *and* the origin that they claim,
  known or not (else the answer told whom we know). Past the limit that network is not verified any
  more in this origin's name. A forger thus locks out itself alone: another network, the peer's
  among them, has a count of its own; a network whose signatures for the origin were good within
  `GOOD_SECONDS` is always verified; and so is whoever's network cannot be told, which is the case
  behind a proxy that does not say (`network.py`). What is verified although it is forged delays
  others, and refuses nobody: `benchmarks/wire/flooding.py` measures by how much.

All counts are in memory and bounded; a flood writes nothing.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from federation.errors import PastQuota
from federation.origin import Origin
from federation.receiving.per_minute import MAX_KEYS, PerMinute
from federation.settings import FederationSettings

GOOD_SECONDS: Final = 3_600
"""So long a network that signed well for an origin is believed to be its own."""

SHARES: Final = 4
"""One network takes at most this part of what all strangers may take."""


class Shedding:
    """The quotas of one process; `clock` gives epoch seconds."""

    def __init__(self, settings: FederationSettings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._activities = PerMinute(clock)
        self._bytes = PerMinute(clock)
        self._strangers = PerMinute(clock)
        self._wrong = PerMinute(clock)
        self._good: OrderedDict[tuple[str, Origin], int] = OrderedDict()

    def check_forger(self, network: str | None, origin: Origin) -> None:
        """Raise `PastQuota` where a network signed too often wrongly in an origin's name."""
        if network is None or self._is_good((network, origin)):
            return
        limit = self._settings.wrong_signatures_per_minute
        if self._wrong.of((network, origin)) >= limit:
            message = f"{limit} wrong signatures a minute by {network} in the name of {origin}"
            raise PastQuota(message)

    def note_wrong(self, network: str | None, origin: Origin) -> None:
        """Count a request that its claimed sender did not sign."""
        if network is not None:
            self._wrong.add((network, origin))

    def take_stranger(self, network: str | None) -> None:
        """Count a Follow of somebody unknown; raises `PastQuota` past what strangers may send."""
        limit = self._settings.strangers_per_minute
        if self._strangers.of(None) >= limit:
            message = f"more than {limit} activities of strangers a minute"
            raise PastQuota(message)
        if network is not None:
            share = max(1, limit // SHARES)
            if self._strangers.of(network) >= share:
                message = f"more than {share} activities of strangers a minute by {network}"
                raise PastQuota(message)
            self._strangers.add(network)
        self._strangers.add(None)

    def take(
        self, network: str | None, origin: Origin, size: int, *, is_by_proof: bool = False
    ) -> None:
        """Count a verified activity of `size` bytes; raises `PastQuota` past its peer's quota.

        One that its proof alone vouches for (`is_by_proof`) may have been passed on by anybody.
        """
        if network is not None and not is_by_proof:
            self._note_good((network, origin))
        settings, payer = self._settings, (network, origin) if is_by_proof else origin
        if self._activities.of(payer) >= settings.activities_per_minute:
            message = f"{origin} sends more than {settings.activities_per_minute} a minute"
            raise PastQuota(message)
        if self._bytes.of(payer) + size > settings.activity_bytes_per_minute:
            message = (
                f"{origin} sends more than {settings.activity_bytes_per_minute} bytes a minute"
            )
            raise PastQuota(message)
        self._activities.add(payer)
        self._bytes.add(payer, size)

    def _is_good(self, pair: tuple[str, Origin]) -> bool:
        return self._clock() - self._good.get(pair, -GOOD_SECONDS) < GOOD_SECONDS

    def _note_good(self, pair: tuple[str, Origin]) -> None:
        self._good[pair] = self._clock()
        self._good.move_to_end(pair)
        while len(self._good) > MAX_KEYS:
            self._good.popitem(last=False)
