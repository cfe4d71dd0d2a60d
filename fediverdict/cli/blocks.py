"""`fediverdict peers block`, `unblock` and `blocks`: domains that this instance has no part in."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from federation.errors import BadRequest
from federation.following.ending import Ended, count_ties, end_ties
from federation.outbound.block_list import (
    MAX_LIST_BYTES,
    MAX_REASON_CHARACTERS,
    Block,
    ParsedList,
    add_blocks,
    known_among,
    list_blocks,
    parse_list,
    remove_block,
    to_csv,
)
from federation.outbound.domain import covering, host_of, parse_domain
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.config import Config
from fediverdict.errors import UsageError
from fediverdict.parts import clock

CONFIG_FILE = "config file"
"""The source of what `federation.blocked_domains` blocks."""

SHOWN_NAMES = 5


@click.command()
@click.argument("domain")
@click.option("--reason", default="", help="Why; kept with the block, never sent.")
@json_option
@pass_context
def block(context: Context, domain: str, reason: str, as_json: bool) -> None:
    """Have no part in DOMAIN and everything below it, at once.

    Follows and followers there end without being told, what waits for them is dropped, and its
    verdicts weigh nothing. `serve` needs no restart.
    """
    name = _domain(domain)
    if len(reason) > MAX_REASON_CHARACTERS:
        raise UsageError(f"--reason takes at most {MAX_REASON_CHARACTERS} characters")
    if covering(_own_host(context.config), {name}):
        raise UsageError(f"{name} is where this instance itself stands; it is not blocked")
    limit = context.config.federation.block_rows
    added, ended = context.store.write_now(_block, [Block(name, reason)], limit)
    if as_json:
        print_json({"domain": name, "added": bool(added), "ended": asdict(ended)})
        return
    click.echo(f"{name} is blocked" if added else f"{name} was blocked already")
    _say_ended(ended, "ended")


@click.command()
@click.argument("domain")
@json_option
@pass_context
def unblock(context: Context, domain: str, as_json: bool) -> None:
    """Take DOMAIN off the list. What the block ended stays ended: follow and trust anew."""
    name = _domain(domain)
    if name in context.config.federation.blocked_domains:
        raise UsageError(f"{name} is blocked in the config file: federation.blocked_domains")
    if not context.store.write_now(remove_block, name):
        raise UsageError(f"{name} is not blocked; see `fediverdict peers blocks`")
    if as_json:
        print_json({"domain": name})
    else:
        click.echo(f"{name} is blocked no more; follow and trust it anew, if you want to")


@click.group(invoke_without_command=True)
@json_option
@pass_context
def blocks(context: Context, as_json: bool) -> None:
    """List the blocked domains, take a list from a file, write one.

    Without a command they are listed, with those of the config file.
    """
    if click.get_current_context().invoked_subcommand is None:
        _list(context, as_json)


@blocks.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--silence-too", is_flag=True, help="Block what the list only silences as well.")
@click.option("--dry-run", is_flag=True, help="Change nothing, only count.")
@json_option
@pass_context
def import_command(
    context: Context, file: Path, silence_too: bool, dry_run: bool, as_json: bool
) -> None:
    """Block the domains in FILE: Mastodon's CSV of domain blocks, or one domain a line.

    Of a CSV only severity `suspend` blocks. Nothing is taken off the list.
    """
    found = parse_list(_text(file), file.name, silence_too=silence_too)
    own = [name for name in found.blocks if covering(_own_host(context.config), {name})]
    wanted = [one for name, one in found.blocks.items() if name not in own]
    if dry_run:
        known = context.store.read_now(known_among, [one.domain for one in wanted])
        added = len(wanted) - len(known)
        ended = context.store.read_now(count_ties, [one.domain for one in wanted])
    else:
        limit = context.config.federation.block_rows
        added, ended = context.store.write_now(_block, wanted, limit)
    if as_json:
        print_json(_import_json(found, own, added, ended) | {"dry_run": dry_run})
        return
    _say_import(found, own, added, dry_run=dry_run)
    _say_ended(ended, "would be ended" if dry_run else "ended")


@blocks.command("export")
@pass_context
def export_command(context: Context) -> None:
    """Write all blocked domains to standard output, as a CSV that Mastodon imports."""
    click.echo(to_csv(_all(context)), nl=False)


def _block(conn: Connection, wanted: list[Block], limit: int) -> tuple[int, Ended]:
    added = add_blocks(conn, wanted, clock(), limit)
    return added, end_ties(conn, [one.domain for one in wanted])


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except BadRequest as error:
        raise UsageError(str(error)) from error


def _own_host(config: Config) -> str:
    return host_of(config.instance.base_url)


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        data = opened.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise UsageError(f"{file} is larger than {MAX_LIST_BYTES} bytes; that is no block list")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text") from error


def _all(context: Context) -> list[Block]:
    stored = context.store.read_now(list_blocks)
    known = {one.domain for one in stored}
    configured = context.config.federation.blocked_domains
    more = [Block(name, source=CONFIG_FILE) for name in configured if name not in known]
    return sorted([*stored, *more], key=lambda one: one.domain)


def _list(context: Context, as_json: bool) -> None:
    known = _all(context)
    if as_json:
        print_json([asdict(one) for one in known])
    elif not known:
        click.echo("no domain is blocked")
    else:
        rows = [(one.domain, one.source or "command", one.reason) for one in known]
        print_table(("domain", "from", "reason"), rows)


def _import_json(found: ParsedList, own: list[str], added: int, ended: Ended) -> dict[str, Any]:
    return {
        "added": added,
        "known": len(found.blocks) - len(own) - added,
        "milder": found.milder,
        "repeated": found.repeated,
        "unreadable": len(found.unreadable),
        "own": own,
        "ended": asdict(ended),
    }


def _say_import(found: ParsedList, own: list[str], added: int, *, dry_run: bool) -> None:
    known = len(found.blocks) - len(own) - added
    would = "would be blocked" if dry_run else "blocked"
    click.echo(f"{would}: {added} domains; blocked before: {known}")
    if found.milder:
        click.echo(f"{found.milder} left out: of a severity that does not block here")
    if found.repeated:
        click.echo(f"{found.repeated} stood there twice")
    if found.unreadable:
        shown = ", ".join(printable(name) for name in found.unreadable[:SHOWN_NAMES])
        click.echo(f"{len(found.unreadable)} left out: hidden or no domain, e.g. {shown}")
    if own:
        click.echo(f"left out: {', '.join(own)}, where this instance itself stands")


def _say_ended(ended: Ended, verb: str) -> None:
    if ended.is_nothing:
        click.echo("nothing had to be ended")
        return
    parts = (
        f"{ended.follows} follows",
        f"{ended.followers} followers",
        f"{ended.deliveries} waiting deliveries",
        f"{ended.received} received activities",
    )
    click.echo(f"{verb}: {', '.join(parts)}; {ended.suspended} peers suspended")
