"""`fediverdict cases`: pictures that await a person's decision, or hold one."""

import asyncio
import getpass
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import click
from sqlalchemy import Connection

from cache.cases.case_deciding import CaseDecision, DecidedCase, decide_case, mark_shown
from cache.cases.case_disputes import DisputeView, disputes_of_case
from cache.cases.case_views import (
    CaseSummary,
    FindingView,
    GroundView,
    PictureView,
    list_cases,
    load_case,
    load_pictures,
)
from cache.cases.cases import WAITING, CaseState
from cache.testcard import RULE as TEST_CARD
from cache.verdict import SELF, Finding
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.config import Config
from fediverdict.errors import UsageError
from fediverdict.judge import Judge
from fediverdict.parts import build_judge, clock
from fediverdict.reviewing import build_reviewer

SHA256 = re.compile(r"[0-9a-f]{64}")
STATES = ("waiting", "all", *(state.value for state in CaseState))
CASE = click.IntRange(min=1, max=2**53)
LIMIT = click.IntRange(min=1, max=10_000)
MAX_TEXT_CHARACTERS = 2_000
LOOKS = 10
"""Batches of cases that `decide` looks at again itself; the rest is left to `serve` and `scan`."""

DECIDED = tuple(finding.value for finding in Finding)


@click.group("cases")
def cases_group() -> None:
    """Look at pictures that await a person's decision, and decide on them."""


@cases_group.command("list")
@click.option("--state", type=click.Choice(STATES), default="waiting", show_default=True)
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="Cases, the newest.")
@click.option("--before", type=CASE, help="Only cases of a lower number.")
@json_option
@pass_context
def list_command(
    context: Context, state: str, limit: int, before: int | None, as_json: bool
) -> None:
    """List cases, the newest first: those that wait (open or reopened) if --state says nothing."""
    found = context.store.read_now(list_cases, _states(state), limit=limit, before=before)
    if as_json:
        print_json([_case_json(one) for one in found])
    elif not found:
        click.echo("no case waits" if state == "waiting" else f"no case is {state}")
    else:
        head = ("case", "state", "rules", "waiting", "changed", "why")
        print_table(head, [_case_row(one) for one in found])
    if len(found) == limit and not as_json:
        click.echo(f"there may be more: --before {found[-1].id}")


@cases_group.command()
@click.argument("case", type=CASE)
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Pictures.")
@click.option("--after", type=click.IntRange(min=0, max=2**53), default=0, help="Picture number.")
@json_option
@pass_context
def show(context: Context, case: int, limit: int, after: int, as_json: bool) -> None:
    """Show CASE: its pictures, where they lie, what they are here for, what was found so far.

    Notes that its pictures were shown: of several that are merely near each other, only those
    that were can be decided.
    """
    summary = context.store.read_now(load_case, case)
    pictures = context.store.read_now(load_pictures, case, limit=limit, after=after)
    disputed = context.store.read_now(disputes_of_case, case)
    if as_json:
        shown = [_picture_json(one) for one in pictures]
        told = [_dispute_json(one) for one in disputed]
        print_json({**_case_json(summary), "pictures": shown, "disputes": told})
    else:
        _print_case(summary)
        for dispute in disputed:
            click.echo(printable(_dispute_words(dispute)))
        for picture in pictures:
            _print_picture(picture)
        if len(pictures) == limit:
            click.echo(f"there may be more pictures: --after {pictures[-1].image_id}")
    ids = [picture.image_id for picture in pictures]
    context.store.write_now(mark_shown, case, ids, now=clock())


@cases_group.command()
@click.argument("case", type=CASE)
@click.argument("finding", type=click.Choice(DECIDED), metavar="upheld|dismissed|escalated")
@click.option("--rule", "rules", multiple=True, help="Which rule; default: the case's only one.")
@click.option("--reason", required=True, help="Why; kept with the finding.")
@click.option("--picture", metavar="SHA256", help="Decide this one; default: all that wait.")
@click.option("--by", "decided_by", help="Who decides; default: who runs this.")
@json_option
@pass_context
def decide(  # noqa: PLR0913  # one an option
    context: Context,
    case: int,
    finding: str,
    *,
    rules: tuple[str, ...],
    reason: str,
    picture: str | None,
    decided_by: str | None,
    as_json: bool,
) -> None:
    """Enter what a person found: upheld, dismissed, or escalated to somebody else.

    It settles the pictures of equal SHA-256 or content. Upheld is published in the flagged feed
    where the picture's source shares; dismissed lets go of what rested on the picture; escalated
    publishes and retracts nothing until the case is decided again. Of several pictures that are
    merely near each other each must have been shown (`cases show`), and only one named with
    --picture is published.
    """
    summary = context.store.read_now(load_case, case)
    words = (_text(reason, "--reason"), _text(decided_by or getpass.getuser(), "--by"))
    judge = build_judge(context.config, context.store)
    with closing(judge):
        which = _rules(rules, summary, judge)
        decision = CaseDecision(Finding(finding), which, *words, sha256=_sha256(picture))
        done = context.store.write_now(_decide, judge, context.config, case, decision)
        asyncio.run(_look_again(context.config, judge))
    if as_json:
        print_json(_decided_json(case, done))
        return
    click.echo(f"case {case} is {done.state}; {len(done.decided)} decided, {done.waiting} wait")


def _decide(
    connection: Connection, judge: Judge, config: Config, case: int, decision: CaseDecision
) -> DecidedCase:
    shared = frozenset(name for name, one in config.sources.items() if one.share == "all")
    judgement = judge.judgements.current(connection)
    return decide_case(connection, case, decision, judgement, shared=shared, now=clock())


