"""How long to wait after a failure: doubling, with jitter, up to a limit."""

from federation.settings import FederationSettings


def backoff_seconds(tries: int, settings: FederationSettings, dice: float) -> int:
    """Return the wait after failure number `tries` (from 0): doubling, +-25 % by `dice` 0..1."""
    wait: int = min(settings.retry_seconds * 2 ** min(tries, 32), settings.retry_seconds_max)
    return jittered(wait, dice)


def jittered(seconds: int, dice: float) -> int:
    """Return `seconds` +-25 % by `dice` 0..1, so that not everybody comes back at once."""
    return max(1, round(seconds * (0.75 + dice / 2)))
