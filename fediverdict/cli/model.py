"""`fediverdict model`: exports for machines without torch, and how far they agree with it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.config import Config
from fediverdict.contest import Contest, Entry
from fediverdict.errors import UsageError
from fediverdict.progress import Progress
from scanner.classifiers.compare import Agreement
from scanner.classifiers.engine import fetch_weights
from scanner.classifiers.export import Exported, export_model
from scanner.classifiers.onnx import SHIPPED, check_digest, export_name, read_card
from scanner.classifiers.onnx_file import read_onnx_file
from scanner.classifiers.pipeline import pipeline_id
from scanner.errors import ModelError
from scanner.policy import Policy, load_policy

PRECISIONS = ("fp32", "int8")
CHANGES_SHOWN = 20


@click.group()
def model() -> None:
    """Export the model for machines without torch, and compare exports with it."""


@model.command()
@click.option("--int8", is_flag=True, help="Smaller and faster, a pipeline of its own.")
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Default: in scanner.exports_folder."
)
@json_option
@pass_context
def export(context: Context, int8: bool, output: str | None, as_json: bool) -> None:
    """Write scanner.model and scanner.policy into one ONNX file that needs no torch.

    It is checked against torch before it takes its place.
    """
    settings = context.config.scanner
    made = export_model(
        settings,
        load_policy(settings.policy),
        "int8" if int8 else "fp32",
        Path(output) if output else None,
    )
    if as_json:
        print_json(_exported_json(made))
        return
    click.echo(printable(f"{made.path}: {made.size / 1e6:.1f} MB"))
    click.echo(f"pipeline {made.pipeline_id}")
    if int8:
        click.echo('used where scanner.precision is "int8"; compare it first: model compare FOLDER')


@model.command()
@json_option
@pass_context
def fetch(context: Context, as_json: bool) -> None:
    """Download the weights of scanner.model, if they are not here, and hold them to their digest.

    What was cut short goes on where it stopped. Prints the SHA-256 for scanner.weights_sha256.
    """
    progress = Progress("bytes")
    found = fetch_weights(context.config.scanner, progress.reach)
    progress.clear()
    if as_json:
        print_json({"path": str(found.path), "sha256": found.sha256})
        return
    click.echo(printable(f'{found.path}\nweights_sha256 = "{found.sha256}"'))


@model.command(name="compare")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--onnx", "files", multiple=True, type=click.Path(dir_okay=False), help="An export.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    help="Percent of the pictures whose labels may change sides.",
)
@json_option
@pass_context
def compare_command(
    context: Context, folder: Path, files: tuple[str, ...], tolerance: float, as_json: bool
) -> int:
    """Score the pictures of FOLDER by torch and by each export, and say how they differ.

    Without --onnx, the exports that are found by the config are compared. Ends with 1 when more
    pictures than tolerated have a label on the other side of its threshold.
    """
    policy = load_policy(context.config.scanner.policy)
    paths = [Path(file) for file in files] or _exports(context.config, policy)
    if not paths:
        raise UsageError("there is no export to compare; make one with `fediverdict model export`")
    contest = Contest(context.config, policy, paths, _warn)
    contest.run(folder)
    if not contest.keys:
        raise UsageError(f"{folder} holds no picture that can be judged")
    if as_json:
        print_json(_as_json(contest))
    else:
        _show(contest)
    shares = [contest.agreement(entry).changed_share for entry in contest.exports]
    return int(any(100 * share > tolerance for share in shares))


@model.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def info(file: Path, as_json: bool) -> None:
    """Say of which pipeline an exported FILE is, and that it is whole."""
    said = _info(file)
    if as_json:
        print_json(said)
        return
    for key, value in (*said["pipeline"].items(), ("pipeline id", said["pipeline_id"])):
        click.echo(printable(f"{key:<14} {value}"))
    click.echo(printable(f"{'labels':<14} {', '.join(said['labels'])}"))


@model.command(name="list")
@json_option
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List the exports that lie in scanner.exports_folder, and which of them the config fits."""
    policy = load_policy(context.config.scanner.policy)
    folder = context.config.scanner.exports_folder
    rows = [_row(path, policy) for path in sorted(folder.glob("*.onnx"))]
    if as_json:
        for row in rows:
            print_json(row)
        return
    names = ("file", "model", "precision", "policy", "pipeline_id", "problem")
    print_table(names, [[row.get(name) for name in names] for row in rows])


