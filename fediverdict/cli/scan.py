"""`fediverdict scan`: judge every picture of a source, once."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import click
from sqlalchemy import Connection

from cache.errors import CacheError
from cache.memory.runs import (
    Run,
    RunKind,
    RunState,
    begin_run,
    count_findings,
    end_run,
    last_count,
    resume_run,
)
from cache.memory.sightings import source_row
from fediverdict.cli.action import Intent, act_on, action_options, check, refuse_report_only
from fediverdict.cli.context import Context, json_option, make_folder, pass_context
from fediverdict.cli.report import Report
from fediverdict.cli.sources import opened, source_of
from fediverdict.config import ScanSettings
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.locking import alone
from fediverdict.moment import parse_moment
from fediverdict.parts import build_judge
from fediverdict.progress import Progress
from fediverdict.reviewing import build_reviewer
from fediverdict.seen import FOUND
from fediverdict.source_scan import SourceScan, Wanted
from fediverdict.stopping import run_until_stopped, stop_on_signals
from fediverdict.tally import CountTally
from scanner.errors import ScannerError
from scanner.policy import load_policy
from scanner.sources.settings import SourceSettings
from scanner.sources.source import Source

STOPPED = 3
"""The exit code of a scan that was stopped: it has not seen everything."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one call of the command asks for."""

    name: str
    source: SourceSettings
    scan: ScanSettings
    options: dict[str, str]
    wanted: Wanted
    reads_all: bool


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option(
    "--all", "reads_all", is_flag=True, help="Begin anew; read unchanged objects as well."
)
@click.option(
    "--since", metavar="TIME", help="Only what changed since: 2026-01-31, or 7d, 12h ago."
)
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop when so many were read.")
@click.option("--rate", type=click.FloatRange(min=0), help="Pictures read a second, at most.")
@action_options
@json_option
@pass_context
def scan(  # noqa: PLR0913  # one an option
    context: Context,
    source: str,
    *,
    reads_all: bool,
    since: str | None,
    prefix: str,
    limit: int | None,
    rate: float | None,
    intent: Intent,
    as_json: bool,
) -> int:
    """Judge every picture of SOURCE: a folder, or a name under [sources] in the config.

    Reports only, unless --action or --strip asks for more; what was judged is remembered either
    way. Every scan is a run with a number: `fediverdict apply RUN` acts on its findings later,
    without scanning again.

    A scan that was stopped (Ctrl-C, --limit) or killed goes on where it was when it is called
    again with the same --prefix and --since. Unchanged objects are not read again, and the same
    bytes are never scanned twice.

    Ends with 1 when a picture is flagged or up for review, with 3 when it was stopped.
    """
    name, settings = source_of(context.config, source)
    options = {"prefix": prefix} | ({"since": since} if since else {})
    _since(options, time.time())  # raises where it is no time
    rated = {} if rate is None else {"rate_pictures_per_second": rate}
    scans = context.config.scan.model_copy(update=rated)
    one_pass = Pass(name, settings, scans, options, Wanted(limit=limit), reads_all)
    check(intent, settings)
    if intent.action is not None:
        judgements = Judgements(context.config, load_policy(context.config.scanner.policy))
        refuse_report_only(context, judgements, intent, beforehand=True)
    report = Report(as_json)
    run = run_until_stopped(_scan(context, one_pass, report))
    if run is None:
        return STOPPED
    found = context.store.read_now(count_findings, run.id)  # also before it was cut short
    acted = act_on(context, run, settings, intent, as_json=as_json)
    return acted or int(any(found.get(decision) for decision in FOUND))


async def _scan(context: Context, asked: Pass, report: Report) -> Run | None:
    """Go through the source and report; return the run, None if it was asked to stop."""
    async with opened(asked.source, report.warn) as source:
        about = {"kind": source.kind, "location": source.location}
        source_id = await context.store.write(source_row, name=asked.name, **about)
        state_dir = context.config.instance.state_dir
        make_folder(state_dir)
        busy = f"{asked.name} is being scanned by another process; wait for it, or stop it"
        with alone(state_dir / f"scan-{source_id}.lock", busy):
            tally = CountTally(context.store)
            judge = build_judge(context.config, context.store, purpose="scan", tally=tally)
            try:
                return await _judged(context, asked, judge, source, source_id, report)
            finally:
                judge.close()
                await tally.close()


async def _judged(
    context: Context, asked: Pass, judge: Judge, source: Source, source_id: int, report: Report
) -> Run | None:
    with stop_on_signals(lambda: report.warn(_STOPPING)) as stop:
        run = await _run(context, asked, source_id, report)
        wanted = replace(asked.wanted, since=_since(asked.options, run.started))
        one_pass = SourceScan(
            judge, source, run, asked.scan, asked.source.share, report.add, wanted
        )
        try:
            complete = await _passed(context, one_pass, run, source, asked, stop)
        except (ScannerError, CacheError):
            report.finish(run, asked.name, complete=False, stopped=True)
            raise
        report.finish(run, asked.name, complete=complete, stopped=stop.is_set())
        if judge.scanner is None:
            report.warn("nothing can be scanned here; what nobody judged stays unknown")
        noted = await build_reviewer(context.config, judge).drain(stop)
        if noted.opened or noted.reopened:
            told = f"cases: {noted.opened} opened, {noted.reopened} reopened"
            report.warn(f"{told}; see `fediverdict cases list`")
        return None if stop.is_set() else run


_STOPPING = "stopping: what is in flight is finished; once more ends it at once"


async def _passed(
    context: Context,
    one_pass: SourceScan,
    run: Run,
    source: Source,
    asked: Pass,
    stop: asyncio.Event,
) -> bool:
    """Go through the source; whatever happens, the run is left as one that can be gone on with."""
    complete = False
    try:
        complete = await one_pass.run(source.list(_behind(run), asked.options["prefix"]), stop)
    finally:
        state = RunState.DONE if complete else RunState.STOPPED
        await context.store.write(end_run, run.id, state, now=int(time.time()))
    return complete


async def _run(context: Context, asked: Pass, source_id: int, report: Report) -> Run:
    """Go on with the run that was cut short, or begin one."""
    now = int(time.time())
    run, before = await context.store.write(_begun, asked, source_id, now)
    if run.seen:
        behind = _behind(run)
        report.warn(f"going on with run {run.id}{f' behind {behind}' if behind else ''}")
    about = before - run.seen if before is not None else None
    report.progress = Progress("pictures", about, about=True)
    return run


def _behind(run: Run) -> str | None:
    """Return where a listing goes on; None is its beginning.

    With --since it is listed from the beginning: what changed since the run was cut short may lie
    before its cursor, and be too old for the next run. What was recorded is not read again.
    """
    return None if "since" in run.options and not run.reads_all else run.cursor or None


def _since(options: Mapping[str, str], began: float) -> float | None:
    """Return since when objects are looked at: `7d` are the days before the run began."""
    return parse_moment(options["since"], began) if "since" in options else None


def _begun(connection: Connection, asked: Pass, source_id: int, now: int) -> tuple[Run, int | None]:
    which = (source_id, RunKind.SCAN, asked.options)
    before = last_count(connection, *which)
    run = None if asked.reads_all else resume_run(connection, *which, now=now)
    begun = run or begin_run(connection, *which, reads_all=asked.reads_all, now=now)
    return begun, before
