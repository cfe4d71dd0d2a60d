"""`federation check` as a command: its exit codes, and what a script reads."""

import json

import pytest

from tests.fakes.background import peer_in_background
from tests.fakes.clock import Clock


@pytest.fixture
def reachable(config):
    config.write_text(config.read_text() + "[federation]\nallow_private_addresses = true\n")
    return config


def test_a_peer_that_is_down_ends_with_1_and_says_what_to_do(run, reachable):
    done = run("federation", "check", "clean@127.0.0.1:1", config=reachable)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith("failed   reachable: ")
    assert "-> Nothing listens there" in done.out
    assert "skipped  actor: it does not answer" in done.out


def test_a_handle_that_is_none_is_a_usage_error(run, reachable):
    for handle in ("clean", "@", "https://"):
        assert run("federation", "check", handle, config=reachable).code == 2


def test_a_script_reads_json(run, reachable):
    with peer_in_background(Clock()) as peer:
        name = f"clean@127.0.0.1:{peer.port}"
        done = run("federation", "check", name, "--json", config=reachable)
    told = json.loads(done.out)
    assert told["checked"] == name
    found = {one["check"]: one for one in told["checks"]}
    assert found["actor"]["outcome"] == "ok"
    assert found["clock"]["outcome"] in ("failed", "ok", "warning")
    assert {"check", "of", "outcome", "said", "todo"} == set(found["keys"])
    assert all(one["todo"] for one in told["checks"] if one["outcome"] in ("warning", "failed"))


def test_oneself_while_serve_is_down(run, reachable):
    done = run("federation", "check", config=reachable)
    assert (done.code, "failed   reachable: " in done.out) == (1, True)
