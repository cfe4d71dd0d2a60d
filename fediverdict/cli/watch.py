"""`fediverdict watch`: judge what is in sources, then whatever appears, until it is stopped."""

import asyncio
import functools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import click
from sqlalchemy import Connection

from cache.memory.runs import Run, RunKind, RunState, begin_run, end_run, resume_run
from cache.memory.sightings import source_row
from fediverdict.cli.context import Context, json_option, make_folder, pass_context
from fediverdict.cli.report import Report
from fediverdict.cli.sources import opened, source_of
from fediverdict.config import ScanSettings
from fediverdict.judge import Judge
from fediverdict.locking import alone
from fediverdict.parts import build_judge
from fediverdict.reviewing import build_reviewer, reviewing
from fediverdict.seen import Seen
from fediverdict.source_scan import SourceScan
from fediverdict.stopping import run_until_stopped, stop_on_signals
from fediverdict.tally import CountTally
from fediverdict.watching import Watching
from scanner.sources.settings import SourceSettings
from scanner.sources.source import Source


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option("--rate", type=click.FloatRange(min=0), help="Pictures read a second, at most.")
@json_option
@pass_context
def watch(
    context: Context, sources: tuple[str, ...], prefix: str, rate: float | None, as_json: bool
) -> int:
    """Judge what is in each SOURCE, then whatever appears there, until it is stopped.

    SOURCE is a folder, or a name under [sources] in the config. Findings are printed as they are
    made, and reported only: act on them with `fediverdict apply`, where every watched source has
    a run. A source that is away is waited for. Ctrl-C and SIGTERM finish what is in flight.
    """
    named = dict(source_of(context.config, source) for source in sources)
    rated = {} if rate is None else {"rate_pictures_per_second": rate}
    settings = context.config.scan.model_copy(update=rated)
    report = Report(as_json, only_findings=True)
    run_until_stopped(_watch(context, named, prefix, settings, report))
    return 0


async def _watch(
    context: Context,
    named: dict[str, SourceSettings],
    prefix: str,
    settings: ScanSettings,
    report: Report,
) -> None:
    for source in named.values():
        async with opened(source):  # raises where no waiting helps: a client is not installed
            pass
    tally = CountTally(context.store)
    judge = build_judge(  # with "serve", for it shares the machine
        context.config, context.store, purpose="serve", tally=tally
    )
    try:
        with ExitStack() as locks, stop_on_signals(lambda: report.warn("stopping")) as stop:
            asked = _Asked(prefix, settings, report, locks)
            watches = [
                _Watch(context, judge, asked, name, source) for name, source in named.items()
            ]
            async with reviewing(build_reviewer(context.config, judge)):
                await _together(watches, stop)
    finally:
        judge.close()
        await tally.close()


async def _together(watches: "Sequence[_Watch]", stop: asyncio.Event) -> None:
    """Watch all; what ends one of them ends all, with the others' work finished."""
    running = [asyncio.create_task(one.run(stop)) for one in watches]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()
        await asyncio.wait(running)
    finally:
        for task in running:
            task.cancel()
    for task in running:
        task.result()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one call of the command asks for, and where it is told."""

    prefix: str
    settings: ScanSettings
    report: Report
    locks: ExitStack


class _Watch:
    """One watched source: each pass opens it anew, and adds to one run."""

    def __init__(
        self,
        context: Context,
        judge: Judge,
        asked: _Asked,
        name: str,
        source: SourceSettings,
    ) -> None:
        self._context, self._judge, self._asked = context, judge, asked
        self._name, self._source, self._is_locked = name, source, False

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        await Watching(self._name, self._pass, self._asked.settings, self._asked.report.warn).run(
            stop
        )

    async def _pass(self, stop: asyncio.Event) -> None:
        store = self._context.store
        async with opened(self._source, self._asked.report.warn) as source:
            run = await store.write(self._begun, source, int(time.time()))
            self._lock(run)
            one_pass = SourceScan(
                self._judge, source, run, self._asked.settings, self._source.share, self._tell
            )
            try:
                await one_pass.run(source.watch(None, self._asked.prefix), stop)
            finally:
                await store.write(end_run, run.id, RunState.STOPPED, now=int(time.time()))

    def _tell(self, seen: Seen) -> None:
        self._asked.report.add(seen, self._name)

    def _begun(self, connection: Connection, source: Source, now: int) -> Run:
        about = {"kind": source.kind, "location": source.location}
        source_id = source_row(connection, name=self._name, **about)
        which = (source_id, RunKind.WATCH, {"prefix": self._asked.prefix})
        begun = functools.partial(begin_run, connection, *which, reads_all=False, now=now)
        return resume_run(connection, *which, now=now) or begun()

    def _lock(self, run: Run) -> None:
        """Refuse a second watch over the same source; held until the command ends."""
        if self._is_locked:
            return
        state_dir = self._context.config.instance.state_dir
        make_folder(state_dir)
        busy = f"{self._name} is being watched by another process"
        self._asked.locks.enter_context(alone(state_dir / f"watch-{run.source_id}.lock", busy))
        self._is_locked = True
