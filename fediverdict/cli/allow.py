"""`fediverdict allow`: pictures that are harmless, though they are near something flagged."""

import asyncio
import getpass
import re
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from cache.cases.cases import MAX_REASON_CHARACTERS
from cache.guards.allow import Allowed, FlaggedCode, allow, codes_near, disallow, list_allowed
from cache.index.near import CODE_BYTES, MIN_QUALITY
from cache.memory.lookup import own_fingerprint
from cache.verdict import SELF
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.cli.lookup import read_picture
from fediverdict.errors import UsageError
from fediverdict.judge import Answer
from fediverdict.parts import build_judge, clock
from scanner.decoding.fingerprint import sha256_of

HEX = re.compile(rf"[0-9a-fA-F]{{{2 * CODE_BYTES}}}")


@click.group("allow")
def allow_group() -> None:
    """Keep the allow-list: near its entries a flag only asks for a scan, never more.

    An entry makes nothing clean, and touches neither exact matches nor codes upheld here.
    """


@allow_group.command()
@click.argument("picture", metavar="IMAGE|PDQHEX")
@click.option("--reason", required=True, help="Why it is harmless; kept with the entry.")
@click.option("--by", "allowed_by", default=None, help="Who says so; default: who runs this.")
@json_option
@pass_context
def add(context: Context, picture: str, reason: str, allowed_by: str | None, as_json: bool) -> None:
    """Allow what is near IMAGE, a file, or near a PDQ of 64 hex digits.

    Hex digits that are the SHA-256 of a picture known here stand for that picture.
    """
    pdq = _pdq(context, picture)
    reason, allowed_by = _text(reason, "--reason"), _text(allowed_by or getpass.getuser(), "--by")
    entry = context.store.write_now(
        allow,
        pdq,
        reason=reason,
        allowed_by=allowed_by,
        now=clock(),
        limit=context.config.decide.allow_entries,
    )
    near = context.store.read_now(codes_near, pdq)
    if as_json:
        print_json({**_entry_json(entry), "codes": [_code_json(one) for one in near]})
        return
    click.echo(f"entry {entry.id}: what is near {pdq.hex()} is scanned before a near flag counts")
    for one in near:
        click.echo(f"near a flagged code: {_code_words(one)}")


@allow_group.command("list")
@json_option
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List the entries."""
    entries = context.store.read_now(list_allowed)
    if as_json:
        print_json([_entry_json(entry) for entry in entries])
    elif not entries:
        click.echo("the allow-list is empty")
    else:
        rows = [(e.id, e.pdq.hex(), _day(e.added), e.allowed_by, e.reason) for e in entries]
        print_table(("entry", "pdq", "added", "by", "reason"), rows)


@allow_group.command()
@click.argument("entry", type=click.IntRange(min=1, max=2**53))
@json_option
@pass_context
def remove(context: Context, entry: int, as_json: bool) -> None:
    """Remove ENTRY, by the number that `allow list` shows."""
    gone = context.store.write_now(disallow, entry)
    if as_json:
        print_json(_entry_json(gone))
        return
    click.echo(f"entry {gone.id} is removed ({printable(gone.reason)})")


def _pdq(context: Context, picture: str) -> bytes:
    """Return the PDQ to allow; raises UsageError for a picture that near matching leaves alone."""
    if HEX.fullmatch(picture) and not Path(picture).exists():
        known = context.store.read_now(own_fingerprint, bytes.fromhex(picture))
        if known is None:
            return bytes.fromhex(picture)
        pdq, quality = known.pdq, known.pdq_quality
    else:
        pdq, quality = asyncio.run(_fingerprinted(context, Path(picture)))
    if pdq is None or quality is None or quality < MIN_QUALITY:
        raise UsageError(
            f"{picture} is too flat to be matched: nothing is ever near it, so it needs no entry"
        )
    return pdq


def _text(text: str, option: str) -> str:
    if not text.strip() or len(text) > MAX_REASON_CHARACTERS:
        raise UsageError(f"{option} takes 1 to {MAX_REASON_CHARACTERS} characters")
    return text.strip()


async def _fingerprinted(context: Context, path: Path) -> tuple[bytes | None, int | None]:
    judge = build_judge(context.config, context.store, can_scan=False)
    with closing(judge):
        data = read_picture(path, judge.limits.image_bytes)
        look = await judge.look(data, sha256_of(data))
    if isinstance(look, Answer):
        raise UsageError(f"{path} cannot be judged: {look.sentence}")
    return look.fingerprint.pdq, look.fingerprint.pdq_quality


def _entry_json(entry: Allowed) -> dict[str, Any]:
    return {
        "id": entry.id,
        "pdq": entry.pdq.hex(),
        "reason": entry.reason,
        "allowed_by": entry.allowed_by,
        "added": entry.added,
    }


def _code_json(one: FlaggedCode) -> dict[str, Any]:
    return {
        "sha256": one.sha256.hex(),
        "issuer": one.origin,
        "distance": one.distance,
        "upheld": one.upheld,
    }


def _code_words(one: FlaggedCode) -> str:
    whose = "ours" if one.origin == SELF else f"of {one.origin}"
    effect = "upheld here, so it keeps its effect" if one.upheld else "now only asks for a scan"
    return f"{one.sha256.hex()} ({one.distance} bits, {whose}): {effect}"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
