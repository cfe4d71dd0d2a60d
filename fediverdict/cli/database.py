"""`fediverdict db`: bring the database to the version of this installation."""

import click

import migrations
from fediverdict.cli.context import Context, pass_context


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@pass_context
def upgrade(context: Context) -> None:
    """Upgrade the tables to this version; stop `serve` first."""
    migrations.upgrade(context.config.database.url)
    click.echo("the database is of this version")
