"""`fediverdict policy`: checks a policy, calibrates it, and shows what another would change."""

from typing import Any

import click

from cache.judgement import PipelineState
from cache.memory.own_pipelines import shadow_in_use
from cache.memory.shadow import Compared, compare_shadow
from fediverdict.cli.calibrate import calibrate
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.errors import UserError
from fediverdict.judgement import Judgements
from fediverdict.policy_check import Checked, check
from scanner.policy import STRICTNESSES, load_policy, needs_calibration


@click.group()
def policy() -> None:
    """Check a policy, calibrate it on harmless pictures, compare a pipeline in shadow."""


policy.add_command(calibrate)


@policy.command("check")
@click.argument("name", metavar="[NAME|PATH]", required=False)
@json_option
@pass_context
def check_command(context: Context, name: str | None, as_json: bool) -> None:
    """Check a policy: a shipped one by NAME, a file by PATH, else the configured one.

    Prints its labels with their thresholds, its rules, its digest, and warnings. Ends with 2 when
    it cannot be used. The configured one is checked together with [rules] of the config.
    """
    if name is None:
        checked = check(load_policy(context.config.scanner.policy), context.config.rules)
    else:
        checked = check(load_policy(name))
    if as_json:
        print_json(_checked_json(checked))
    else:
        _print_checked(checked)


@policy.command()
@click.option(
    "--show",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    help="How many pictures of disagreement are named.",
)
@json_option
@pass_context
def shadow(context: Context, show: int, as_json: bool) -> int:
    """Show where the pipeline of [scanner.shadow] disagrees with the one that decides.

    Over the pictures that both scored, by the rules in force and today's thresholds. Ends with 1
    when they disagree.
    """
    judgements = Judgements(context.config, load_policy(context.config.scanner.policy))
    found = context.store.read_now(_compared, judgements, show)
    if as_json:
        print_json(_compared_json(found))
    else:
        _print_compared(found)
    return int(found.disagreements > 0)


def _compared(connection: Any, judgements: Judgements, limit: int) -> Compared:
    judgement = judgements.current(connection)
    states = {terms.state: name for name, terms in judgement.pipelines.items()}
    ours = states.get(PipelineState.DEFAULT)
    other = shadow_in_use(connection, judgements.shadow_settings)
    if ours is None or other is None:
        missing = "by the pipeline that decides" if ours is None else "in shadow"
        raise UserError(f"nothing was scored {missing} yet; set scanner.shadow.enabled and scan")
    return compare_shadow(connection, judgement, ours=ours, shadow=other, limit=limit)


def _checked_json(checked: Checked) -> dict[str, Any]:
    found = checked.policy
    return {
        "policy": found.name,
        "version": found.version,
        "digest": found.digest(),
        "labels": {
            name: {"prompts": len(label.prompts), **{s: label.at(s) for s in STRICTNESSES}}
            for name, label in found.labels.items()
        },
        "rules": {name: rule.text for name, rule in checked.rules.items()},
        "report_only_until_calibrated": needs_calibration(found),
        "warnings": list(checked.warnings),
    }


def _print_checked(checked: Checked) -> None:
    found = checked.policy
    click.echo(printable(f"policy {found.name}, version {found.version}, digest {found.digest()}"))
    rows = [
        (name, len(label.prompts), *map(label.at, STRICTNESSES))
        for name, label in found.labels.items()
    ]
    print_table(("label", "prompts", *STRICTNESSES), rows)
    click.echo("")
    print_table(("rule", "holds when"), [(name, r.text) for name, r in checked.rules.items()])
    if needs_calibration(found):
        click.echo("\nreport-only until `fediverdict policy calibrate` has run")
    for warning in checked.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)


def _compared_json(found: Compared) -> dict[str, Any]:
    return {
        "pictures": found.pictures,
        "disagreements": found.disagreements,
        "rules": {
            name: {
                "both": counts.both,
                "only_ours": counts.only_ours,
                "only_shadow": counts.only_shadow,
                "neither": counts.neither,
                "open": counts.open,
            }
            for name, counts in found.rules.items()
        },
        "shown": [
            {
                "sha256": one.sha256.hex(),
                "rules": list(one.rules),
                "ours": dict(one.ours),
                "shadow": dict(one.shadow),
            }
            for one in found.shown
        ],
    }


def _print_compared(found: Compared) -> None:
    click.echo(f"{found.pictures} pictures scored by both, {found.disagreements} in disagreement")
    print_table(
        ("rule", "both", "only ours", "only shadow", "neither", "open"),
        [
            (name, c.both, c.only_ours, c.only_shadow, c.neither, c.open)
            for name, c in found.rules.items()
        ],
    )
    if not found.shown:
        return
    click.echo("")
    rows = [
        (one.sha256.hex(), " ".join(one.rules), _scores(one.ours), _scores(one.shadow))
        for one in found.shown
    ]
    print_table(("picture", "rules", "ours", "shadow"), rows)
    if found.disagreements > len(found.shown):
        click.echo(f"and {found.disagreements - len(found.shown)} more; see --show")


def _scores(scores: Any) -> str:
    return " ".join(f"{label}={score}" for label, score in sorted(scores.items()))
