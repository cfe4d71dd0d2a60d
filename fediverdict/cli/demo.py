"""`fediverdict demo`: the point of it all, on real pictures, in about a minute."""

import contextlib
import signal
import tempfile
from pathlib import Path

import click

from fediverdict.cli.context import json_option, print_json
from fediverdict.demo import result
from fediverdict.demo.run import Demo
from fediverdict.errors import UserError
from scanner.classifiers.engine import what_is_missing
from scanner.errors import ModelError
from scanner.policy import load_policy
from scanner.settings import ScannerSettings

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option("--keep", is_flag=True, help="Leave the two instances running until Ctrl-C.")
@json_option
def demo(keep: bool, as_json: bool) -> int:
    """Run two instances: alpha scans pictures, beta follows it and answers without inference."""
    if missing := what_is_missing(ScannerSettings(), load_policy("test")):
        raise ModelError(missing)
    for sign in SIGNALS:  # so that the two instances end with the demo
        signal.signal(sign, _end)
    with tempfile.TemporaryDirectory(prefix="fediverdict-demo-") as folder:
        story = Demo(Path(folder), lambda text: click.echo(text, err=as_json))
        try:
            story.run()
            _tell(story, as_json)
            if keep:
                _wait(story)
        finally:
            for sign in SIGNALS:  # impatience must not leave a process behind
                signal.signal(sign, signal.SIG_IGN)
            story.stop()
        return _verdict(story)


def _tell(story: Demo, as_json: bool) -> None:
    if as_json:
        print_json(result.as_json(story))
        return
    click.echo("")
    for line in result.lines(story):
        click.echo(line)
    click.echo(f"ran in {story.seconds:.0f} s")


def _wait(story: Demo) -> None:
    for address in story.addresses:
        click.echo(address, err=True)
    click.echo(f"the two keep running in {story.folder}; Ctrl-C ends them", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def _verdict(story: Demo) -> int:
    found = result.problems(story)
    if found:
        raise UserError("the demo did not show what it promised:\n  " + "\n  ".join(found))
    return 0
