"""What every command shares: the config, read once, and the database, opened once."""

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path

import click

import migrations
from cache.storage.database import Store
from fediverdict.config import Config, find_config, load_config
from fediverdict.errors import UserError


class Context:
    """Reads the config when a command first asks for it."""

    def __init__(self, config_path: str | None) -> None:
        self._named = Path(config_path) if config_path else None

    @property
    def named_path(self) -> Path | None:
        """The config file named by --config, whether it exists or not."""
        return self._named

    @functools.cached_property
    def config_path(self) -> Path:
        """The config file in use; raises ConfigError when there is none."""
        return find_config(self._named)

    @functools.cached_property
    def config(self) -> Config:
        """The checked config; raises ConfigError."""
        return load_config(self.config_path)

    @functools.cached_property
    def store(self) -> Store:
        """The open database, of the right version, closed when the command ends."""
        store = open_store(self.config)
        click.get_current_context().call_on_close(store.close)
        return store


def make_folder(folder: Path) -> None:
    """Make a folder that only we may read, unless it is there; raises UserError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write in {folder}")


def open_store(config: Config) -> Store:
    """Open the database of `config`; raises CacheError when it is of another version."""
    migrations.check(config.database.url)
    return Store.open(config.database.url, writer_cache_mib=config.database.cache_mib)


pass_context = click.make_pass_decorator(Context)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def print_json(value: object) -> None:
    """Print one JSON value on a line of its own."""
    click.echo(json.dumps(value, sort_keys=True))


def printable(text: object, keep: str = "") -> str:
    """Return a text that may go to a terminal: names and peers' words may hold escape sequences.

    What is not printable, but for the characters in `keep`, stands there as \\n, \\x1b, \\u202e.
    """
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode()
        for one in str(text)
    )


def print_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows under a head, columns aligned."""
    cells = [tuple(head), *(tuple("" if c is None else printable(c) for c in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
