"""`fediverdict codes`: codes that the hot-hash breaker holds, and letting them act again."""

import re
import time
from typing import Any

import click

from cache.guards.hot import HeldCode, list_held, release
from cache.verdict import SELF
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.errors import UsageError
from fediverdict.parts import clock

SHA256 = re.compile(r"[0-9a-f]{64}")


@click.group()
def codes() -> None:
    """See which codes are held for matching too many pictures, and release them."""


@codes.command()
@click.option("--released", is_flag=True, help="Those that were hot and act all the same.")
@json_option
@pass_context
def held(context: Context, released: bool, as_json: bool) -> int:
    """List the codes that are held: near them a picture is only scanned. Ends with 1 if any is."""
    found = context.store.read_now(list_held, released=released)
    if as_json:
        print_json([_json(one) for one in found])
    elif not found:
        click.echo("no code is held" if not released else "no code was released")
    else:
        head = ("of the picture", "issuer", "pictures", "held", "released")
        print_table(head, [_row(one) for one in found])
    return int(bool(found) and not released)


@codes.command("release")
@click.argument("sha256")
@pass_context
def release_command(context: Context, sha256: str) -> None:
    """Let the code of the picture with this SHA-256 act again; for a week it is not held."""
    if not SHA256.fullmatch(sha256.lower()):
        raise UsageError(f"{sha256} is no SHA-256 of 64 hex digits; `codes held` lists them")
    for one in context.store.write_now(release, bytes.fromhex(sha256), clock()):
        click.echo(f"the code of {sha256} ({_issuer(one)}) acts again")


def _json(one: HeldCode) -> dict[str, Any]:
    return {
        "sha256": one.sha256.hex(),
        "issuer": one.origin,
        "pictures": one.pictures,
        "held": one.held,
        "released": one.released,
    }


def _row(one: HeldCode) -> tuple[object, ...]:
    released = _time(one.released) if one.released is not None else None
    return one.sha256.hex(), _issuer(one), one.pictures, _time(one.held), released


def _issuer(one: HeldCode) -> str:
    return "this instance" if one.origin == SELF else one.origin


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(seconds))
