"""What a check says: a closed vocabulary, a sentence, and what to do.

"Cannot tell now" is an answer of its own: a check that rests on one that failed is skipped, not
failed, so that what is wrong stands there once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # it works, or works for most peers
    FAILED = "failed"
    SKIPPED = "skipped"  # cannot tell now


class Name(StrEnum):
    """What is checked."""

    # of a peer, and of ourselves
    REACHABLE = "reachable"  # name, port, TLS, an answer at all
    WEBFINGER = "webfinger"  # the handle leads to the actor
    ACTOR = "actor"  # the document, its content type, origins
    CONTEXT = "context"  # what the document declares
    KEYS = "keys"
    NODEINFO = "nodeinfo"
    HOST_META = "host-meta"
    CLOCK = "clock"
    # of a peer alone
    WEBFINGER_BACK = "webfinger-back"  # the actor calls itself by the handle
    SIGNATURE = "signature"  # which kind of our signatures it takes
    OUTBOX = "outbox"
    PAGE = "page"  # the newest page, its proof
    CHAIN = "chain"  # the page follows the one before it
    LAG = "lag"  # how far we have read it
    FOLLOWING = "following"  # whether we follow it
    FOLLOWER = "follower"  # whether it follows us
    DELIVERY = "delivery"
    # of ourselves alone
    BASE_URL = "base-url"
    DNS = "dns"
    WEBFINGER_ORIGIN = "webfinger-origin"  # the bare origin leads to the instance actor
    PROXY = "proxy"  # what peers send to the inbox arrives


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what it found, and what to do where that is anything."""

    name: Name
    outcome: Outcome
    said: str
    todo: str = ""
    of: str = ""  # which actor, where there are several


def ok(name: Name, said: str, of: str = "") -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, Outcome.OK, said, of=of)


def warning(name: Name, said: str, todo: str, of: str = "") -> Check:
    """Return a check that found something odd."""
    return Check(name, Outcome.WARNING, said, todo, of)


def failed(name: Name, said: str, todo: str, of: str = "") -> Check:
    """Return a check that found what keeps federation from working."""
    return Check(name, Outcome.FAILED, said, todo, of)


def skipped(name: Name, said: str, of: str = "") -> Check:
    """Return a check that cannot tell now."""
    return Check(name, Outcome.SKIPPED, said, of=of)


def found_something(checks: Iterable[Check]) -> bool:
    """Tell whether any check warns or failed."""
    return any(one.outcome in (Outcome.WARNING, Outcome.FAILED) for one in checks)
