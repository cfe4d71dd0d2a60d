"""The command line: one file a noun; this one joins them and turns errors into exit codes."""

import sys

import click

from cache.errors import CacheError
from federation.errors import BadHandle, FederationError
from fediverdict.cli.allow import allow_group
from fediverdict.cli.apply import apply
from fediverdict.cli.cases import cases_group
from fediverdict.cli.codes import codes
from fediverdict.cli.context import Context, pass_context, printable
from fediverdict.cli.database import db
from fediverdict.cli.demo import demo
from fediverdict.cli.exchange import export_command, import_command
from fediverdict.cli.federation import federation_group
from fediverdict.cli.followers import followers
from fediverdict.cli.init import init
from fediverdict.cli.keys import keys
from fediverdict.cli.lookup import explain, lookup
from fediverdict.cli.model import model
from fediverdict.cli.notices import notices
from fediverdict.cli.panic import panic_command
from fediverdict.cli.peers import peers
from fediverdict.cli.policy import policy
from fediverdict.cli.retire import retire_command
from fediverdict.cli.scan import scan
from fediverdict.cli.serve import serve
from fediverdict.cli.stats import stats
from fediverdict.cli.testcard import testcard
from fediverdict.cli.tokens import tokens
from fediverdict.cli.watch import watch
from fediverdict.errors import FAILED, USAGE, UserError
from scanner.errors import PolicyError, ScannerError

__all__ = ["main", "pass_context"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fediverdict")
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    help="Config file; default FEDIVERDICT_CONFIG, else ./config.toml.",
)
@click.pass_context
def fediverdict(context: click.Context, config_path: str | None) -> None:
    """Reuse picture moderation verdicts between fediverse servers.

    Exit codes: 0 fine, 1 found something, 2 usage, 3 failed.
    """
    context.obj = Context(config_path)


for command in (
    init,
    serve,
    scan,
    watch,
    apply,
    lookup,
    model,
    explain,
    peers,
    followers,
    federation_group,
    keys,
    retire_command,
    cases_group,
    tokens,
    policy,
    stats,
    export_command,
    import_command,
    allow_group,
    codes,
    notices,
    panic_command,
    testcard,
    db,
    demo,
):
    fediverdict.add_command(command)


def main() -> None:
    """Run the command line; every foreseen error is one sentence and an exit code."""
    try:
        code = fediverdict.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = USAGE
    except click.Abort:
        click.echo("stopped; what was done is kept", err=True)
        code = FAILED
    except UserError as error:
        code = _say(error, error.code)
    except (BadHandle, PolicyError) as error:
        code = _say(error, USAGE)
    except (CacheError, FederationError, ScannerError) as error:
        code = _say(error, FAILED)
    except UnicodeError as error:
        code = _say(f"a name is no text that can be stored or looked up: {error}", USAGE)
    except OSError as error:
        code = _say(f"the system refused: {error}", FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _say(error: Exception | str, code: int) -> int:
    click.echo(f"fediverdict: {printable(error, keep=chr(10))}", err=True)
    return code
