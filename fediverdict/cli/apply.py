"""`fediverdict apply`: what earlier runs found, and acting on it without scanning again."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from cache.memory.runs import Finding, Run, findings_page, load_run, newest_runs
from cache.storage.database import Store
from cache.verdict import Decision
from fediverdict.cli.action import Intent, act_on, action_options, check
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.config import Config
from fediverdict.errors import UsageError, UserError
from scanner.sources.settings import FolderSettings, SourceSettings

RUNS_SHOWN = 50
COLUMNS = ("key", "decision", "rules", "inside", "size", "sha256", "reason", "state", "action")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula; names come from strangers."""


@click.command()
@click.argument("run", metavar="[RUN]", type=click.IntRange(0, 2**53), required=False)
@action_options
@click.option("--output", type=click.Path(path_type=Path), help="Report to a file, .csv or .jsonl.")
@json_option
@pass_context
def apply(
    context: Context, run: int | None, *, intent: Intent, output: Path | None, as_json: bool
) -> int:
    """Act on the findings of RUN, a scan's number, without scanning; without RUN, list the runs.

    Reports unless --action or --strip asks for more. Says beforehand how many objects are meant
    and whether it can be undone, and asks, unless --yes is given. Only flagged pictures are
    deleted, others if --decision names them. An object that changed since, or that is decided
    otherwise by now, is skipped and reported. Cut short, it may be called again.

    Ends with 3 when something could not be done.
    """
    if run is None:
        _list_runs(context.store, as_json=as_json)
        return 0
    found = context.store.read_now(load_run, run)
    if intent.action is None:
        _report(context.store, found, intent, output, as_json=as_json)
        return 0
    if output is not None:
        raise UsageError("--output takes a report; leave it out, or leave out what is to be done")
    settings = _source_of(context.config, found)
    check(intent, settings)
    return act_on(context, found, settings, intent, as_json=as_json)


def _source_of(config: Config, run: Run) -> SourceSettings:
    """Return the settings of a run's source; raises UsageError where they are gone."""
    if run.source in config.sources:
        return config.sources[run.source]
    if run.source == run.location and Path(run.source).is_absolute():
        return FolderSettings(path=Path(run.source))
    raise UsageError(f"run {run.id} was over {run.source}, but the config has no such source")


def _list_runs(store: Store, *, as_json: bool) -> None:
    runs = store.read_now(newest_runs, RUNS_SHOWN)
    if as_json:
        print_json([_run_json(run, counts) for run, counts in runs])
        return
    rows = [
        (run.id, run.kind, run.source, _time(run.started), run.state, run.seen, _sums(counts))
        for run, counts in runs
    ]
    print_table(("run", "kind", "source", "started", "state", "seen", "found"), rows)


def _run_json(run: Run, counts: dict[str, int]) -> dict[str, object]:
    return {
        "run": run.id,
        "kind": run.kind,
        "source": run.source,
        "options": dict(run.options),
        "started": run.started,
        "state": run.state,
        "seen": run.seen,
        "scanned": run.scanned,
        "found": counts,
    }


def _sums(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {decision}" for decision, count in counts.items()) or "nothing"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _report(store: Store, run: Run, intent: Intent, output: Path | None, *, as_json: bool) -> None:
    findings = _findings(store, run, intent.named or tuple(Decision))
    if output is None:
        _print(findings, as_json=as_json)
        return
    with _new_file(output) as file:
        count = _write_csv(findings, file) if output.suffix == ".csv" else _write(findings, file)
    click.echo(printable(f"{count} findings of run {run.id} are in {output}"), err=as_json)


def _findings(store: Store, run: Run, decisions: tuple[Decision, ...]) -> Iterator[Finding]:
    after = 0
    while page := store.read_now(findings_page, run.id, after, decisions=decisions):
        yield from page
        after = page[-1].id


def _print(findings: Iterator[Finding], *, as_json: bool) -> None:
    if as_json:
        _write(findings, sys.stdout)
        return
    for one in findings:
        inside = f" Inside: {', '.join(one.inside)}." if one.inside else ""
        became = f" ({one.action}: {one.state})" if one.action else ""
        said = f"{one.decision:<11} {one.key}: {one.reason}{inside}{became}"
        click.echo(printable(said))


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """Open a report that only we may read; raises UserError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        yield file


def _write(findings: Iterator[Finding], file: TextIO) -> int:
    lines = (json.dumps(_finding_json(one), sort_keys=True) + "\n" for one in findings)
    return sum(file.write(line) > 0 for line in lines)


def _write_csv(findings: Iterator[Finding], file: TextIO) -> int:
    table = csv.writer(file)
    table.writerow(COLUMNS)
    rows = ([_cell(value) for value in _finding_json(one).values()] for one in findings)
    return sum(table.writerow(row) > 0 for row in rows)


def _cell(value: object) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula."""
    text = " ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _finding_json(one: Finding) -> dict[str, object]:
    values = (
        one.key,
        one.decision,
        list(one.rules),
        list(one.inside),
        one.size,
        one.sha256.hex() if one.sha256 else None,
        one.reason,
        one.state,
        one.action,
    )
    return dict(zip(COLUMNS, values, strict=True))
