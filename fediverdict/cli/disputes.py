"""`fediverdict peers dispute` and `disputes`: what peers dispute of ours, and we of theirs."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import click

from federation.addresses import attestation_url
from federation.disputing.listing import Dispute, list_disputes
from federation.disputing.names import parse_name
from federation.disputing.sending import (
    Held,
    Target,
    followed_actor,
    held_at,
    held_of_picture,
    send_dispute,
)
from federation.disputing.text import MAX_DISPUTE_BYTES, plain
from federation.origin import Origin, Url
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.cli.peer_options import find_peer
from fediverdict.errors import UsageError
from fediverdict.parts import build_federation, own_instance
from scanner.decoding.fingerprint import sha256_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LIMIT = click.IntRange(min=1, max=10_000)


@click.command()
@click.argument("peer")
@click.argument("what", metavar="ATTESTATION|IMAGE")
@click.option("--text", default="", help="Why, in plain words; the peer's admin reads them.")
@json_option
@pass_context
def dispute(context: Context, peer: str, what: str, text: str, as_json: bool) -> None:
    """Tell PEER that it is wrong about IMAGE (a file or a SHA-256), or an ATTESTATION (its id).

    The feed that says so must be followed. `serve` sends it; if a person there agrees, the row is
    retracted. The same words about the same row are sent once.
    """
    if len(plain(text).encode()) > MAX_DISPUTE_BYTES:
        raise UsageError(f"--text has at most {MAX_DISPUTE_BYTES} bytes")
    origin = Origin(context.store.read_now(find_peer, peer).origin)
    rows = _rows(context, origin, what)
    sent = asyncio.run(_send(context, origin, rows, text))
    left = [url for url in (_url(origin, row) for row in rows) if url not in sent]
    if as_json:
        print_json({"disputed": sent, "left": left})
        return
    for url in sent:
        click.echo(f"disputed {url}")
    for url in left:
        click.echo(
            f"not sent: {url} was disputed in these words, or is past what one message holds"
        )


@click.command()
@click.option("--limit", type=_LIMIT, default=100, show_default=True, help="The newest.")
@json_option
@pass_context
def disputes(context: Context, limit: int, as_json: bool) -> None:
    """List disputes, the newest first: what peers dispute of ours, and we of theirs."""
    instance = own_instance(context.config, context.store)
    found = context.store.read_now(list_disputes, instance, limit)
    if as_json:
        print_json([_json(one) for one in found])
    elif not found:
        click.echo("nobody disputes anything")
    else:
        print_table(
            ("direction", "peer", "state", "case", "when", "about", "text"), map(_row, found)
        )


def _url(origin: Origin, row: Held) -> Url:
    name = row.name
    return attestation_url(origin, name.feed, name.epoch, name.seq)


def _rows(context: Context, origin: Origin, what: str) -> list[Held]:
    name = parse_name(origin, what)
    if name is not None:
        rows = context.store.read_now(held_at, origin, name)
    elif "://" in what:
        raise UsageError(f"{what} is no attestation of {origin}")
    else:
        rows = context.store.read_now(held_of_picture, origin, _sha256(what))
    if not rows:
        raise UsageError(f"{origin} says nothing of {what} that is held here")
    return rows


def _sha256(what: str) -> bytes:
    if _SHA256.fullmatch(what.lower()):
        return bytes.fromhex(what)
    path = Path(what)
    if not path.is_file():
        raise UsageError(f"{what} is neither a file nor a SHA-256 in hex, nor an attestation's id")
    return sha256_of(path.read_bytes())


async def _send(context: Context, origin: Origin, rows: list[Held], text: str) -> list[Url]:
    """Send one Flag to each feed; all of them are known to be followed before any is sent."""
    store, federation = context.store, build_federation(context.config, context.store)
    feeds = sorted({row.name.feed for row in rows})
    try:
        actors = {feed: await store.read(followed_actor, origin, feed) for feed in feeds}
        sent: list[Url] = []
        for feed, actor_id in actors.items():
            inbox = (await federation.actors.get(actor_id)).inbox
            sent += await store.write(
                send_dispute,
                own_instance(context.config, store),
                context.config.federation,
                Target(origin, actor_id, inbox),
                [row for row in rows if row.name.feed is feed],
                text,
            )
        return sent
    finally:
        await federation.stop()


def _row(one: Dispute) -> tuple[object, ...]:
    when = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(one.created))
    about = one.sha256.hex()[:16]
    direction = "sent" if one.is_ours else "received"
    return (direction, one.origin, one.state, one.case_id, when, about, one.text)


def _json(one: Dispute) -> dict[str, Any]:
    return {
        "direction": "sent" if one.is_ours else "received",
        "peer": one.origin,
        "state": one.state,
        "attestation": one.attestation,
        "sha256": one.sha256.hex(),
        "case": one.case_id,
        "text": one.text,
        "created": one.created,
        "answered": one.answered,
    }
