"""What `decide.near_clean` needs beside the decision: twins, a secret for sketches, a warning.

With `off` there is none of it, and nothing is computed.
"""

from cache.index.printed import PrintedIndex
from cache.index.twins import PrintedTwins
from cache.judgement import NearClean
from cache.secret import instance_secret, keyed_secret
from cache.storage.database import Store
from fediverdict.config import Config
from scanner.decoding.keyed import is_copy

PEERS_RISK_PERCENT = 0
"""Of pictures that somebody changed on purpose, how many `peers` takes for the known clean one:
benchmarks/results/judgement_fooling.json, which a test holds it against."""


def mode(config: Config) -> NearClean:
    """Return whose clean verdicts are reused for nearly equal pictures."""
    return NearClean(config.decide.near_clean)


def build_twins(config: Config, printed: PrintedIndex | None = None) -> PrintedTwins | None:
    """Return what finds twins, None with `off`; an index that others use as well may be given."""
    found = mode(config)
    if found is NearClean.OFF:
        return None
    if printed is None:
        printed = PrintedIndex(config.instance.state_dir / "index", config.index)
    return PrintedTwins(printed, found, is_copy)


def sketch_secret(config: Config, store: Store) -> bytes | None:
    """Return the secret that sketches are made under, None with `off`."""
    if mode(config) is NearClean.OFF:
        return None
    return keyed_secret(store.write_now(instance_secret))


def warning(config: Config) -> str | None:
    """Return what an admin must know at every start, None where there is no need."""
    if mode(config) is not NearClean.PEERS:
        return None
    return (
        f'decide.near_clean = "peers": in our measurements {PEERS_RISK_PERCENT} % of pictures that '
        "were changed on purpose (overlays, captions, crafted twins) passed for the clean ones "
        "unscanned. But copies pass that neither we nor a peer ever scanned: what trusted peers "
        "call clean, in error or in bad faith, is clean here with all its near copies; "
        '"own" relies on scans of our own alone, see docs/near-clean.md'
    )