async def _look_again(config: Config, judge: Judge) -> None:
    """Look at what rested on the pictures that were decided, should no `serve` be running."""
    reviewer = build_reviewer(config, judge)
    for _ in range(LOOKS):
        if await reviewer.due() is None:
            return


def _rules(named: Sequence[str], summary: CaseSummary, judge: Judge) -> list[str]:
    known = {*judge.judgements.rules, *summary.rules, TEST_CARD}
    for name in named:
        if name not in known:
            raise UsageError(f"there is no rule {name}; there are {', '.join(sorted(known))}")
    if named:
        return sorted(set(named))
    if len(summary.rules) != 1:
        choice = ", ".join(summary.rules or sorted(known))
        raise UsageError(f"say with --rule which rule is decided: {choice}")
    return list(summary.rules)


def _sha256(picture: str | None) -> bytes | None:
    if picture is None:
        return None
    if not SHA256.fullmatch(picture.lower()):
        raise UsageError("--picture is a SHA-256 in hex, as `cases show` prints it")
    return bytes.fromhex(picture)


def _text(text: str, option: str) -> str:
    if not text.strip() or len(text) > MAX_TEXT_CHARACTERS or "\0" in text:
        raise UsageError(f"{option} is a text of 1 to {MAX_TEXT_CHARACTERS} characters")
    return text.strip()


def _states(name: str) -> Iterable[CaseState]:
    if name == "waiting":
        return WAITING
    return tuple(CaseState) if name == "all" else (CaseState(name),)


def _case_row(one: CaseSummary) -> tuple[object, ...]:
    waiting = f"{one.waiting} of {one.pictures}"
    return (one.id, one.state, " ".join(one.rules), waiting, _time(one.changed), one.reason)


def _print_case(one: CaseSummary) -> None:
    embargo = ", under embargo" if one.embargo else ""
    click.echo(f"case {one.id}: {one.state}{embargo}, for {' '.join(one.rules) or 'no rule'}")
    click.echo(printable(one.reason))
    times = f"opened {_time(one.opened)}, changed {_time(one.changed)}"
    click.echo(f"{one.waiting} of {one.pictures} pictures wait; {times}")


def _dispute_words(one: DisputeView) -> str:
    answered = f", answered {_time(one.answered)}" if one.answered else ""
    of = f"what we say of {one.sha256.hex()[:16]}..."
    return f"{one.origin} disputes {of}, since {_time(one.created)}{answered}: {one.text}"


def _dispute_json(one: DisputeView) -> dict[str, Any]:
    return {
        "peer": one.origin,
        "sha256": one.sha256.hex(),
        "text": one.text,
        "created": one.created,
        "answered": one.answered,
    }


def _print_picture(one: PictureView) -> None:
    shown = "shown before" if one.shown else "shown now for the first time"
    click.echo(f"\npicture {one.sha256.hex()}: {one.decision}, {one.finding or 'waits'}, {shown}")
    for place in one.places:
        click.echo(f"  lies in {printable(place.source)}: {printable(place.key)}")
    if one.more_places:
        click.echo(f"  and in {one.more_places} more places")
    for ground in one.grounds:
        click.echo(f"  {printable(_ground_words(ground, one))}")
    for found in one.findings:
        click.echo(f"  {printable(_finding_words(found))}")


def _ground_words(ground: GroundView, picture: PictureView) -> str:
    who = "this instance" if ground.issuer == SELF else ground.issuer
    of = "" if ground.of == picture.sha256 else f" of {ground.of.hex()[:16]}..."
    bits = f", {ground.distance} bits" if ground.distance else ""
    ends = f"until {_time(ground.expires)}" if ground.expires else "for good"
    if ground.gone:
        ends = f"until {_time(ground.gone)}, when it lapsed"
    rule = ground.rule or "no rule known here"
    return f"{who} says {rule}{of} ({ground.kind}{bits}), since {_time(ground.added)} {ends}"


def _finding_words(found: FindingView) -> str:
    when = _time(found.decided)
    return f"{found.decided_by} found {found.rule} {found.finding} at {when}: {found.reason}"


def _case_json(one: CaseSummary) -> dict[str, Any]:
    return {
        "case": one.id,
        "state": one.state,
        "rules": list(one.rules),
        "reason": one.reason,
        "embargo": one.embargo,
        "opened": one.opened,
        "changed": one.changed,
        "picture_count": one.pictures,
        "waiting": one.waiting,
    }


def _picture_json(one: PictureView) -> dict[str, Any]:
    return {
        "picture": one.image_id,
        "sha256": one.sha256.hex(),
        "decision": one.decision,
        "finding": one.finding,
        "added": one.added,
        "shown": one.shown,
        "media_type": one.media_type,
        "places": [{"source": p.source, "key": p.key, "seen": p.seen} for p in one.places],
        "more_places": one.more_places,
        "grounds": [_ground_json(ground) for ground in one.grounds],
        "findings": [_finding_json(found) for found in one.findings],
    }


def _ground_json(ground: GroundView) -> dict[str, Any]:
    return {
        "issuer": ground.issuer,
        "of": ground.of.hex(),
        "kind": ground.kind,
        "distance": ground.distance,
        "rule": ground.rule,
        "acted": ground.acted,
        "added": ground.added,
        "expires": ground.expires,
        "gone": ground.gone,
    }


def _finding_json(found: FindingView) -> dict[str, Any]:
    return {
        "rule": found.rule,
        "finding": found.finding,
        "reason": found.reason,
        "decided_by": found.decided_by,
        "decided": found.decided,
    }


def _decided_json(case: int, done: DecidedCase) -> dict[str, Any]:
    hashes = [sha256.hex() for sha256 in done.decided]
    return {"case": case, "state": done.state, "decided": hashes, "waiting": done.waiting}


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(seconds))
