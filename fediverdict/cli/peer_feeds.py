"""How reading a feed and delivering to a host stand, as JSON and as lines for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.following.followers import Follower, list_followers
from federation.outbound.delivery_state import DeliveryState, delivery_state
from federation.reading.states import FeedState
from federation.reading.stories import Evidence, read_evidence
from federation.wire.times import to_rfc3339
from fediverdict.cli.context import printable

SHORT = 8
"""Characters of an epoch or digest that people are shown."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What goes to and fro with one origin."""

    feeds: list[FeedState]
    evidence: list[Evidence]
    delivery: DeliveryState
    followers: list[Follower]


def read_exchange(conn: Connection, origin: str, feeds: list[FeedState]) -> Exchange:
    """Return what goes to and fro with an origin, of which these feeds are followed."""
    return Exchange(
        feeds,
        read_evidence(conn, origin),
        delivery_state(conn, origin),
        list_followers(conn, origin),
    )


# --- for machines ----------------------------------------------------------------------------
def feed_state_json(feed: FeedState, evidence: Iterable[Evidence]) -> dict[str, Any]:
    """Return where reading a feed stands."""
    return {
        "feed": feed.feed.name.lower(),
        "actor": feed.actor_id,
        "handle": feed.handle,
        "state": feed.state,
        "epoch": feed.epoch,
        "page": feed.page,
        "head": {"epoch": feed.head_epoch, "page": feed.head_page},
        "lag": {"pages": feed.lag_pages, "seconds": feed.lag_seconds},
        "pulled": feed.pulled,
        "error": feed.error,
        "failed_tries": feed.tries,
        "next_try": feed.next_try or None,
        "snapshot_part": feed.snapshot_part,
        "halted": feed.halted,
        "evidence": [_evidence_json(one) for one in evidence if one.feed is feed.feed],
    }


def delivery_json(state: DeliveryState) -> dict[str, Any]:
    """Return how deliveries to a host go."""
    return {
        "origin": state.origin,
        "breaker": "open" if state.host.is_open else "closed",
        "failures": state.host.failures,
        "next_try": state.host.open_until,
        "waiting": state.waiting,
        "oldest_waiting": state.oldest,
        "dropped": state.dropped,
        "succeeded": state.succeeded,
        "error": state.error,
    }


def exchange_json(exchange: Exchange) -> dict[str, Any]:
    """Return feeds, delivery and followers of an origin."""
    return {
        "feeds": [feed_state_json(feed, exchange.evidence) for feed in exchange.feeds],
        "delivery": delivery_json(exchange.delivery),
        "followers": [
            {"feed": one.feed.name.lower(), "actor": one.actor_id, "state": one.state}
            for one in exchange.followers
        ],
    }


def _evidence_json(one: Evidence) -> dict[str, Any]:
    return {
        "epoch": one.epoch,
        "page": one.page,
        "first": one.first,
        "second": one.second,
        "found": one.found,
        "cleared": one.cleared,
    }


# --- for people ------------------------------------------------------------------------------
def exchange_lines(exchange: Exchange, now: int) -> Iterable[str]:
    """Yield what people are shown of an origin."""
    for feed in exchange.feeds:
        yield from feed_lines(feed, exchange.evidence, now)
    for one in exchange.followers:
        yield printable(f"follows our {one.feed.name.lower()} feed: {one.state} ({one.actor_id})")
    yield from delivery_lines(exchange.delivery, now)


def feed_lines(feed: FeedState, evidence: Sequence[Evidence], now: int) -> Iterable[str]:
    """Yield where reading a feed stands."""
    yield printable(f"feed {feed.feed.name.lower()} {feed.state} ({feed.handle or feed.actor_id})")
    if feed.halted is not None:
        yield from _halted_lines(feed, evidence)
    if feed.state != "accepted":
        return
    if feed.epoch is None and feed.head_page is None and feed.pulled and not feed.error:
        yield "  its outbox is empty: nothing was sealed yet"
    else:
        place = _place(feed.epoch, feed.page)
        yield f"  read to {place}, its head {_head(feed)}: {_lag(feed)}"
    if feed.snapshot_part is not None:
        yield f"  a snapshot is being read, part {feed.snapshot_part} comes next"
    read = _when(feed.pulled) if feed.pulled else "never"
    yield f"  last read {read}, next try {_next(feed, now)}"
    if feed.error:
        yield printable(f"  last error ({feed.tries} in a row): {feed.error}")


def delivery_lines(state: DeliveryState, now: int) -> Iterable[str]:
    """Yield how deliveries to a host go."""
    host = state.host
    if host.is_open and host.open_until is not None:
        how = f"rests until {_when(host.open_until)} after {host.failures} failures in a row"
    elif host.failures:
        how = f"{host.failures} failures in a row, next try {_when(host.open_until or now)}"
    else:
        how = "answers" if state.succeeded else "nothing was sent yet"
    waits = "nothing waits"
    if state.waiting and state.oldest is not None:
        waits = f"{state.waiting} wait, the oldest for {_duration(now - state.oldest)}"
    yield f"delivery: {how}; {waits}" + (f"; {state.dropped} dropped" if state.dropped else "")
    if state.succeeded:
        yield f"  last success {_when(state.succeeded)}"
    if state.error:
        yield printable(f"  last error: {state.error}")


def evidence_lines(evidence: Iterable[Evidence]) -> Iterable[str]:
    """Yield by which pairs of signed documents an issuer told two stories."""
    for one in evidence:
        digests = " and ".join(
            str(story.get("digestMultibase") or "a page of its own")
            for story in (one.first, one.second)
        )
        rests = f", let rest {_when(one.cleared)}" if one.cleared else ""
        yield printable(
            f"  page {one.page} of epoch {one.epoch}, found {_when(one.found)}{rests}: {digests}"
        )


def _halted_lines(feed: FeedState, evidence: Sequence[Evidence]) -> Iterable[str]:
    yield printable(f"  HALTED: {feed.halted}; nothing more of it is taken")
    yield from evidence_lines(one for one in evidence if one.feed is feed.feed)
    yield "  both documents: `fediverdict peers show PEER --json`; to read on: `peers resume PEER`"


def _head(feed: FeedState) -> str:
    return "not known" if feed.head_page is None else _place(feed.head_epoch, feed.head_page)


def _place(epoch: str | None, page: int) -> str:
    return f"page {page} of epoch {epoch[:SHORT]}" if epoch else "nothing"


def _lag(feed: FeedState) -> str:
    pages, seconds = feed.lag_pages, feed.lag_seconds
    if pages is None:
        return "how far behind is not known"
    if pages <= 0:
        return "nothing is missing"
    since = "" if seconds is None else f", up to {_duration(seconds)} behind"
    return f"{pages} pages are missing{since}"


def _next(feed: FeedState, now: int) -> str:
    return "at once" if feed.next_try <= now else _when(feed.next_try)


def _when(seconds: int) -> str:
    return to_rfc3339(seconds)


def _duration(seconds: int) -> str:
    """Return e.g. `90 s`, `12 min`, `5 h`, `3 days`."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
