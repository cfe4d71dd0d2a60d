"""`fediverdict followers`: who asks to read our feeds, and who may."""

from collections.abc import Callable
from typing import Any

import click
from sqlalchemy import Connection

from federation.addresses import FEED_NAMES
from federation.following.followers import (
    REJECTED,
    Follower,
    approve,
    list_followers,
    reject,
    remove,
)
from federation.instance import Instance
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.errors import UsageError
from fediverdict.parts import own_instance

Settle = Callable[[Connection, Instance, str, Any], None]


@click.group()
def followers() -> None:
    """See who follows our feeds; approve, reject and remove them."""


@followers.command("list")
@json_option
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List the followers of both feeds and their state."""
    known = context.store.read_now(list_followers)
    if as_json:
        print_json([_json(follower) for follower in known])
        return
    if not known:
        click.echo("no followers yet")
        return
    print_table(("feed", "state", "actor"), [(_feed(f), f.state, f.actor_id) for f in known])


@followers.command("approve")
@click.argument("follower")
@click.option("--feed", type=click.Choice(["clean", "flagged"]), help="This feed alone.")
@json_option
@pass_context
def approve_command(context: Context, follower: str, feed: str | None, as_json: bool) -> None:
    """Let FOLLOWER (actor, origin or host) read the feeds it asked for.

    A feed that it was refused is opened to it by --feed alone.
    """
    chosen = _chosen(context, follower, feed)
    if feed is None:
        chosen = [one for one in chosen if one.state != REJECTED]
    if not chosen:
        raise UsageError(f"{follower} was rejected; with --feed it is approved all the same")
    _settle(context, chosen, approve, "approved", as_json=as_json)


@followers.command("reject")
@click.argument("follower")
@click.option("--feed", type=click.Choice(["clean", "flagged"]), help="This feed alone.")
@json_option
@pass_context
def reject_command(context: Context, follower: str, feed: str | None, as_json: bool) -> None:
    """Refuse FOLLOWER, also one that was approved before."""
    _settle(context, _chosen(context, follower, feed), reject, "rejected", as_json=as_json)


@followers.command("remove")
@click.argument("follower")
@click.option("--feed", type=click.Choice(["clean", "flagged"]), help="This feed alone.")
@json_option
@pass_context
def remove_command(context: Context, follower: str, feed: str | None, as_json: bool) -> None:
    """End that FOLLOWER follows us, and tell it; it may ask again, unlike one that is rejected."""
    _settle(context, _chosen(context, follower, feed), remove, "removed", as_json=as_json)


def _chosen(context: Context, name: str, feed: str | None) -> list[Follower]:
    known = context.store.read_now(list_followers, name)
    chosen = [one for one in known if feed is None or _feed(one) == feed]
    if not chosen:
        raise UsageError(f"{name} does not follow that here; see `fediverdict followers list`")
    return chosen


def _settle(
    context: Context, chosen: list[Follower], settle: Settle, said: str, *, as_json: bool
) -> None:
    instance = own_instance(context.config, context.store)
    for one in chosen:
        context.store.write_now(settle, instance, one.actor_id, one.feed)
        if not as_json:
            click.echo(f"{said} {one.actor_id} for the {_feed(one)} feed")
    if as_json:
        print_json([_json(one) | {"state": said} for one in chosen])


def _feed(follower: Follower) -> str:
    return FEED_NAMES[follower.feed]


def _json(follower: Follower) -> dict[str, Any]:
    return {
        "feed": _feed(follower),
        "actor": follower.actor_id,
        "state": follower.state,
        "created": follower.created,
    }