def _exported_json(made: Exported) -> dict[str, Any]:
    return {
        "path": str(made.path),
        "bytes": made.size,
        "pipeline": made.pipeline,
        "pipeline_id": made.pipeline_id,
    }


def _info(path: Path) -> dict[str, Any]:
    file = read_onnx_file(path)
    card = read_card(path, file.metadata)
    check_digest(path, card, file)
    described = {"pipeline": card.pipeline, "pipeline_id": pipeline_id(card.pipeline)}
    return {"path": str(path), "model": card.model, "labels": list(card.labels), **described}


def _row(path: Path, policy: Policy) -> dict[str, Any]:
    """Return one line of the list; a file that cannot be used says why."""
    try:
        said = _info(path)
    except ModelError as error:
        return {"file": path.name, "problem": str(error)}
    pipeline = said["pipeline"]
    fits = pipeline["policy"] == policy.digest()
    return {
        "file": path.name,
        "model": said["model"],
        "precision": pipeline["precision"],
        "policy": policy.name if fits else "another",
        "pipeline_id": said["pipeline_id"],
    }


def _exports(config: Config, policy: Policy) -> list[Path]:
    """Return the exports of the configured model and policy that are there."""
    settings = config.scanner
    folders = [settings.exports_folder, *([SHIPPED] if settings.model == "bundled" else [])]
    names = [export_name(settings, policy, precision) for precision in PRECISIONS]
    named = [settings.onnx] if settings.onnx else []
    found = [
        next((folder / name for folder in folders if (folder / name).is_file()), None)
        for name in names
    ]
    return list(dict.fromkeys(path for path in (*named, *found) if path))


def _as_json(contest: Contest) -> dict[str, Any]:
    """Return everything, for machines."""
    return {
        "pictures": len(contest.keys),
        "torch": _entry_json(contest.torch),
        "exports": [
            {**_entry_json(entry), **_agreement_json(contest.agreement(entry))}
            for entry in contest.exports
        ],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "pipeline": entry.classifier.pipeline,
        "pipeline_id": entry.classifier.pipeline_id,
        "pictures_per_second": round(entry.rate, 2),
    }


def _show(contest: Contest) -> None:
    """Print everything, for people."""
    click.echo(f"{len(contest.keys)} pictures; torch: {contest.torch.rate:.1f} a second")
    for entry in contest.exports:
        found = contest.agreement(entry)
        precision = entry.classifier.pipeline["precision"]
        click.echo("")
        click.echo(printable(f"{entry.name}: {precision}, {entry.rate:.1f} a second"))
        head = ("label", "mean", "median", "90 %", "99 %", "largest", "changed")
        print_table(head, _agreement_rows(found))
        _show_changes(found)


def _agreement_rows(found: Agreement) -> Iterable[tuple[object, ...]]:
    for label, one in found.labels.items():
        quantiles = (f"{value:.1f}" for value in one.quantiles.values())
        yield label, f"{one.mean:.2f}", *quantiles, one.largest, one.changed


def _show_changes(found: Agreement) -> None:
    for change in found.changes[:CHANGES_SHOWN]:
        scores = f"{change.before} by torch, {change.after} here, threshold {change.threshold}"
        click.echo(printable(f"changes sides: {change.key}: {change.label} {scores}"))
    if len(found.changes) > CHANGES_SHOWN:
        click.echo(f"and {len(found.changes) - CHANGES_SHOWN} more (--json has them all)")


def _agreement_json(found: Agreement) -> dict[str, Any]:
    return {
        "labels": {
            label: {
                "mean": round(one.mean, 3),
                "quantiles": {str(share): value for share, value in one.quantiles.items()},
                "largest": one.largest,
                "changed": one.changed,
            }
            for label, one in found.labels.items()
        },
        "changed_share": round(found.changed_share, 6),
        "changes": [
            {
                "key": change.key,
                "label": change.label,
                "threshold": change.threshold,
                "before": change.before,
                "after": change.after,
            }
            for change in found.changes
        ],
    }


def _warn(problem: object) -> None:
    click.echo(printable(problem), err=True)
