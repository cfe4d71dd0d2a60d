"""`fediverdict tokens`: bearer tokens of the API, stored hashed and shown once."""

import time

import click

from cache.storage.tokens import Scope, create_token, delete_token, list_tokens
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.errors import UsageError

SCOPES = [scope.value for scope in Scope]


@click.group()
def tokens() -> None:
    """Make, list and revoke API tokens."""


@tokens.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
)
@pass_context
def create(context: Context, name: str, scopes: tuple[str, ...]) -> None:
    """Make a token called NAME and print it; it cannot be shown again."""
    wanted = [Scope(scope) for scope in scopes]
    click.echo(context.store.write_now(create_token, name, wanted, now=int(time.time())))


@tokens.command("list")
@json_option
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List the tokens by name and scope; the tokens themselves are not stored."""
    found = context.store.read_now(list_tokens)
    if as_json:
        print_json([{"name": t.name, "scopes": sorted(t.scopes)} for t in found])
        return
    print_table(("name", "scopes"), [(t.name, " ".join(sorted(t.scopes))) for t in found])


@tokens.command()
@click.argument("name")
@pass_context
def revoke(context: Context, name: str) -> None:
    """Revoke the token called NAME at once."""
    if not context.store.write_now(delete_token, name):
        raise UsageError(f"there is no token {name}; see `fediverdict tokens list`")
    click.echo(f"revoked {name}")
