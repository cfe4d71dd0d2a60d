"""`fediverdict peers`: whom this instance follows, and what their verdicts may do here."""

import asyncio
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import click
from sqlalchemy import Connection

from cache.judgement import LabelTrust, PeerState, Trust
from cache.settings import hundredths
from cache.trust import Peer, list_peers, set_trust
from federation.follow import FollowedFeed, list_follows
from federation.origin import Url, origin_of
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.config import Config
from fediverdict.errors import UsageError
from fediverdict.parts import build_federation
from scanner.policy import load_policy


class Weight(click.FloatRange):
    """A number 0..1; `nan` is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; click's own range lets `nan` pass."""
        number = float(super().convert(value, param, ctx))
        return self.fail("nan is no weight", param, ctx) if math.isnan(number) else number


WEIGHT = Weight(0, 1)


@click.group()
def peers() -> None:
    """Follow peers, list them, and say how far each is trusted."""


@peers.command()
@click.argument("feed", metavar="HANDLE")
@pass_context
def follow(context: Context, feed: str) -> None:
    """Ask to follow a feed, e.g. clean@example.org, or the URL of its actor.

    `serve` must be running: it sends the request, and the peer asks it for our key.
    """
    state = asyncio.run(_follow(context, feed))
    said = (
        "is followed already"
        if state == "accepted"
        else "is asked by `serve`; its admin must approve"
    )
    click.echo(f"{feed} {said}")


async def _follow(context: Context, feed: str) -> str:
    federation = build_federation(context.config, context.store)
    try:
        return await federation.follow(feed, context.config.peers.defaults)
    finally:
        await federation.stop()


@peers.command()
@click.argument("feed", metavar="HANDLE")
@pass_context
def unfollow(context: Context, feed: str) -> None:
    """End following a feed (handle or URL, as `peers list --json` shows) and drop its verdicts."""
    asyncio.run(_unfollow(context, feed))
    click.echo(f"{feed} is followed no more")


async def _unfollow(context: Context, feed: str) -> None:
    federation = build_federation(context.config, context.store)
    try:
        await federation.unfollow(feed)
    finally:
        await federation.stop()


