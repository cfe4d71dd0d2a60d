"""`fediverdict peers show` without a peer: every feed that is read, every host delivered to."""

import time
from typing import Any

import click
from sqlalchemy import Connection

from federation.origin import Url, origin_of
from federation.outbound.delivery_state import DeliveryState, delivery_states
from federation.reading.states import FeedState, feed_states
from federation.reading.stories import Evidence, read_evidence
from fediverdict.cli.context import Context, print_json
from fediverdict.cli.peer_feeds import delivery_json, delivery_lines, feed_lines, feed_state_json


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
