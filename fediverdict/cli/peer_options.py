"""What the commands about peers share: weights and labels as options, and finding a peer."""

import math
from collections.abc import Iterable
from typing import Any

import click
from sqlalchemy import Connection

from cache.judgement import EVERY_LABEL
from cache.settings import hundredths
from cache.trust.trust import Peer, list_peers
from fediverdict.config import Config
from fediverdict.errors import UsageError
from scanner.policy import load_policy


class Weight(click.FloatRange):
    """A number 0..1 in steps of 0.01; `nan` is none, and what would be rounded to 0 neither."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; click's own range lets `nan` pass."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            return self.fail("nan is no weight", param, ctx)
        if number and not hundredths(number):
            return self.fail("the smallest step is 0.01", param, ctx)
        return number


WEIGHT = Weight(0, 1)


def in_hundredths(weight: float | None) -> int | None:
    """Return a weight that was given as integer hundredths."""
    return None if weight is None else hundredths(weight)


def refuse_unknown_labels(labels: Iterable[str], config: Config, *, every: bool = False) -> None:
    """Raise UsageError for a label that the policy here does not know; `*` may stand for all."""
    known = load_policy(config.scanner.policy).labels
    for label in labels:
        if label not in known and not (every and label == EVERY_LABEL):
            raise UsageError(f"the policy here has no label {label}; it has {', '.join(known)}")


def find_peer(connection: Connection, name: str) -> Peer:
    """Return the peer of an origin, a host, a handle, or `list:NAME`; raises UsageError."""
    host = name.rpartition("@")[2].removeprefix("https://").removeprefix("http://").rstrip("/")
    for peer in list_peers(connection):
        if name == peer.origin or (host and host == peer.origin.partition("://")[2]):
            return peer
    raise UsageError(f"{name} is no peer known here; see `fediverdict peers list`")
