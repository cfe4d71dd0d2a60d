"""`fediverdict peers resume`: a feed that told two stories is read on, at a person's word."""

import sys

import click
from sqlalchemy import Connection

from cache.trust.trust import Peer
from federation.reading.states import FeedState, feed_states
from federation.reading.stories import Evidence, read_evidence
from federation.reading.stories import resume as read_on
from fediverdict.cli.context import Context, json_option, pass_context, print_json, printable
from fediverdict.cli.peer_feeds import evidence_lines
from fediverdict.cli.peer_options import find_peer
from fediverdict.cli.peer_words import feeds_of
from fediverdict.errors import UsageError
from fediverdict.parts import clock


@click.command()
@click.argument("peer")
@click.option("--yes", is_flag=True, help="Ask no question; for scripts.")
@json_option
@pass_context
def resume(context: Context, peer: str, yes: bool, as_json: bool) -> None:
    """Read the halted feeds of PEER on (host, origin, or the handle of one feed).

    They are read anew from their beginning, as they are told now. The weights stay at 0 until
    `peers trust` gives them again; the evidence is kept.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("resuming asks a question, and here is no terminal; give --yes")
    found, halted, evidence = context.store.read_now(_halted, peer)
    if not halted:
        raise UsageError(f"no feed of {peer} is halted; see `fediverdict peers show {peer}`")
    if not as_json:
        for feed in halted:
            click.echo(printable(f"{feed.handle or feed.actor_id}: {feed.halted}"))
        for line in evidence_lines(evidence):
            click.echo(line)
    if not yes:
        click.confirm("Read on, as it is told now?", abort=True, err=True)
    for feed in halted:
        context.store.write_now(read_on, feed.follow_id, clock())
    if as_json:
        print_json({"peer": found.origin, "resumed": [feed.actor_id for feed in halted]})
    else:
        click.echo(f"read on; its weights stay 0 until `fediverdict peers trust {found.origin}`")


def _halted(conn: Connection, name: str) -> tuple[Peer, list[FeedState], list[Evidence]]:
    peer = find_peer(conn, name)
    halted = [
        feed for feed in feeds_of(peer, feed_states(conn, clock())) if feed.halted is not None
    ]
    named = [feed for feed in halted if name.removeprefix("@") == feed.handle]
    chosen = named or ([] if "@" in name else halted)
    kinds = {feed.feed for feed in chosen}
    pairs = [one for one in read_evidence(conn, peer.origin) if one.cleared is None]
    return peer, chosen, [one for one in pairs if one.feed in kinds]
