"""`fediverdict peers show` without a peer, or of a host that only follows us.

Every feed that is read, every host delivered to; of a mere follower its approvals and deliveries.
"""

import time
from typing import Any

import click
from sqlalchemy import Connection

from cache.trust.trust import list_peers
from federation.following.followers import list_followers
from federation.origin import Url, origin_of
from federation.outbound.delivery_state import DeliveryState, delivery_states
from federation.reading.states import FeedState, feed_states
from federation.reading.stories import Evidence, read_evidence
from fediverdict.cli.context import Context, print_json
from fediverdict.cli.peer_feeds import (
    Exchange,
    delivery_json,
    delivery_lines,
    exchange_json,
    exchange_lines,
    feed_lines,
    feed_state_json,
    read_exchange,
)


def show_all(context: Context, *, as_json: bool) -> None:
    """Print where reading every feed and delivering to every host stand."""
    now = int(time.time())
    feeds, hosts = context.store.read_now(_all, now)
    if as_json:
        print_json(_json(feeds, hosts))
        return
    if not feeds and not hosts:
        click.echo("no peers yet; follow one with `fediverdict peers follow clean@HOST`")
    for feed, evidence in feeds:
        click.echo("\n".join(feed_lines(feed, evidence, now)))
    for host in hosts:
        click.echo(host.origin)
        click.echo("\n".join(f"  {line}" for line in delivery_lines(host, now)))


def show_follower(context: Context, name: str, *, as_json: bool) -> bool:
    """Print what goes to a host that follows us and is no peer; False where there is none."""
    found = context.store.read_now(_follower, name)
    if found is None:
        return False
    if as_json:
        print_json({"origin": found.delivery.origin, **exchange_json(found)})
        return True
    click.echo(f"{found.delivery.origin} follows us, and we do not follow it")
    click.echo("\n".join(exchange_lines(found, int(time.time()))))
    return True


def _follower(conn: Connection, name: str) -> Exchange | None:
    host = name.rpartition("@")[2]
    known = list_followers(conn, host)
    origins = {origin_of(Url(one.actor_id)) for one in known}
    if len(origins) != 1 or origins <= {peer.origin for peer in list_peers(conn)}:
        return None
    return read_exchange(conn, origins.pop(), [])


def _all(
    conn: Connection, now: int
) -> tuple[list[tuple[FeedState, list[Evidence]]], list[DeliveryState]]:
    feeds = [(feed, _evidence(conn, feed)) for feed in feed_states(conn, now)]
    return feeds, delivery_states(conn)


def _evidence(conn: Connection, feed: FeedState) -> list[Evidence]:
    return read_evidence(conn, origin_of(Url(feed.actor_id))) if feed.halted else []


def _json(
    feeds: list[tuple[FeedState, list[Evidence]]], hosts: list[DeliveryState]
) -> dict[str, Any]:
    return {
        "feeds": [feed_state_json(feed, evidence) for feed, evidence in feeds],
        "deliveries": [delivery_json(host) for host in hosts],
    }
