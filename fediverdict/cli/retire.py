"""`fediverdict retire`: end this instance for good, as its peers see it."""

import click

from federation.actors.retiring import retire
from fediverdict.cli.context import Context, json_option, pass_context, print_json
from fediverdict.errors import UsageError
from fediverdict.parts import own_instance

WHAT_HAPPENS = """\
retire ends this instance for good, as its peers see it:
  - its actor and its two feeds are gone: whoever follows them is sent a Delete, and from then on
    their addresses answer 410
  - followers withdraw every verdict of this instance; nothing more is published
  - nothing more is taken from the feeds that it follows; verdicts that came already stay here
  - it cannot be taken back: peers forget an actor that is gone. A new instance needs a new name
Scanning and looking up go on as before. To end a single feed's reader, use
`fediverdict followers reject`; to end following a peer, `fediverdict peers unfollow`.
Nothing was done yet. Say `fediverdict retire --yes` to do it."""

NEXT = """\
Leave `fediverdict serve` running for a week: it delivers the Deletes, trying again where a peer is
down, and peers believe them only when they see the 410."""


@click.command("retire")
@click.option("--yes", is_flag=True, help="Do it; without this nothing happens.")
@json_option
@pass_context
def retire_command(context: Context, yes: bool, as_json: bool) -> None:
    """End this instance for good: its actors are gone, and peers forget its verdicts."""
    if not yes:
        raise UsageError(WHAT_HAPPENS)
    instance = own_instance(context.config, context.store)
    told = context.store.write_now(retire, instance)
    if as_json:
        print_json({"told": told})
        return
    click.echo(f"this instance has ended; {told} inboxes are to be told")
    click.echo(NEXT)
