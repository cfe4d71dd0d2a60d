"""`fediverdict peers trust` and `suspend`: what the verdicts of a peer may do here."""

from typing import Any

import click
from sqlalchemy import Connection

from cache.judgement import PeerState
from cache.settings import DecideSettings
from cache.trust.comparing import forget_record
from cache.trust.trust import Peer, set_state, set_trust
from fediverdict.cli.context import Context, json_option, pass_context, print_json
from fediverdict.cli.peer_options import (
    WEIGHT,
    find_peer,
    in_hundredths,
    refuse_unknown_labels,
)
from fediverdict.cli.peer_words import trust_json
from fediverdict.errors import UsageError
from fediverdict.trusting import PRESETS, Wish, granted

MAX_OPERATOR_CHARACTERS = 100


@click.command()
@click.argument("peer")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Set all weights at once.")
@click.option("--clean", type=WEIGHT, help="What its clean verdicts add towards clean_quorum.")
@click.option("--flag", type=WEIGHT, help="What its flags add towards flag_quorum.")
@click.option("--label", "labels", multiple=True, help="Set the weights for this label alone.")
@click.option("--hear", multiple=True, help="Hear it for this label (repeat), `*` for all.")
@click.option("--max-age-days", type=click.IntRange(1, 366), help="Older verdicts do not count.")
@click.option("--audit-rate", type=WEIGHT, help="Share of its clean hits scanned, at least.")
@click.option("--min-agreement", type=WEIGHT, help="Flags that agree more seldom weigh nothing.")
@click.option("--operator", help="Instances of one operator count once; `` for none.")
@click.option("--forget", is_flag=True, help="Let its record begin anew: audited as a new peer.")
@json_option
@pass_context
def trust(context: Context, /, peer: str, forget: bool, as_json: bool, **given: Any) -> None:
    """Say what the verdicts of PEER may do here; weights are 0..1, 0 only observes.

    Presets: `observe` (nothing counts), `trust-clean` (clean 1, flag 0), `trust-all` (1 and 1).
    Giving a weight over 0 lifts a suspension.
    """
    wish = _wish(given)
    if wish.is_empty and not forget:
        raise UsageError("say what to change, e.g. --clean 0.5, --flag 1 or --preset trust-clean")
    refuse_unknown_labels(wish.labels, context.config)
    refuse_unknown_labels(wish.heard, context.config, every=True)
    found = context.store.write_now(_set_trust, peer, wish, forget=forget)
    _say(found, context.config.decide, as_json)


@click.command()
@click.argument("peer")
@json_option
@pass_context
def suspend(context: Context, peer: str, as_json: bool) -> None:
    """Let nothing of PEER count any more; its weights stay noted, its verdicts stored."""
    found = context.store.write_now(_suspend, peer)
    _say(found, context.config.decide, as_json)


def _wish(given: dict[str, Any]) -> Wish:
    """Return what the options ask for; raises UsageError where they contradict each other."""
    weights = given["clean"], given["flag"]
    if given["preset"] and (given["labels"] or any(one is not None for one in weights)):
        raise UsageError("--preset sets all weights; give it without --clean, --flag and --label")
    if given["labels"] and all(one is None for one in weights):
        raise UsageError("--label says for what --clean or --flag is; give one of them as well")
    if given["operator"] and len(given["operator"]) > MAX_OPERATOR_CHARACTERS:
        raise UsageError(f"--operator takes at most {MAX_OPERATOR_CHARACTERS} characters")
    return Wish(
        clean=in_hundredths(given["clean"]),
        flag=in_hundredths(given["flag"]),
        labels=given["labels"],
        preset=given["preset"],
        heard=given["hear"],
        max_age_days=given["max_age_days"],
        audit_floor=given["audit_rate"],
        min_agreement=given["min_agreement"],
        operator=given["operator"],
    )


def _set_trust(connection: Connection, name: str, wish: Wish, *, forget: bool) -> Peer:
    peer = find_peer(connection, name)
    set_trust(connection, peer.origin, granted(peer.trust, wish))
    if forget:
        forget_record(connection, peer.issuer_id)
    return find_peer(connection, peer.origin)


def _suspend(connection: Connection, name: str) -> Peer:
    peer = find_peer(connection, name)
    set_state(connection, peer.origin, PeerState.SUSPENDED)
    return find_peer(connection, peer.origin)


def _say(peer: Peer, quorums: DecideSettings, as_json: bool) -> None:
    trust = peer.trust
    if as_json:
        print_json(trust_json(peer))
        return
    click.echo(
        f"{peer.origin} {trust.state}: clean {trust.clean / 100:g} of {quorums.clean_quorum:g}, "
        f"flag {trust.flag / 100:g} of {quorums.flag_quorum:g}"
    )
