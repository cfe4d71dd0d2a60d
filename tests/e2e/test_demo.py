"""The demo keeps its promises, and its JSON has the documented form."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from fediverdict.demo.instance import environment
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def shown():
    """Return what `fediverdict demo --json` printed, and what it told people meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "fediverdict", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_the_json_has_the_documented_form(shown):
    sums, _ = shown
    assert set(sums) == {
        "pictures",
        "alpha",
        "beta",
        "wrong_clean",
        "seconds_per_scan",
        "seconds_per_reuse",
        "ratio",
    }
    assert set(sums["alpha"]) == {"scanned"}
    assert set(sums["beta"]) == {
        "asked",
        "scanned",
        "reused_exact",
        "reused_content",
        "review_near",
        "flagged",
        "undecodable",
    }


def test_no_test_pattern_is_ever_answered_clean(shown):
    sums, _ = shown
    assert sums["wrong_clean"] == 0
    assert sums["beta"]["flagged"] > 0
    assert sums["beta"]["review_near"] > 0


def test_most_of_what_alpha_judged_is_reused_without_a_scan(shown):
    sums, _ = shown
    assert sums["pictures"] >= 60
    assert sums["alpha"]["scanned"] == sums["pictures"]
    assert sums["beta"]["reused_exact"] >= sums["pictures"] * 0.9
    assert sums["beta"]["reused_content"] >= sums["pictures"] * 0.9
    assert sums["beta"]["undecodable"] == 2


def test_the_story_names_the_settings_it_changed(shown):
    _, story = shown
    for setting in ("flag_quorum = 1", "trust.audit = off", "feed.seal_seconds = 2"):
        assert setting in story


def test_however_often_it_is_told_to_end_no_process_stays():
    demo = subprocess.Popen(
        [sys.executable, "-m", "fediverdict", "demo", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert demo.stderr is not None
    said = (line for line in demo.stderr if " serves on http://127.0.0.1:" in line)
    ports = [int(next(said).rpartition(":")[2]) for _ in ("alpha", "beta")]
    for sign in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        demo.send_signal(sign)
        time.sleep(0.1)
    _, rest = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, "Traceback" in rest) == (3, False)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
