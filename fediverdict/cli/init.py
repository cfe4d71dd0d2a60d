"""`fediverdict init`: make what is missing, touch nothing that is there.

Idempotent, so that a second run after a crash completes the first, and a config written
beforehand is kept.
"""

import time
from pathlib import Path

import click
from sqlalchemy import Connection

import migrations
from cache.secret import instance_secret
from cache.storage.database import Store
from cache.storage.tokens import Scope, create_token, list_tokens
from federation.signing.keystore import ensure_keys
from fediverdict.cli.context import Context, json_option, make_folder, pass_context, print_json
from fediverdict.config import DEFAULT_NAME, Config, load_config, read_config
from fediverdict.errors import UsageError, UserError

FIRST_SCOPES = (Scope.SCAN, Scope.LOOKUP, Scope.ADMIN)

TEMPLATE = """\
# Fediverdict. Every setting with its default stands in config.sample.toml.
[instance]
base_url = "{base_url}"      # as the world sees it; it can not change later
name = "{name}"

[http]
host = "127.0.0.1"
port = {port}

[scanner]
policy = "test"              # knows test patterns only; see the README for a real model

# [sources.pictures]
# path = "/srv/pictures"
# share = "off"              # off | all: whether followers learn what was judged there
"""


@click.command()
@click.option("--base-url", help="Public address, e.g. https://verdict.example.org.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Where to listen; default 8700.")
@json_option
@pass_context
def init(context: Context, base_url: str | None, port: int | None, as_json: bool) -> None:
    """Make config, database, keys and a first token; keep what is there."""
    path = context.named_path or Path(DEFAULT_NAME)
    if not path.exists():
        port = port or 8700
        _write_config(path, f"http://127.0.0.1:{port}" if base_url is None else base_url, port)
    elif base_url is not None or port is not None:
        raise UsageError(f"{path} exists already; change base_url and port in it, or remove it")
    token = prepare(load_config(path))
    if as_json:
        print_json({"config": str(path), "token": token})
        return
    _say_what_is_next(path, token)


def prepare(config: Config) -> str | None:
    """Make folder, database, secret, keys and a first token; return the token if it is new."""
    make_folder(config.instance.state_dir)
    if config.database.url.startswith("sqlite:///"):
        make_folder(Path(config.database.url.removeprefix("sqlite:///")).parent)
    migrations.upgrade(config.database.url)
    store = Store.open(config.database.url)
    try:
        return store.write_now(_first_rows, int(time.time()))
    finally:
        store.close()


def _first_rows(connection: Connection, now: int) -> str | None:
    instance_secret(connection)
    ensure_keys(connection, now)
    if list_tokens(connection):
        return None
    return create_token(connection, "admin", FIRST_SCOPES, now=now)


def _write_config(path: Path, base_url: str, port: int) -> None:
    name = base_url.partition("://")[2].partition(":")[0]
    text = TEMPLATE.format(base_url=base_url, name=name.strip("/") or "Fediverdict", port=port)
    read_config(text, path)  # a wrong base URL leaves no file behind
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _say_what_is_next(path: Path, token: str | None) -> None:
    click.echo(f"ready: {path}")
    if token:
        click.echo(f"API token (shown once): {token}")
    click.echo(f"next: fediverdict --config {path} serve")
