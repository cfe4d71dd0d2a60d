"""The command line, run in this process: exit code, standard output, standard error."""

import sys
from dataclasses import dataclass

import pytest

from fediverdict.cli import main


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Run one `fediverdict` command line, with the config named first if there is one."""

    def call(*arguments, config=None):
        head = ["fediverdict", *(["--config", str(config)] if config else [])]
        monkeypatch.setattr(sys, "argv", [*head, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def config(tmp_path, run):
    """Return the config of a fresh instance that may not scan."""
    path = tmp_path / "config.toml"
    path.write_text("[scanner]\nenabled = false\n")
    assert run("init", config=path).code == 0
    return path
