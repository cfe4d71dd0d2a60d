"""`fediverdict federation check`: the doctor, for a peer or for oneself from outside."""

import asyncio
from typing import Any

import click

from federation.checking.looking import Looker
from federation.checking.oneself import OwnDoctor
from federation.checking.peer import PeerDoctor
from federation.checking.result import Check, Outcome, found_something
from fediverdict.cli.context import Context, json_option, pass_context, print_json, printable
from fediverdict.parts import build_federation, clock, own_instance

_WIDTH = max(len(outcome) for outcome in Outcome)


@click.group("federation")
def federation_group() -> None:
    """Look after what goes between this instance and its peers."""


@federation_group.command()
@click.argument("handle", required=False, metavar="[HANDLE_OR_URL]")
@json_option
@pass_context
def check(context: Context, handle: str | None, as_json: bool) -> int:
    """Find out what is wrong with a peer, or with this instance as peers see it.

    HANDLE is e.g. clean@example.org, or the URL of an actor. Nothing is changed. Ends with 1
    when something was found.
    """
    checks = asyncio.run(_check(context, handle))
    if as_json:
        subject = handle or context.config.instance.base_url
        print_json({"checked": subject, "checks": [_json(one) for one in checks]})
    else:
        for one in checks:
            _print(one)
    return int(found_something(checks))


async def _check(context: Context, handle: str | None) -> list[Check]:
    instance = own_instance(context.config, context.store)
    federation = build_federation(context.config, context.store)
    looker = Looker(federation.client, context.config.federation, instance.id, clock)
    try:
        if handle is None:
            return await OwnDoctor(looker, instance).check()
        return await PeerDoctor(looker, context.store).check(handle)
    finally:
        await federation.stop()


def _print(one: Check) -> None:
    click.echo(printable(f"{one.outcome.value:{_WIDTH}}  {one.name.value}: {one.said}"))
    if one.todo:
        click.echo(printable(f"{'':{_WIDTH}}  -> {one.todo}"))


def _json(one: Check) -> dict[str, Any]:
    return {
        "check": one.name.value,
        "of": one.of or None,
        "outcome": one.outcome.value,
        "said": one.said,
        "todo": one.todo or None,
    }
