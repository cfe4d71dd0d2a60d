"""`fediverdict policy calibrate`: what the policy makes of pictures known to be harmless."""

import sys
import time
from math import isnan
from pathlib import Path
from typing import Any, get_args

import click

from cache.memory.calibration import record_calibration
from fediverdict.calibrating import Calibrating
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.config import Config, expanded
from fediverdict.errors import FAILED, UsageError
from fediverdict.judgement import Judgements
from scanner.calibrate import (
    Distribution,
    Rate,
    distribution,
    pictures_needed,
    rate,
    smallest_rate,
    smallest_threshold,
)
from scanner.classifiers.engine import Purpose, load_classifier
from scanner.policy import load_policy
from scanner.settings import batch_of

PROGRESS_SECONDS = 0.5
TARGET_LEAST, TARGET_MOST = 1e-6, 0.5
"""Shares of harmless pictures that can be aimed at."""
SHOWN = 20
"""Pictures named for each strictness in the text; --json names all."""


def _no_nan(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if isnan(value):  # no range refuses it
        raise click.BadParameter("not a number")
    return value


@click.command()
@click.argument("folder", metavar="FOLDER")
@click.option(
    "--target-rate",
    type=click.FloatRange(TARGET_LEAST, TARGET_MOST),
    callback=_no_nan,
    default=0.001,
    show_default=True,
    help="The share of harmless pictures that a suggested threshold may flag.",
)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(get_args(Purpose)),
    default="scan",
    show_default=True,
    help="Whose pipeline is tried, where scanner.backend = auto makes two of them.",
)
@json_option
@pass_context
def calibrate(
    context: Context, folder: str, target_rate: float, purpose: Purpose, as_json: bool
) -> int:
    """Score every picture of FOLDER, all KNOWN to be harmless, by the configured policy.

    Reports how scores lie, how often each rule would be wrong at each strictness, which pictures
    would be flagged, and suggests thresholds. Stores no verdict and publishes nothing. Until it
    has run on enough pictures, a policy other than `test` is report-only. Ctrl-C reports what was
    done and does not count as a run. Ends with 1 when a picture would be flagged.
    """
    path = _folder(folder)
    config, store = context.config, context.store
    run = _prepared(config, purpose)
    finished = _run(run, path, batch_of(config.scanner, has_device=False))
    enough = run.pictures >= config.scanner.calibration_pictures
    if finished and enough:
        store.write_now(record_calibration, run.result(int(time.time())))
    report = _Report(run, target_rate, config, finished=finished, recorded=finished and enough)
    if as_json:
        print_json(report.as_json())
    else:
        report.print()
    if not finished:
        return FAILED
    return int(bool(run.flagged[report.strictness]))


def _folder(folder: str) -> Path:
    path = expanded(Path(folder))
    if not path.is_dir():
        raise UsageError(f"{folder} is no folder; give one with pictures known to be harmless")
    return path


def _prepared(config: Config, purpose: Purpose) -> Calibrating:
    policy = load_policy(config.scanner.policy)
    judgements = Judgements(config, policy)
    classifier = load_classifier(config.scanner, policy, purpose)
    return Calibrating(judgements, classifier, config.limits, _say)


def _say(problem: str) -> None:
    click.echo(printable(problem), err=True)


def _run(run: Calibrating, folder: Path, batch: int) -> bool:
    """Score the folder, with progress on a terminal; tells whether nobody stopped it."""
    started = shown = time.monotonic()
    try:
        for _ in run.run(folder, batch):
            now = time.monotonic()
            if sys.stderr.isatty() and now - shown >= PROGRESS_SECONDS:
                shown = now
                speed = run.pictures / (now - started)
                click.echo(f"\r{run.pictures} pictures, {speed:.1f} a second", err=True, nl=False)
    except KeyboardInterrupt:
        click.echo("\nstopped; this is what was done", err=True)
        return False
    return True


