"""What `scan` and `apply` do with findings: the options, the checks, the question, the doing."""

import asyncio
import functools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from cache.memory.runs import Finding, ItemState, Run
from cache.verdict import Decision
from fediverdict.acting import Acting, Action, Plan, Rewrite
from fediverdict.calibrating import is_report_only
from fediverdict.cli.context import Context, make_folder, print_json, printable
from fediverdict.cli.sources import opened
from fediverdict.errors import UsageError, UserError
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.locking import alone
from fediverdict.parts import build_judge
from fediverdict.rewriting import replace_file
from fediverdict.stopping import run_until_stopped, stop_on_signals
from scanner.formats.strip_process import strip_apart
from scanner.policy import needs_calibration
from scanner.sources.settings import FolderSettings, SourceSettings
from scanner.sources.source import Item, Source

CHOICES = ("flagged", "review", "undecodable", "over-limit", "clean", "unknown")
BY_POLICY = frozenset({Decision.FLAGGED, Decision.REVIEW})
UNHARMFUL = frozenset({Decision.CLEAN, Decision.UNKNOWN})
FAILED = 3


@dataclass(frozen=True, slots=True)
class Intent:
    """What the command line asks to be done with findings."""

    action: Action | None  # None: report
    named: tuple[Decision, ...]  # decisions asked for by name
    yes: bool
    dry_run: bool

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Which findings are acted on: those named, else flagged, or what is stripped safely."""
        if self.named:
            return self.named
        if self.action is Action.STRIP:  # what is flagged is evidence, and left as it is
            return (Decision.CLEAN, Decision.REVIEW, Decision.UNKNOWN)
        return (Decision.FLAGGED,)


def action_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that make up its `intent`."""

    @click.option(
        "--action",
        type=click.Choice(["report", "delete"]),
        default="report",
        show_default=True,
        help="What to do with findings; delete takes flagged pictures only.",
    )
    @click.option(
        "--strip", "strips", is_flag=True, help="Write files that hold more than a picture anew."
    )
    @click.option(
        "--decision",
        "named",
        type=click.Choice(CHOICES),
        multiple=True,
        help="Act on these findings, and on no others; may be given several times.",
    )
    @click.option("--yes", is_flag=True, help="Ask nothing.")
    @click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
    @functools.wraps(command)
    def with_intent(
        *args: Any,
        action: str,
        strips: bool,
        named: tuple[str, ...],
        yes: bool,
        dry_run: bool,
        **options: Any,
    ) -> Any:
        if strips and action == "delete":
            raise UsageError("--strip and --action delete are two things; ask for one at a time")
        chosen = Action.STRIP if strips else Action.DELETE if action == "delete" else None
        decisions = tuple(map(Decision, named))
        return command(*args, intent=Intent(chosen, decisions, yes, dry_run), **options)

    return with_intent


def check(intent: Intent, source: SourceSettings) -> None:
    """Refuse what can be refused before any work; raises UsageError."""
    if intent.action is None:
        return
    if intent.action is Action.STRIP and not isinstance(source, FolderSettings):
        raise UsageError(
            f"--strip writes files of a folder anew; objects of a {source.kind} source are left "
            "as they are"
        )
    if intent.action is Action.DELETE and UNHARMFUL & set(intent.named):
        raise UsageError("what is clean or unknown is not deleted; --strip and report take it")
    if not (intent.yes or intent.dry_run or sys.stdin.isatty()):
        raise UsageError(
            f"nobody can be asked here; add --yes to {intent.action}, or --dry-run to see what "
            "would be done"
        )


def refuse_report_only(
    context: Context, judgements: Judgements, intent: Intent, *, beforehand: bool = False
) -> None:
    """Refuse deleting by a policy that was not calibrated; raises UserError.

    `beforehand`, while nothing was scanned yet, only what is certain to be refused later.
    """
    if intent.action is not Action.DELETE or not BY_POLICY & set(intent.decisions):
        return
    if beforehand and not needs_calibration(judgements.policy):
        return
    if context.store.read_now(is_report_only, judgements):
        raise UserError(
            f"the policy {judgements.policy.name} only reports until it was tried on "
            "harmless pictures of yours; run `fediverdict policy calibrate FOLDER` first"
        )


