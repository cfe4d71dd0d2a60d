"""`fediverdict stats`: how much inference was saved, by which matches, and thanks to whom."""

import time
from collections.abc import Iterable

import click

from cache.memory.counts import KEPT_DAYS, Held, day_of
from cache.verdict import SELF, MatchKind
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.statistics import SETTLED, Stats, date_of, read_stats, stats_json
from fediverdict.tally import How

DAYS = 30


@click.command()
@click.option(
    "--days",
    type=click.IntRange(min=1, max=KEPT_DAYS),
    default=DAYS,
    show_default=True,
    help="How many days back, today (UTC) included.",
)
@json_option
@pass_context
def stats(context: Context, days: int, as_json: bool) -> None:
    """Say how much inference was saved, by which matches, and thanks to which peers.

    Counts of `serve`, `scan` and `watch` are written every few seconds: what was answered in the
    last of them is not in it yet.
    """
    since = day_of(time.time()) - days + 1
    found = context.store.read_now(read_stats, since)
    if as_json:
        print_json(stats_json(found))
    else:
        _print(found, days)


def _print(found: Stats, days: int) -> None:
    if found.first is None:
        click.echo("nothing was answered yet: run `fediverdict scan SOURCE`, or `serve` and post")
    else:
        _print_answers(found, days, found.first)
    click.echo("\nheld of each issuer, and its part in what was reused")
    print_table(_PEER_HEAD, [_peer_row(found, one) for one in found.held])
    click.echo(f"\ncases waiting for a person: {found.open_cases}")
    click.echo(f"notices not read yet: {found.unread_notices} (`fediverdict notices`)")


def _print_answers(found: Stats, days: int, first: int) -> None:
    since = max(found.since, first)
    asked = "today" if days == 1 else f"the last {days} days"
    click.echo(f"answers of {asked}, counted since {date_of(since)} UTC")
    judged = found.answers(How.REUSED, How.SCANNED, How.OPEN)
    print_table(
        ("", "answers", "share", "what it is"),
        [
            (how, f"{found.answers(how):,}", _share(found, how, judged), meaning)
            for how, meaning in _MEANINGS.items()
        ],
    )
    click.echo(f"\n{_saving(found)}\n\nreused, by how the picture matched")
    print_table(("match", *SETTLED, "what it is"), _match_rows(found))


_MEANINGS = {
    How.REUSED: "settled by a verdict that was held already: no inference",
    How.SCANNED: "the model was run",
    How.OPEN: "unknown, and nothing here could scan",
    How.FAILED: "no picture that can be decoded, or over a limit",
}

_KINDS = {
    MatchKind.EXACT: "the same bytes",
    MatchKind.CONTENT: "the same picture in a file wrapped anew",
    MatchKind.NEAR: "nearly the same as something flagged or upheld",
    MatchKind.PROBABLE: "perhaps nearly the same as something flagged",
    MatchKind.TWIN: "nearly the same as something clean (decide.near_clean)",
    MatchKind.NONE: "by no stored picture",
}

_PEER_HEAD = (
    *("issuer", "verdicts", "codes searched", "reused clean", "review", "flagged"),
    *("clean compared", "of them false", "flags agreed"),
)


def _share(found: Stats, how: How, judged: int) -> str:
    if how is How.FAILED or not judged:
        return ""
    return f"{100 * found.answers(how) / judged:.1f} %"


def _saving(found: Stats) -> str:
    saved, seconds = found.saved, found.saved_seconds
    if saved is None:
        return "inference saved: nothing to tell yet"
    by_peers = 100 * (found.saved_by_peers or 0)
    said = f"inference saved: {100 * saved:.1f} % ({by_peers:.1f} % by peers' verdicts)"
    if seconds is None:
        return f"{said} (no time can be estimated: nothing was scanned, or nothing reused)"
    scan, reuse = (found.mean_milliseconds(how) or 0.0 for how in (How.SCANNED, How.REUSED))
    return f"{said}, an estimated {_duration(seconds)} (a scan took {scan:,.0f} ms, a reuse \
{reuse:,.0f} ms in the mean)"


def _match_rows(found: Stats) -> Iterable[tuple[object, ...]]:
    for kind, meaning in _KINDS.items():
        numbers = [found.answers(How.REUSED, kind=kind, decision=decision) for decision in SETTLED]
        if any(numbers):
            yield (kind, *(f"{number:,}" for number in numbers), meaning)


def _peer_row(found: Stats, one: Held) -> tuple[object, ...]:
    own = one.origin == SELF
    reused = ["" if own else found.of_peer(one.origin, decision) for decision in SETTLED]
    compared = ("", "", "") if own else _compared(one)
    name = "this instance" if own else one.origin
    return (name, f"{one.verdicts:,}", f"{one.codes:,}", *reused, *compared)


def _compared(one: Held) -> tuple[object, ...]:
    return (one.clean_compared, one.clean_false, f"{one.flag_agreed} of {one.flag_compared}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
