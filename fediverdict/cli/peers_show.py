"""`fediverdict peers show` and `suggest`: how a peer fared, and what its record speaks for."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click
from sqlalchemy import Connection, func, select

from cache.judgement import Judgement
from cache.storage.tables import pipelines, verdicts
from cache.trust.advice import Advice, Claim, advise, counted
from cache.trust.agreement import wilson
from cache.trust.comparing import load_record
from cache.trust.notices import Notice, mark_read, told
from cache.trust.track_record import ANY, TrackRecord
from cache.trust.trust import Peer, list_peers
from federation.reading.states import feed_states
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.cli.peer_feeds import Exchange, exchange_json, exchange_lines, read_exchange
from fediverdict.cli.peer_options import find_peer
from fediverdict.cli.peer_overview import show_all, show_follower
from fediverdict.cli.peer_words import feeds_of, peer_json
from fediverdict.config import Config
from fediverdict.judgement import Judgements
from scanner.classifiers.engine import is_installed
from scanner.policy import load_policy

UNAUDITED = "unaudited"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one peer."""

    peer: Peer
    record: TrackRecord
    notices: list[Notice]
    exchange: Exchange
    pipelines: dict[str, int]  # hex id -> how many of its verdicts are by it


@click.command()
@click.argument("peer", required=False)
@click.option("--mark-read", "mark", is_flag=True, help="Note that its notices were read.")
@json_option
@pass_context
def show(context: Context, peer: str | None, mark: bool, as_json: bool) -> None:
    """Show PEER: weights, audits, how often it agreed with us, advice, notices, feeds, delivery.

    Without PEER: where reading every feed and delivering to every host stand.
    """
    if peer is None:
        show_all(context, as_json=as_json)
        return
    if show_follower(context, peer, as_json=as_json):
        return
    known = context.store.read_now(_known, peer)
    judgement = context.store.read_now(current_judgement, context.config)
    if as_json:
        print_json(_json(known, judgement))
    else:
        _print(known, judgement)
    if mark and known.notices:
        ids = [notice.notice_id for notice in known.notices]
        context.store.write_now(mark_read, ids, now=int(time.time()))


@click.command()
@json_option
@pass_context
def suggest(context: Context, as_json: bool) -> None:
    """List the peers whose record speaks for more trust, or for less. Nothing is changed."""
    found = context.store.read_now(_suggestions)
    if as_json:
        print_json([_advice_json(peer, one) for peer, one in found])
    elif not found:
        click.echo("no record speaks for a change; more comparisons may")
    for peer, one in [] if as_json else found:
        click.echo(f"{_command(peer, one)}    # {_why(one)}")


def _known(connection: Connection, name: str) -> Known:
    peer = find_peer(connection, name)
    feeds = feeds_of(peer, feed_states(connection, int(time.time())))
    return Known(
        peer,
        load_record(connection, peer.issuer_id),
        told(connection, peer.issuer_id),
        read_exchange(connection, peer.origin, feeds),
        _pipelines(connection, peer.issuer_id),
    )


def _pipelines(connection: Connection, issuer_id: int) -> dict[str, int]:
    rows = connection.execute(
        select(pipelines.c.digest, func.count())
        .join_from(verdicts, pipelines, pipelines.c.id == verdicts.c.pipeline_id)
        .where(verdicts.c.issuer_id == issuer_id)
        .group_by(pipelines.c.digest)
    )
    return {digest.hex(): number for digest, number in rows}


def current_judgement(connection: Connection, config: Config) -> Judgement:
    """Return the judgement that `serve` would decide by now."""
    policy = load_policy(config.scanner.policy)
    scans = config.scanner.enabled and is_installed(config.scanner, policy)
    return Judgements(config, policy, has_scanner=scans).current(connection)


def _suggestions(connection: Connection) -> list[tuple[Peer, Advice]]:
    return [
        (peer, one)
        for peer in list_peers(connection)
        for one in advise(peer.trust, load_record(connection, peer.issuer_id))
    ]


def _is_audited(judgement: Judgement) -> bool:
    return judgement.audits and judgement.has_scanner


# --- for machines ----------------------------------------------------------------------------
def _json(known: Known, judgement: Judgement) -> dict[str, Any]:
    record, audited = known.record, _is_audited(judgement)
    return {
        **peer_json(known.peer, known.exchange.feeds),
        **exchange_json(known.exchange),
        "audits": {
            "state": "audited" if audited else UNAUDITED,
            "rate": known.peer.trust.audit_rate if audited else 0.0,
            "compared_since_false_clean": record.any.since_false,
            "hits_since_false_clean": record.any.hits_since_false,
        },
        "agreement": [_label_json(record, label) for label in sorted(record.labels)],
        "advice": [_advice_json(known.peer, one) for one in advise(known.peer.trust, record)],
        "notices": [
            {"kind": one.kind, "created": one.created, "text": one.text, "read": one.read}
            for one in known.notices
        ],
        "pipelines": [
            {"pipeline": name, "verdicts": number, "state": _state(judgement, name)}
            for name, number in sorted(known.pipelines.items())
        ],
    }


