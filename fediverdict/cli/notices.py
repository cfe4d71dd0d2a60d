"""`fediverdict notices`: what an admin has to know, and has not confirmed yet."""

import time
from typing import Any

import click

from cache.trust.notices import Notice, mark_read, unread
from fediverdict.cli.context import Context, json_option, pass_context, print_json, printable


@click.command()
@click.option("--mark-read", "mark", is_flag=True, help="Confirm those that are shown.")
@json_option
@pass_context
def notices(context: Context, mark: bool, as_json: bool) -> int:
    """Show the notices that nobody has confirmed: false cleans, demotions, codes that are held.

    Ends with 1 when there are some.
    """
    found = context.store.read_now(unread)
    for notice in found:
        if as_json:
            print_json(_json(notice))
        else:
            when = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(notice.created))
            click.echo(f"{when} {notice.kind}: {printable(notice.text)}")
    if not found and not as_json:
        click.echo("nothing that you have not confirmed")
    if mark and found:
        ids = [notice.notice_id for notice in found]
        context.store.write_now(mark_read, ids, now=int(time.time()))
    return int(bool(found))


def _json(notice: Notice) -> dict[str, Any]:
    told = {"created": notice.created, "kind": notice.kind, "text": notice.text}
    return {**told, "peer": notice.origin}
