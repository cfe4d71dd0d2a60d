"""Every command in docs/federation.md is run against a pair, in order, as an admin would."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from fediverdict.demo.instance import environment
from tests.e2e.conftest import NO_SCANNER
from tests.e2e.test_pair import until

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
    until(lambda: len(ours.json("followers", "list", "--json")) == 2, "the follows arrive")
    return peer, ours


def test_every_command_for_admins_works_as_written(pair):
    peer, ours = pair
    (ours.folder / "domain_blocks.csv").write_text(CSV)
    assert len(COMMANDS) >= 20
    for line in COMMANDS:
        said, code = run(ours, peer, line)
        expected = (2,) if " resume " in line else (0, 1)  # nothing is halted here
        assert code in expected, (line, said)
        assert "Traceback" not in said
    states = {one["feed"]: one["state"] for one in ours.json("followers", "list", "--json")}
    assert states == {"flagged": "rejected"}
    blocked = ours.json("peers", "blocks", "--json")
    assert [one["domain"] for one in blocked] == ["worse.example"]


def run(ours, peer, line):
    """Run a documented command on our instance; returns what it said and its exit code."""
    words = shlex.split(line, comments=True)[1:]
    words = [peer_name(word, peer) for word in words]
    if words[:2] == ["peers", "follow"] and "--yes" not in words:
        words.append("--yes")  # nobody sits at a terminal here
    file = str(ours.folder / "domain_blocks.csv")
    words = [file if word == "domain_blocks.csv" else word for word in words]
    done = subprocess.run(
        ours.command(*words), capture_output=True, text=True, check=False, env=environment()
    )
    return done.stdout + done.stderr, done.returncode


def peer_name(word, peer):
    return word.replace("https://social.example", peer.base_url).replace(
        "social.example", f"127.0.0.1:{peer.port}"
    )
