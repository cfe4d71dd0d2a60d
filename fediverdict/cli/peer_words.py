"""A peer and the feeds followed of it, as JSON for machines and as words in a table."""

import time
from collections.abc import Iterable
from typing import Any

from cache.trust.trust import Peer
from federation.origin import Url, origin_of
from federation.reading.states import FeedState


def feeds_of(peer: Peer, feeds: Iterable[FeedState]) -> list[FeedState]:
    """Return those of the followed feeds that are this peer's."""
    return [feed for feed in feeds if origin_of(Url(feed.actor_id)) == peer.origin]


def trust_json(peer: Peer) -> dict[str, Any]:
    """Return what a peer's verdicts may do here."""
    trust = peer.trust
    return {
        "origin": peer.origin,
        "state": trust.state,
        "clean_weight": trust.clean / 100,
        "flag_weight": trust.flag / 100,
        "labels": {
            label: {"clean_weight": _weight(terms.clean), "flag_weight": _weight(terms.flag)}
            for label, terms in sorted(trust.labels.items())
        },
        "heard": sorted(trust.heard),
        "max_age_days": trust.max_age_days,
        "operator": trust.operator,
        "audit_rate": trust.audit_floor,
        "min_agreement": trust.min_agreement,
    }


def _weight(hundredths: int | None) -> float | None:
    return None if hundredths is None else hundredths / 100


def peer_json(peer: Peer, feeds: Iterable[FeedState]) -> dict[str, Any]:
    """Return a peer, what is stored of it, and its feeds."""
    return {
        **trust_json(peer),
        "verdicts": peer.clean_verdicts + peer.flagged_verdicts,
        "clean_verdicts": peer.clean_verdicts,
        "flagged_verdicts": peer.flagged_verdicts,
        "feeds": [feed_json(feed) for feed in feeds],
    }


def feed_json(feed: FeedState) -> dict[str, Any]:
    """Return how far a feed was read, for machines."""
    return {
        "feed": feed.feed.name.lower(),
        "actor": feed.actor_id,
        "handle": feed.handle,
        "state": feed.state,
        "page": feed.page,
        "pulled": feed.pulled,
        "error": feed.error,
    }


def peer_row(peer: Peer, feeds: Iterable[FeedState]) -> tuple[object, ...]:
    """Return a peer as a line of `peers list`."""
    trust = peer.trust
    said = "; ".join(feed_words(feed) for feed in feeds)
    counts = (peer.clean_verdicts, peer.flagged_verdicts)
    return (peer.origin, trust.state, trust.clean / 100, trust.flag / 100, *counts, said)


def feed_words(feed: FeedState) -> str:
    """Return how far a feed was read."""
    when = time.gmtime(feed.pulled) if feed.pulled else None
    read = time.strftime("%Y-%m-%d %H:%MZ", when) if when else "never"
    words = f"{feed.feed.name.lower()} {feed.state}, page {feed.page}, read {read}"
    return f"{words}, last error: {feed.error}" if feed.error else words
