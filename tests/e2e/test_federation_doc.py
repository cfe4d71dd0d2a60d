"""Every command in docs/federation.md is run against a pair, in order, as an admin would."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from fediverdict.cli import fediverdict
from fediverdict.errors import UsageError
from tests.e2e.conftest import NO_SCANNER
from tests.waiting import wait_until

DOC = (Path(__file__).parents[2] / "docs" / "federation.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
CSV = "#domain,#severity\nworse.example,suspend\n"


@pytest.fixture
def pair(instances):
    """The peer, which follows us and approves us, and ourselves."""
    peer, ours = instances("peer", NO_SCANNER), instances("ours", NO_SCANNER)
    peer.start()
    ours.start()
    for feed in ("clean", "flagged"):
        peer.run("peers", "follow", ours.handle(feed), "--yes")
    wait_until(lambda: len(ours.json("followers", "list", "--json")) == 2, "the follows arrive")
    return peer, ours


def test_every_command_for_admins_works_as_written(pair):
    peer, ours = pair
    (ours.folder / "domain_blocks.csv").write_text(CSV)
    assert len(COMMANDS) >= 20
    for line in COMMANDS:
        ended = run(ours, peer, line)
        expected = UsageError if " resume " in line else type(None)  # nothing is halted here
        assert isinstance(ended.exception, expected), (line, ended.output, ended.exception)
    states = {one["feed"]: one["state"] for one in ours.json("followers", "list", "--json")}
    assert states == {"flagged": "rejected"}
    blocked = ours.json("peers", "blocks", "--json")
    assert [one["domain"] for one in blocked] == ["worse.example"]


def run(ours, peer, line):
    """Run a documented command on our instance, in this process, for there are many."""
    words = [there(word, ours, peer) for word in shlex.split(line, comments=True)[1:]]
    if words[:2] == ["peers", "follow"] and "--yes" not in words:
        words.append("--yes")  # nobody sits at a terminal here
    return CliRunner().invoke(fediverdict, ["--config", str(ours.config), *words])


def there(word, ours, peer):
    """Return a word of a documented command as it is to be written here."""
    if word == "domain_blocks.csv":
        return str(ours.folder / word)
    url = word.replace("https://social.example", peer.base_url)
    return url.replace("social.example", f"127.0.0.1:{peer.port}")
