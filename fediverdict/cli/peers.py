"""`fediverdict peers`: whom this instance follows, and what their verdicts may do here."""

import asyncio

import click

from cache.trust.notices import unread
from cache.trust.trust import list_peers
from federation.reading.states import feed_states
from fediverdict.cli.blocks import block, blocks, unblock
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.cli.disputes import dispute, disputes
from fediverdict.cli.peer_options import WEIGHT
from fediverdict.cli.peer_words import feeds_of, peer_json, peer_row
from fediverdict.cli.peers_follow import follow
from fediverdict.cli.peers_resume import resume
from fediverdict.cli.peers_show import show, suggest
from fediverdict.cli.peers_trust import suspend, trust
from fediverdict.parts import build_federation, clock

__all__ = ["WEIGHT", "peers"]


@click.group()
def peers() -> None:
    """Follow peers, list them, and say how far each is trusted."""


for command in (follow, trust, suspend, show, resume, suggest, block, unblock, blocks):
    peers.add_command(command)
for command in (dispute, disputes):
    peers.add_command(command)


@peers.command()
@click.argument("feed", metavar="HANDLE")
@json_option
@pass_context
def unfollow(context: Context, feed: str, as_json: bool) -> None:
    """End following a feed (handle or URL, as `peers list --json` shows) and drop its verdicts."""
    asyncio.run(_unfollow(context, feed))
    if as_json:
        print_json({"feed": feed, "state": None})
    else:
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
    feeds = context.store.read_now(feed_states, clock())
    if as_json:
        print_json([peer_json(peer, feeds_of(peer, feeds)) for peer in known])
        return
    if not known:
        click.echo("no peers yet; follow one with `fediverdict peers follow clean@HOST`")
        return
    head = ("peer", "state", "clean", "flag", "clean rows", "flagged rows", "feeds")
    print_table(head, [peer_row(peer, feeds_of(peer, feeds)) for peer in known])
    about = sorted({one.origin for one in context.store.read_now(unread) if one.origin})
    for origin in about:
        click.echo(f"there is something to read about {origin}: `fediverdict peers show {origin}`")
