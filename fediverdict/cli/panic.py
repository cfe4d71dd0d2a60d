"""`fediverdict panic`: no peer's verdict counts any more, at once; what they caused is listed."""

import time
from dataclasses import asdict
from typing import Any

import click

from cache.memory.peer_rows import settle_peer_codes
from cache.storage.database import Store
from cache.trust.panic import Calmed, CausedCase, caused_by_peers, panic, with_codes
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.parts import clock

SHOWN_PICTURES = 3

NEXT = """\
Nothing was released: pictures taken out of serving stay so until a person dismisses them.
Look at each with `fediverdict cases show CASE`, then `fediverdict cases decide CASE dismissed`;
`fediverdict panic --list --json` gives all of them to a script.
`fediverdict peers trust PEER --clean WEIGHT --flag WEIGHT` trusts a peer again."""


@click.command("panic")
@click.option("--yes", is_flag=True, help="Ask no question.")
@click.option("--list", "only_list", is_flag=True, help="Change nothing, list what they caused.")
@json_option
@pass_context
def panic_command(context: Context, yes: bool, only_list: bool, as_json: bool) -> None:
    """Put every peer to observed, and list the cases that their flags caused.

    `serve` needs no restart: within a second no verdict of a peer counts there. Run twice it
    changes nothing more.
    """
    store = context.store
    calmed = [] if only_list else _panic(store, yes=yes)
    caused = store.read_now(caused_by_peers)
    if as_json:
        peers = [asdict(peer) for peer in calmed]
        print_json({"peers": peers, "cases": [_case_json(case) for case in caused]})
        return
    if not only_list:
        _print_calmed(calmed)
    _print_cases(caused)
    click.echo(NEXT)


def _panic(store: Store, *, yes: bool) -> list[Calmed]:
    if not yes:
        click.confirm("Let no peer's verdict count any more?", abort=True, err=True)
    calmed = store.write_now(panic, clock())
    for issuer_id in store.read_now(with_codes):  # they weigh nothing already
        store.write_now(settle_peer_codes, issuer_id)
    return calmed


def _print_calmed(calmed: list[Calmed]) -> None:
    if not calmed:
        click.echo("no peer was trusted")
        return
    click.echo("only observed from now on, with what they weighed:")
    rows = [(one.origin, one.clean_weight / 100, one.flag_weight / 100) for one in calmed]
    print_table(("peer", "clean", "flag"), rows)


def _print_cases(caused: list[CausedCase]) -> None:
    if not caused:
        click.echo("no open case rests on a peer")
        return
    click.echo("cases that rest on peers:")
    rows = [
        (
            case.id,
            case.state,
            " ".join(case.rules),
            time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(case.opened)),
            "no" if case.only_peers else "yes",
            " ".join(case.peers),
            _pictures(case),
        )
        for case in caused
    ]
    print_table(("case", "state", "rules", "opened", "ours too", "peers", "pictures"), rows)


def _pictures(case: CausedCase) -> str:
    shown = " ".join(sha256.hex() for sha256 in case.pictures[:SHOWN_PICTURES])
    more = len(case.pictures) - SHOWN_PICTURES
    return f"{shown} and {more} more" if more > 0 else shown


def _case_json(case: CausedCase) -> dict[str, Any]:
    return {**asdict(case), "pictures": [sha256.hex() for sha256 in case.pictures]}