def act_on(
    context: Context, run: Run, settings: SourceSettings, intent: Intent, *, as_json: bool
) -> int:
    """Say what is to be done to a run's findings, ask, do it; return the exit code."""
    if intent.action is None:
        return 0
    judge = build_judge(context.config, context.store, can_scan=False)
    try:
        refuse_report_only(context, judge.judgements, intent)
        plan = Plan(run, intent.action, intent.decisions)
        counts = context.store.read_now(plan.counts)
        sentence = asyncio.run(_said_beforehand(plan, counts, settings))
        click.echo(printable(sentence), err=as_json)
        if intent.dry_run or not counts:
            return 0
        if not intent.yes:
            click.confirm("Go on?", abort=True, err=True)
        state_dir = context.config.instance.state_dir
        make_folder(state_dir)
        busy = f"another process acts on run {run.id}; wait for it"
        with alone(state_dir / f"apply-{run.id}.lock", busy):
            return run_until_stopped(
                _carry_out(context, judge, settings, plan, _Report(plan, as_json))
            )
    finally:
        judge.close()


async def _carry_out(
    context: Context, judge: Judge, settings: SourceSettings, plan: Plan, report: "_Report"
) -> int:
    rewrite = _rewriter(judge, settings) if plan.action is Action.STRIP else None
    try:
        with stop_on_signals() as stop:
            async with opened(settings) as source:
                acting = Acting(judge, source, plan, context.config.scan, report.add, rewrite)
                await acting.run(stop)
    finally:
        report.finish()
    return FAILED if report.counts[ItemState.FAILED] or stop.is_set() else 0


async def _said_beforehand(plan: Plan, counts: dict[str, int], settings: SourceSettings) -> str:
    async with opened(settings) as source:
        if source.location != plan.run.location:
            raise UsageError(
                f"run {plan.run.id} was over {plan.run.location}, but {plan.run.source} is "
                f"{source.location} by now; scan it again"
            )
        return said_beforehand(plan, counts, source)


def said_beforehand(plan: Plan, counts: dict[str, int], source: Source) -> str:
    """Return how many findings would be acted on, which, and whether it can be undone."""
    what = ", ".join(f"{count} {decision}" for decision, count in counts.items()) or "nothing"
    done = "deleted" if plan.action is Action.DELETE else "written anew without what is inside"
    undo = (
        "it can be undone in the store"
        if plan.action is Action.DELETE and source.can_undo_delete
        else "this cannot be undone"
    )
    where = f"{plan.run.source} ({source.kind} {source.location})"
    return f"run {plan.run.id}, {where}: {what} to be {done}; {undo}."


def _rewriter(judge: Judge, settings: SourceSettings) -> Rewrite:
    if not isinstance(settings, FolderSettings):
        raise UsageError(f"objects of a {settings.kind} source are not written anew")
    root, scanner = settings.path, judge.judgements.config.scanner

    async def rewrite(item: Item, data: bytes) -> bool:
        stripped = await strip_apart(
            data,
            judge.limits,
            memory_bytes=scanner.decoder_bytes,
            decode_seconds=scanner.decode_seconds,
        )
        if stripped == data:
            return False
        await asyncio.to_thread(replace_file, root, item, stripped)
        return True

    return rewrite


class _Report:
    """Says what became of each finding, and the sums."""

    def __init__(self, plan: Plan, as_json: bool) -> None:
        self._plan, self._as_json = plan, as_json
        self.counts: Counter[str] = Counter()

    def add(self, finding: Finding) -> None:
        """Take one finding that was acted on, failed, or was skipped."""
        self.counts[finding.state] += 1
        if self._as_json:
            told = {"key": finding.key, "state": finding.state, "note": finding.note}
            print_json({"action": self._plan.action, "decision": finding.decision, **told})
            return
        note = f": {finding.note}" if finding.note else ""
        click.echo(printable(f"{finding.state:<8} {finding.key}{note}"))

    def finish(self) -> None:
        """Print the sums."""
        names = (ItemState.ACTED, ItemState.SKIPPED, ItemState.FAILED)
        counts = {str(name): self.counts[name] for name in names}
        if self._as_json:
            print_json({"run": self._plan.run.id, "action": self._plan.action, "counts": counts})
            return
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        click.echo(f"{self._plan.action}: {said}")
