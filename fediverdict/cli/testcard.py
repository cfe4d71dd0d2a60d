"""`fediverdict testcard`: writes the installation test card, the same file everywhere."""

import sys
from pathlib import Path

import click

from fediverdict.errors import UsageError, UserError
from scanner.testcard import card_bytes


@click.command()
@click.argument("out", metavar="OUT")
def testcard(out: str) -> None:
    """Write the installation test card, a PNG, to the file OUT (- for standard output).

    Every installation flags it, so that the whole chain can be tested lawfully: it shows letters
    and squares. It never leaves an instance through its feeds. A file that is there is kept.
    """
    if out == "-":
        sys.stdout.buffer.write(card_bytes())
        sys.stdout.buffer.flush()
        return
    _write(Path(out), card_bytes())
    click.echo(f"wrote the test card to {out}; docs/policy.md says what to do with it")


def _write(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        if path.is_file() and path.read_bytes() == data:
            return
        raise UsageError(f"{path} is there already; name another file, or remove it") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