@peers.command("list")
@json_option
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List the peers: trust, verdicts held, and how far each feed was read."""
    known = context.store.read_now(list_peers)
    feeds = context.store.read_now(list_follows)
    if as_json:
        print_json([_peer_json(peer, _feeds_of(peer, feeds)) for peer in known])
        return
    if not known:
        click.echo("no peers yet; follow one with `fediverdict peers follow clean@HOST`")
        return
    head = ("peer", "state", "clean", "flag", "clean rows", "flagged rows", "feeds")
    print_table(head, [_peer_row(peer, _feeds_of(peer, feeds)) for peer in known])


@peers.command()
@click.argument("peer")
@click.option("--clean", type=WEIGHT, help="What its clean verdicts add towards clean_quorum.")
@click.option("--flag", type=WEIGHT, help="What its flags add towards flag_quorum.")
@click.option("--label", "labels", multiple=True, help="Set the weights for this label alone.")
@pass_context
def trust(
    context: Context,
    peer: str,
    clean: float | None,
    flag: float | None,
    labels: tuple[str, ...],
) -> None:
    """Say what the verdicts of PEER may do here; weights are 0..1, 0 only observes."""
    if clean is None and flag is None:
        raise UsageError("give --clean, --flag or both, each 0..1")
    _refuse_unknown(labels, context.config)
    found = context.store.write_now(_set_trust, peer, _hundredths(clean), _hundredths(flag), labels)
    quorums = context.config.decide
    click.echo(
        f"{found.origin} {found.trust.state}: clean {found.trust.clean / 100:g} of "
        f"{quorums.clean_quorum:g}, flag {found.trust.flag / 100:g} of {quorums.flag_quorum:g}"
    )


def _set_trust(
    connection: Connection,
    name: str,
    clean: int | None,
    flag: int | None,
    labels: Iterable[str],
) -> Peer:
    peer = _named(list_peers(connection), name)
    trust = _weighted(peer.trust, clean, flag, tuple(labels))
    set_trust(connection, peer.origin, trust)
    return replace(peer, trust=trust)


def _weighted(trust: Trust, clean: int | None, flag: int | None, labels: tuple[str, ...]) -> Trust:
    """Return the trust with the weights that were given; what was not given stays as it was.

    Raising a weight lifts a suspension, lowering one never does.
    """
    if labels:
        overrides = {label: _override(trust, label, clean, flag) for label in labels}
        trust = replace(trust, labels={**trust.labels, **overrides})
    else:
        trust = replace(
            trust,
            clean=trust.clean if clean is None else clean,
            flag=trust.flag if flag is None else flag,
        )
    if trust.state is PeerState.SUSPENDED and not (clean or flag):
        return trust
    weights = [trust.clean, trust.flag]
    weights += [w or 0 for terms in trust.labels.values() for w in (terms.clean, terms.flag)]
    return replace(trust, state=PeerState.TRUSTED if any(weights) else PeerState.OBSERVED)


def _override(trust: Trust, label: str, clean: int | None, flag: int | None) -> LabelTrust:
    before = trust.labels.get(label, LabelTrust())
    return LabelTrust(
        before.clean if clean is None else clean, before.flag if flag is None else flag
    )


def _refuse_unknown(labels: Iterable[str], config: Config) -> None:
    known = load_policy(config.scanner.policy).labels
    for label in labels:
        if label not in known:
            raise UsageError(f"the policy here has no label {label}; it has {', '.join(known)}")


def _hundredths(weight: float | None) -> int | None:
    return None if weight is None else hundredths(weight)


def _named(known: list[Peer], name: str) -> Peer:
    """Return the peer of an origin, a host or a handle; raises UsageError."""
    host = name.rpartition("@")[2].removeprefix("https://").removeprefix("http://").rstrip("/")
    for peer in known:
        if name == peer.origin or host == peer.origin.partition("://")[2]:
            return peer
    raise UsageError(f"{name} is no peer known here; follow one of its feeds first")


def _feeds_of(peer: Peer, feeds: Iterable[FollowedFeed]) -> list[FollowedFeed]:
    return [feed for feed in feeds if origin_of(Url(feed.actor_id)) == peer.origin]


def _peer_json(peer: Peer, feeds: Iterable[FollowedFeed]) -> dict[str, Any]:
    return {
        "origin": peer.origin,
        "state": peer.trust.state,
        "clean_weight": peer.trust.clean / 100,
        "flag_weight": peer.trust.flag / 100,
        "verdicts": peer.clean_verdicts + peer.flagged_verdicts,
        "clean_verdicts": peer.clean_verdicts,
        "flagged_verdicts": peer.flagged_verdicts,
        "feeds": [_feed_json(feed) for feed in feeds],
    }


def _feed_json(feed: FollowedFeed) -> dict[str, Any]:
    return {
        "feed": feed.feed.name.lower(),
        "actor": feed.actor_id,
        "handle": feed.handle,
        "state": feed.state,
        "page": feed.page,
        "pulled": feed.pulled,
        "error": feed.error,
    }


def _peer_row(peer: Peer, feeds: Iterable[FollowedFeed]) -> tuple[object, ...]:
    trust = peer.trust
    said = "; ".join(_feed_words(feed) for feed in feeds)
    counts = (peer.clean_verdicts, peer.flagged_verdicts)
    return (peer.origin, trust.state, trust.clean / 100, trust.flag / 100, *counts, said)


def _feed_words(feed: FollowedFeed) -> str:
    read = time.strftime("%H:%M:%SZ", time.gmtime(feed.pulled)) if feed.pulled else "never"
    words = f"{feed.feed.name.lower()} {feed.state}, page {feed.page}, read {read}"
    return f"{words}, last error: {feed.error}" if feed.error else words