class _Report:
    """What is said of a run, for people and for machines."""

    def __init__(
        self, run: Calibrating, target: float, config: Config, *, finished: bool, recorded: bool
    ) -> None:
        self._run, self._target = run, target
        self._finished, self._recorded = finished, recorded
        self._least = config.scanner.calibration_pictures
        listed = run.classifier.pipeline_id in config.pipelines
        self.strictness = "listed" if listed else config.scanner.strictness

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        run = self._run
        factor, thresholds = run.suggested(self._target) or (None, None)
        return {
            "policy": run.judgements.policy.name,
            "pipeline": run.classifier.pipeline_id,
            "pictures": run.pictures,
            "left_out": dict(run.counts),
            "finished": self._finished,
            "recorded": self._recorded,
            "strictness": self.strictness,
            "labels": {label: self._label_json(label) for label in run.labels if run.pictures},
            "rules": {s: self._rules_json(s) for s in run.thresholds},
            "thresholds": run.thresholds,
            "flagged": {
                s: [{"key": key, "rules": rules} for key, rules in found]
                for s, found in run.flagged.items()
            },
            "target_rate": self._target,
            "smallest_rate": smallest_rate(run.pictures),
            "suggested": {"odds": factor and float(factor), "thresholds": thresholds},
        }

    def print(self) -> None:
        """Print it for people."""
        run = self._run
        left_out = "".join(f", {count} {name}" for name, count in sorted(run.counts.items()))
        click.echo(f"{run.pictures} harmless pictures scored{left_out}")
        if run.pictures:
            self._print_labels()
            self._print_rules()
            self._print_flagged()
            self._print_suggestion()
        self._print_end()

    def _label_json(self, label: str) -> dict[str, Any]:
        scores = self._run.scores_of(label)
        found = distribution(scores)
        return {
            "quantiles": {str(q): score for q, score in found.quantiles.items()},
            "largest": found.largest,
            "histogram": list(found.histogram),
            "smallest_threshold": smallest_threshold(scores, self._target),
        }

    def _rules_json(self, strictness: str) -> dict[str, Any]:
        rates = {name: self._rate(count) for name, count in self._counts(strictness).items()}
        return {
            name: {"flagged": r.count, "rate": r.share, "low": r.low, "high": r.high}
            for name, r in rates.items()
        }

    def _counts(self, strictness: str) -> dict[str, int]:
        return self._run.flagged_by_rule(strictness)

    def _rate(self, count: int) -> Rate:
        return rate(count, self._run.pictures)

    def _print_labels(self) -> None:
        click.echo("\nscores (0..10000) of harmless pictures, and how many lie in each tenth")
        run = self._run
        rows = [_label_row(name, distribution(run.scores_of(name))) for name in run.labels]
        print_table(("label", "50 %", "90 %", "99 %", "99.9 %", "largest", "tenths"), rows)

    def _print_rules(self) -> None:
        click.echo("\nwrongly flagged, with the Wilson interval of 95 %")
        rows = [
            (name, strictness, count, _percent(r.share), f"{_percent(r.low)} .. {_percent(r.high)}")
            for strictness in self._run.thresholds
            for name, count in self._counts(strictness).items()
            for r in [self._rate(count)]
        ]
        print_table(("rule", "strictness", "pictures", "rate", "between"), rows)

    def _print_flagged(self) -> None:
        for strictness, found in self._run.flagged.items():
            if found:
                click.echo(f"\nwould be flagged at {strictness}:")
            for key, rules in found[:SHOWN]:
                click.echo(printable(f"  {key}: {', '.join(rules)}"))
            if len(found) > SHOWN:
                click.echo(f"  and {len(found) - SHOWN} more; --json names them all")

    def _print_suggestion(self) -> None:
        target = _percent(self._target)
        click.echo(f"\nsmallest thresholds with at most {target} of these pictures over them")
        rows = [
            (label, smallest_threshold(self._run.scores_of(label), self._target) or "none does")
            for label in self._run.labels
        ]
        print_table(("label", "alone"), rows)
        found = self._run.suggested(self._target)
        if found is None:
            click.echo("no common step of the thresholds keeps every rule to that")
        else:
            factor, thresholds = found
            values = ", ".join(f"{label} = {value}" for label, value in thresholds.items())
            click.echo(f"so that every rule keeps to it: {values} (odds times {float(factor):.3g})")
        claim, needed = smallest_rate(self._run.pictures), pictures_needed(self._target)
        if self._target < claim:
            click.echo(
                f"{self._run.pictures} pictures cannot show a rate under {_percent(claim)} (3/n), "
                f"even where none is flagged: {target} takes {needed} pictures"
            )
        click.echo("harmless pictures show false alarms alone, not what a threshold would miss")

    def _print_end(self) -> None:
        if self._recorded:
            click.echo("\nrecorded: these rules and thresholds count as calibrated here")
        elif self._finished:
            click.echo(
                f"\nnot recorded: it takes {self._least} different pictures "
                "(scanner.calibration_pictures)"
            )


def _label_row(label: str, found: Distribution) -> tuple[object, ...]:
    return (label, *found.quantiles.values(), found.largest, " ".join(map(str, found.histogram)))


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