def _label_json(record: TrackRecord, label: str) -> dict[str, Any]:
    claims: tuple[Claim, Claim] = ("clean", "flag")
    return {"label": label or None, **{claim: _rate_json(record, claim, label) for claim in claims}}


def _rate_json(record: TrackRecord, claim: Claim, label: str) -> dict[str, Any]:
    agreed, compared = counted(record, claim, label)
    return {"compared": compared, "agreed": agreed, "bounds": list(wilson(agreed, compared))}


def _advice_json(peer: Peer, one: Advice) -> dict[str, Any]:
    return {
        "peer": peer.origin,
        "claim": one.claim,
        "label": one.label or None,
        "weight": one.weight / 100,
        "compared": one.compared,
        "agreed": one.agreed,
        "bounds": list(one.bounds),
        "command": _command(peer, one),
    }


def _state(judgement: Judgement, pipeline: str) -> str | None:
    terms = judgement.pipelines.get(pipeline)
    return terms.state.value if terms else None


# --- for people ------------------------------------------------------------------------------
def _print(known: Known, judgement: Judgement) -> None:
    peer, trust = known.peer, known.peer.trust
    click.echo(
        f"{printable(peer.origin)} {trust.state}: clean {trust.clean / 100:g}, "
        f"flag {trust.flag / 100:g}, heard for {' '.join(sorted(trust.heard))}, "
        f"verdicts up to {trust.max_age_days} days old"
        + (f", run by {printable(trust.operator)}" if trust.operator else "")
    )
    for label, terms in sorted(trust.labels.items()):
        weights = (("clean", terms.clean), ("flag", terms.flag))
        said = ", ".join(f"{name} {w / 100:g}" for name, w in weights if w is not None)
        click.echo(f"  for {label}: {said}")
    click.echo(_audits(known, judgement))
    _print_agreement(known.record)
    for one in advise(trust, known.record):
        click.echo(f"advice: {_command(peer, one)}    # {_why(one)}")
    _print_pipelines(known, judgement)
    for line in exchange_lines(known.exchange, int(time.time())):
        click.echo(line)
    for notice in known.notices:
        when = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(notice.created))
        new = "" if notice.read else " (unread)"
        click.echo(f"{when} {notice.kind}{new}: {printable(notice.text)}")


def _audits(known: Known, judgement: Judgement) -> str:
    if not judgement.has_scanner:
        return f"{UNAUDITED}: nothing scans here; its clean weight counts half the quorum at most"
    if not judgement.audits:
        return f'{UNAUDITED}: trust.audit = "off"'
    counts = known.record.any
    return (
        f"of its clean hits {known.peer.trust.audit_rate:.1%} are audited: {counts.since_false} "
        f"compared since the last false clean, never under {known.peer.trust.audit_floor:.0%}"
    )


def _print_agreement(record: TrackRecord) -> None:
    if not record.labels:
        click.echo("nothing that it judged was judged here as well, so nothing is compared yet")
        return
    head = ("label", "clean compared", "false", "agreement", "flags compared", "false", "agreement")
    print_table(head, [_row(record, label) for label in sorted(record.labels)])


def _row(record: TrackRecord, label: str) -> Iterable[object]:
    cells: list[object] = [label or "any"]
    claims: tuple[Claim, Claim] = ("clean", "flag")
    for claim in claims:
        agreed, compared = counted(record, claim, label)
        cells += [compared, compared - agreed, _bounds(agreed, compared)]
    return cells


def _bounds(agreed: int, compared: int) -> str:
    low, high = wilson(agreed, compared)
    return f"{low:.1%} to {high:.1%}" if compared else "unknown"


def _print_pipelines(known: Known, judgement: Judgement) -> None:
    for name, number in sorted(known.pipelines.items()):
        state = _state(judgement, name) or "not listed under [pipelines]: stored, never reused"
        click.echo(f"pipeline {name}: {number} verdicts, {state}")


def _command(peer: Peer, one: Advice) -> str:
    of = f" --label {one.label}" if one.label != ANY else ""
    return f"fediverdict peers trust {peer.origin} --{one.claim} {one.weight / 100:g}{of}"


def _why(one: Advice) -> str:
    low, high = one.bounds
    return f"agreed in {one.agreed} of {one.compared}: {low:.1%} to {high:.1%} (95 %)"
