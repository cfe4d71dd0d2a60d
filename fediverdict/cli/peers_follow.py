"""`fediverdict peers follow`: what a feed says of itself is shown, then it is asked.

Words and JSON alone; what is fetched and verified is left to `federation.following.preview`.
"""

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

import click

from cache.judgement import Judgement, Trust
from cache.settings import PeerDefaults, hundredths
from cache.trust.trust import load_trust
from federation.following.preview import Preview, Told
from federation.wire.times import to_rfc3339
from fediverdict.cli.context import Context, json_option, pass_context, print_json, printable
from fediverdict.cli.peers_show import current_judgement
from fediverdict.errors import UsageError
from fediverdict.parts import build_federation

NOT_TOLD = "not told"


@click.command()
@click.argument("feed", metavar="HANDLE_OR_URL")
@click.option("--yes", is_flag=True, help="Ask no question; for scripts.")
@json_option
@pass_context
def follow(context: Context, feed: str, yes: bool, as_json: bool) -> None:
    """Ask to follow a feed, e.g. clean@example.org, or the URL of its actor.

    What the feed says of itself is shown first, checked against our rules and pipelines. `serve`
    must be running: it sends the request, and the peer asks it for our key.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("following asks a question, and here is no terminal; give --yes")
    asyncio.run(_follow(context, feed, yes=yes, as_json=as_json))


async def _follow(context: Context, name: str, *, yes: bool, as_json: bool) -> None:
    federation = build_federation(context.config, context.store)
    try:
        preview = await federation.preview(name)
        shown = _shown(context, preview)
        if not as_json:
            _print(preview, shown)
        if not yes:
            click.confirm("Ask to follow it?", abort=True, err=True)
        state = await federation.request(preview.found, context.config.peers.defaults)
    finally:
        await federation.stop()
    if as_json:
        print_json(shown | {"state": state})
    else:
        said = "followed already" if state == "accepted" else "asked; its admin must approve"
        click.echo(f"{preview.found.handle} is {said}")


def _shown(context: Context, preview: Preview) -> dict[str, Any]:
    """Return all that is shown, for machines."""
    judgement = context.store.read_now(current_judgement, context.config)
    actor, told = preview.found.actor, preview.told
    head = told.head
    known = context.store.read_now(load_trust).get(actor.origin)
    return {
        "handle": preview.found.handle,
        "actor": actor.id,
        "origin": actor.origin,
        "feed": preview.found.feed.name.lower(),
        "pages": {
            "epoch": head.epoch if head else None,
            "first": head.first_page if head else None,
            "last": head.last_page if head else None,
            "sealed": told.sealed,
            "merged_through": head.merged_through if head else None,
            "snapshot": head.has_snapshot if head else None,
        },
        "rows": told.rows,
        "week_rows": told.week_rows,
        "labels": _labels(told, judgement),
        "pipelines": _pipelines(told, judgement),
        "trust": _trust(known, context.config.peers.defaults),
    }


def _labels(told: Told, judgement: Judgement) -> dict[str, Any] | None:
    """Return which labels the feed scores, and which of them our rules speak of."""
    if told.labels is None:
        return None
    ours = {label for rule in judgement.rules.values() for label in rule.labels}
    scored = set(told.labels)
    return {
        "used": sorted(scored & ours),
        "missing": sorted(ours - scored),
        "unused": sorted(scored - ours),
    }


def _pipelines(told: Told, judgement: Judgement) -> list[dict[str, Any]] | None:
    if told.pipelines is None:
        return None
    terms = judgement.pipelines
    return [
        {"pipeline": name, "state": terms[name].state.value if name in terms else None}
        for name in told.pipelines
    ]


def _trust(known: Trust | None, defaults: PeerDefaults) -> dict[str, Any]:
    """Return what its verdicts will do here: as the peer is trusted already, or by default."""
    if known is not None:
        weights, state = (known.clean, known.flag), str(known.state)
    else:
        weights = hundredths(defaults.clean_weight), hundredths(defaults.flag_weight)
        state = "trusted" if any(weights) else "observed"
    clean, flag = (weight / 100 for weight in weights)
    return {
        "known": known is not None,
        "state": state,
        "clean_weight": clean,
        "flag_weight": flag,
    }


# --- for people ------------------------------------------------------------------------------
def _print(preview: Preview, shown: dict[str, Any]) -> None:
    origin = printable(shown["origin"])
    click.echo(f"{printable(shown['handle'])} is the {shown['feed']} feed of {origin}")
    click.echo(f"actor: {printable(shown['actor'])}")
    for line in (*_page_lines(preview.told), *_label_lines(shown), *_pipeline_lines(shown)):
        click.echo(line)
    trust = shown["trust"]
    click.echo(
        f"trust: {trust['state']}{'' if trust['known'] else ', as every new peer'}, "
        f"clean {trust['clean_weight']:g}, flag {trust['flag_weight']:g}; "
        f"change it with `fediverdict peers trust {origin}`"
    )


def _page_lines(told: Told) -> Iterable[str]:
    yield f"rows: {_number(told.rows)}, in the last week {_number(told.week_rows)}"
    if told.head is None or told.head.last_page == 0:
        yield "pages: none yet"
        return
    first, last = told.head.first_page, told.head.last_page
    sealed = NOT_TOLD if told.sealed is None else to_rfc3339(told.sealed)
    yield f"pages: {first} to {last}, last sealed: {sealed}"
    if first > 1:
        yield f"retention: pages before {first} have expired; we begin with a snapshot"
    else:
        yield "retention: every page since the first is there"


def _number(count: int | None) -> str:
    return NOT_TOLD if count is None else f"{count:,}"


def _label_lines(shown: dict[str, Any]) -> Iterable[str]:
    labels = shown["labels"]
    if labels is None:
        yield f"labels: {NOT_TOLD}"
        return
    yield f"labels of our rules that it scores: {_list(labels['used'])}"
    if labels["missing"]:
        yield (
            f"labels of our rules that it does not score: {_list(labels['missing'])}; "
            "a clean verdict counts only with all of them"
        )
    if labels["unused"]:
        yield f"labels that no rule here speaks of: {_list(labels['unused'])}"


def _pipeline_lines(shown: dict[str, Any]) -> Iterable[str]:
    if shown["pipelines"] is None:
        yield f"pipelines: {NOT_TOLD}"
        return
    if not shown["pipelines"]:
        yield "pipelines: none yet"
    for one in shown["pipelines"]:
        state = one["state"] or "not listed under [pipelines]: stored and compared, never reused"
        yield f"pipeline {one['pipeline']}: {state}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names)) or "none"
