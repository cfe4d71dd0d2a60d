"""`fediverdict export` and `import`: verdicts and hash lists as files, ours and other tools'."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, get_args

import click
from sqlalchemy import Connection

from cache.memory.exporting import export_codes, export_findings, export_verdicts
from cache.memory.lists import (
    Entry,
    drop_older,
    ensure_list,
    list_row,
    origin_of_list,
    store_entries,
    store_verdicts,
)
from cache.settings import hundredths
from cache.storage.rows import batches
from cache.verdict import SELF
from fediverdict.cli.context import Context, json_option, pass_context, print_json
from fediverdict.cli.peer_options import find_peer
from fediverdict.cli.peers import WEIGHT
from fediverdict.errors import UsageError, UserError
from fediverdict.exchange.files import opened, write_codes, write_csv, write_jsonl
from fediverdict.exchange.lines import FORMATS, Format, guess, read_rows
from fediverdict.exchange.rows import Judged, Row
from fediverdict.exchange.signals import exchanges, fetch_entries
from fediverdict.judgement import Judgements
from fediverdict.parts import clock
from scanner.policy import load_policy

BATCH = 1_000
"""Rows stored in one transaction."""

FOREVER = 2**62


@click.command("export")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--issuer", default=SELF, show_default=True, help="A peer, or list:NAME.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Else to stdout.")
@pass_context
def export_command(context: Context, kind: Format, issuer: str, output: Path | None) -> None:
    """Write verdicts to a file: what was judged here, or what one issuer says.

    jsonl and csv hold verdicts and findings, and `import` reads them. pdq and piefed hold the PDQ
    codes of our own flagged pictures alone. Keep the file private: hashes of bad pictures help
    evading them. The test card is never in it, nor who decided something.
    """
    if kind in ("pdq", "piefed") and issuer != SELF:
        raise UsageError(f"--format {kind} writes our own codes; leave --issuer away")
    if issuer != SELF:
        issuer = context.store.read_now(find_peer, issuer).origin
    with opened(output) as out:
        number = context.store.read_now(_export, _judgements(context), kind, issuer, out)
    click.echo(f"{number} rows written" + (f" to {output}" if output else ""), err=True)


def _export(
    connection: Connection, judgements: Judgements, kind: Format, issuer: str, out: IO[str]
) -> int:
    if kind in ("pdq", "piefed"):
        return write_codes(export_codes(connection), out, bits=kind == "piefed")
    judgement = judgements.current(connection)
    rows = export_verdicts(connection, issuer, judgement)
    if issuer == SELF:
        rows = itertools.chain(rows, export_findings(connection))
    return (write_csv if kind == "csv" else write_jsonl)(rows, out)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be imported, and as what."""

    name: str
    rule: str | None
    kind: str
    replace: bool
    drop: bool
    flag: float
    clean: float
    exchange: str | None
    options: Sequence[str]


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--list", "name", required=True, help="The list's name here; `list:NAME` is issuer.")
@click.option("--rule", help="The rule that its entries break, where a line names none.")
@click.option(
    "--format", "kind", type=click.Choice(["auto", *FORMATS]), default="auto", show_default=True
)
@click.option("--replace", is_flag=True, help="The file is the whole list: drop what it lacks.")
@click.option("--drop", is_flag=True, help="Remove all its entries.")
@click.option("--flag", type=WEIGHT, default=1.0, show_default=True, help="Weight of a new list.")
@click.option("--clean", type=WEIGHT, default=0.0, show_default=True, help="Of its clean verdicts.")
@click.option("--exchange", type=click.Choice(exchanges()), help="Ask this signal exchange.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="Of the exchange.")
@json_option
@pass_context
def import_command(context: Context, /, file: Path | None, as_json: bool, **given: Any) -> None:
    """Read FILE (- is the standard input) as a hash list, or as verdicts that `export` wrote.

    Reads PDQ hex lists, PieFed's 0/1 strings, CSV with a head, and JSON Lines. A list is weighed
    as a peer is: a match near it asks for a scan or a person, and `peers trust list:NAME` changes
    what it weighs. Nothing of it is ever published. A file with a bad line is not read at all.
    """
    wanted = Wanted(**given)
    origin_of_list(wanted.name)
    if wanted.drop:
        _say(as_json, wanted.name, stored=0, skipped=0, dropped=_drop(context, wanted.name))
        return
    if (file is None) == (wanted.exchange is None):
        raise UsageError("give a FILE, or --exchange, or --drop")
    _refuse_strange_rule(context, wanted.rule)
    if wanted.exchange is not None:
        rows: list[Row | None] = [*fetch_entries(wanted.exchange, _options(wanted.options))]
    else:
        rows = list(_rows(file or Path("-"), wanted.kind))
    _say(as_json, wanted.name, **_store(context, rows, wanted))


def _store(context: Context, rows: Sequence[Row | None], wanted: Wanted) -> dict[str, int]:
    """Store what was read, a batch a transaction; old rows go only after all new ones stand."""
    if wanted.rule is None and any(isinstance(row, Entry) and row.rule is None for row in rows):
        raise UsageError("say with --rule which rule the entries break")
    now = clock()
    kept = [row for row in rows if row is not None and not _is_over(row, now)]
    flag, clean = hundredths(wanted.flag), hundredths(wanted.clean)
    issuer_id = context.store.write_now(ensure_list, wanted.name, flag=flag, clean=clean, now=now)
    for some in batches(kept, BATCH):
        context.store.write_now(_write, issuer_id, some, wanted.rule or "", now)
    dropped = 0
    if wanted.replace:
        dropped = context.store.write_now(drop_older, issuer_id, stored_before=now)
    return {"stored": len(kept), "skipped": len(rows) - len(kept), "dropped": dropped}


def _write(
    connection: Connection, issuer_id: int, rows: Sequence[Row], rule: str, now: int
) -> None:
    entries = [row for row in rows if isinstance(row, Entry)]
    judged = [row for row in rows if isinstance(row, Judged)]
    store_entries(connection, issuer_id, entries, rule, now=now)
    pipelines = [row.pipeline for row in judged if row.pipeline is not None]
    store_verdicts(connection, issuer_id, [row.verdict for row in judged], pipelines, now=now)


def _is_over(row: Row, now: int) -> bool:
    return isinstance(row, Judged) and row.verdict.expires <= now


def _drop(context: Context, name: str) -> int:
    issuer_id = context.store.read_now(list_row, name)
    if issuer_id is None:
        raise UsageError(f"there is no list {name}; see `fediverdict peers list`")
    return context.store.write_now(drop_older, issuer_id, stored_before=FOREVER)


def _rows(file: Path, kind: str) -> Iterator[Row | None]:
    try:
        if str(file) == "-":
            yield from _parsed(sys.stdin, kind)
            return
        with file.open(encoding="utf-8-sig") as lines:
            yield from _parsed(lines, kind)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not text in UTF-8") from error


def _parsed(lines: Iterable[str], kind: str) -> Iterator[Row | None]:
    if kind == "auto":
        rest = iter(lines)
        first = next((line for line in rest if line.strip() and not line.startswith("#")), "")
        kind, lines = guess(first), itertools.chain([first], rest)
    [chosen] = [one for one in get_args(Format) if one == kind]
    yield from read_rows(lines, chosen)


def _options(options: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in options]
    if bad := [key for key, sign, _ in pairs if not sign]:
        raise UsageError(f"--set takes KEY=VALUE, not {bad[0]}")
    return {key: value for key, _, value in pairs}


def _judgements(context: Context) -> Judgements:
    return Judgements(context.config, load_policy(context.config.scanner.policy))


def _refuse_strange_rule(context: Context, rule: str | None) -> None:
    known = _judgements(context).rules
    if rule is not None and rule not in known:
        raise UsageError(f"there is no rule {rule}; there are {', '.join(sorted(known))}")


def _say(as_json: bool, name: str, *, stored: int, skipped: int, dropped: int) -> None:
    if as_json:
        print_json({"list": name, "stored": stored, "skipped": skipped, "dropped": dropped})
        return
    more = f", {skipped} say nothing against a picture or are over" if skipped else ""
    gone = f", {dropped} older ones dropped" if dropped else ""
    click.echo(f"list:{name}: {stored} stored{more}{gone}")
