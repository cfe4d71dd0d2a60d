"""`fediverdict keys`: what this instance signs with, new keys, and keys that were stolen."""

import time
from typing import Any

import click
from sqlalchemy import Connection

from cache.verdict import Feed
from federation.addresses import FEEDS
from federation.instance import Instance
from federation.publishing.revoking import Revoked, revoke
from federation.signing.keystore import HTTP, PURPOSES, StoredKey, list_keys, rotate
from federation.wire.epoch import is_epoch
from federation.wire.page import EpochEnd
from fediverdict.cli.context import Context, json_option, pass_context, print_json, print_table
from fediverdict.errors import UsageError
from fediverdict.parts import clock, own_instance

NEXT = "A running `serve` signs with it within a second, and tells peers; otherwise the next one."


class Place(click.ParamType[EpochEnd]):
    """`EPOCH:PAGE`, the first page that no longer counts."""

    name = "EPOCH:PAGE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> EpochEnd:
        """Read the epoch and the number of a page."""
        epoch, _, page = str(value).partition(":")
        if not is_epoch(epoch) or not page.isascii() or not page.isdigit() or len(page) > 9:
            self.fail("write 32 hex digits, a colon, and the number of a page", param, ctx)
        return EpochEnd(epoch, int(page))


@click.group()
def keys() -> None:
    """See the signing keys, make new ones, and revoke those that were stolen."""


@keys.command("list")
@json_option
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List every key that this instance ever had, newest first."""
    _print(own_instance(context.config, context.store), _known(context), as_json=as_json)


@keys.command("rotate")
@click.option("--feed", type=click.Choice(PURPOSES), help="This key alone; http is the RSA key.")
@json_option
@pass_context
def rotate_command(context: Context, feed: str | None, as_json: bool) -> None:
    """Make new keys. What the old ones signed goes on counting.

    Feeds go on listing their old keys; the RSA key, which signs requests, is replaced under its
    id, and peers fetch it anew.
    """
    instance = own_instance(context.config, context.store)
    context.store.write_now(_rotate, (feed,) if feed else PURPOSES)
    using = [key for key in _known(context) if key.in_use and feed in (None, key.purpose)]
    _print(instance, using, as_json=as_json)
    if not as_json:
        click.echo(NEXT)


@keys.command("revoke")
@click.argument("key_id", metavar="KEYID")
@click.option(
    "--from", "first", type=Place(), required=True, help="The first page that no longer counts."
)
@json_option
@pass_context
def revoke_command(context: Context, key_id: str, first: EpochEnd, as_json: bool) -> None:
    """Declare the key KEYID of a feed stolen, as of a page. It cannot be taken back.

    Pages from there on are void, ours included: a new epoch begins, and their rows are published
    again under a new key. Followers drop the rows of void pages.
    """
    instance = own_instance(context.config, context.store)
    key = _named(_known(context), instance, key_id)
    done = context.store.write_now(revoke, FEEDS[key.purpose], key, first, clock())
    if as_json:
        print_json(_done_json(done))
        return
    kept = "no page so far counts any more"
    if done.kept:
        kept = f"page {done.kept.page} of epoch {done.kept.epoch} is the last one that counts"
    click.echo(f"revoked {_id(instance, key)}; {kept}")
    click.echo(f"{done.rows} rows are published again under a new key. {NEXT}")


def _rotate(conn: Connection, purposes: tuple[str, ...]) -> None:
    for purpose in purposes:
        rotate(conn, purpose, clock())


def _known(context: Context) -> list[StoredKey]:
    return context.store.read_now(list_keys)


def _named(known: list[StoredKey], instance: Instance, name: str) -> StoredKey:
    for key in known:
        if name in (_id(instance, key), key.fragment, f"#{key.fragment}"):
            if key.purpose == HTTP:
                raise UsageError(
                    "the RSA key signs nothing that stays; `fediverdict keys rotate --feed http` "
                    "takes a stolen one out of use"
                )
            return key
    raise UsageError(f"{name} is no key of this instance; see `fediverdict keys list`")


def _id(instance: Instance, key: StoredKey) -> str:
    """Return the id of a key; the RSA key has one for each actor, the instance's is shown."""
    feed: Feed | None = FEEDS.get(key.purpose)
    actor_id = instance.id if feed is None else instance.feed_id(feed)
    return f"{actor_id}#{key.fragment}"


def _print(instance: Instance, known: list[StoredKey], *, as_json: bool) -> None:
    if as_json:
        print_json([_json(instance, key) for key in known])
        return
    rows = [
        (key.purpose, _state(key), _day(key.created), _day(key.expires), _id(instance, key))
        for key in known
    ]
    print_table(("feed", "state", "created", "until", "key"), rows)


def _state(key: StoredKey) -> str:
    if key.revoked is not None:
        return "revoked"
    return "in use" if key.in_use else "retired"


def _day(seconds: int | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _json(instance: Instance, key: StoredKey) -> dict[str, Any]:
    first = key.revoked_from
    return {
        "id": _id(instance, key),
        "feed": key.purpose,
        "state": _state(key).replace(" ", "-"),
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "revoked_from": None if first is None else {"epoch": first[0], "page": first[1]},
    }


def _done_json(done: Revoked) -> dict[str, Any]:
    kept = done.kept
    return {
        "kept": None if kept is None else {"epoch": kept.epoch, "page": kept.page},
        "rows": done.rows,
    }
