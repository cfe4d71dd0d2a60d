"""Every command in the README is run here, in order, as a reader would run it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fediverdict.cli import fediverdict
from fediverdict.demo.instance import environment, free_port
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
INSTALL = "pip install '.["


def section(title):
    """Return the shell blocks of one section as one script."""
    text = README.split(f"## {title}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def faster(script, ports):
    """Return the script with other ports, shorter waits and pages sealed at once."""
    for name, port in ports.items():
        script = script.replace(name, str(port))
    seal = "export FEDIVERDICT_FEED__SEAL_SECONDS=0.5 FEDIVERDICT_FEED__SEAL_FLAGGED_SECONDS=0.5\n"
    return seal + script.replace("sleep 70", "sleep 12").replace("sleep 3", "sleep 4")


def test_the_five_minutes_work_as_written(tmp_path):
    clone = tmp_path / "clone"
    (clone / "fediverdict").mkdir(parents=True)
    shutil.copytree(ROOT / "fediverdict" / "demo_photos", clone / "fediverdict" / "demo_photos")
    ports = {"8701": free_port(), "8702": free_port()}
    script = faster(section("Five minutes to a running pair"), ports)
    script = script.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    done = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        out, err = wait_for(done, tmp_path)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the last block ended both servers
            os.killpg(done.pid, signal.SIGKILL)
    assert done.returncode == 0, (out, err)
    photos = len(list((clone / "fediverdict" / "demo_photos").glob("*.jpg")))
    assert out.count("Trusted peers") >= photos
    assert '"decision": "clean"' in out
    assert '"scanned": false' in out


def wait_for(done, folder):
    """Return what the script printed; the servers it left behind keep no pipe open."""
    out, err = done.communicate(timeout=PATIENCE)
    (folder / "readme.log").write_text(out + err)
    return out, err


def test_the_server_section_works_as_written(tmp_path):
    lines = [line for line in section("On a server").splitlines() if not line.startswith(INSTALL)]
    assert lines == [
        "fediverdict init --base-url https://verdict.example.org",
        "fediverdict serve",
    ]
    ran = {"cwd": tmp_path, "text": True, "env": environment()}
    first, second = ([sys.executable, "-m", *line.split()] for line in lines)
    done = subprocess.run(first, capture_output=True, check=False, **ran)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    ran["env"]["FEDIVERDICT_HTTP__PORT"] = str(free_port())
    with subprocess.Popen(second, stdout=subprocess.PIPE, **ran) as served:
        said = served.stdout.readline() if served.stdout else ""
        served.terminate()
    assert "listens on" in said
    assert served.returncode == 0


@pytest.mark.slow
def test_a_fresh_clone_installs_and_shows_the_demo(tmp_path):
    """`make demo` needs nothing but Python and the registries, and prints one JSON object."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    done = subprocess.run(
        ["make", "--silent", "demo", "ARGS=--json"],
        cwd=tmp_path / "clone",
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wrong_clean"] == 0
    assert "installed in" in done.stderr


def test_every_make_target_that_the_readme_names_exists():
    named = set(re.findall(r"make [a-z][a-z-]*", README))
    for target in named:
        done = subprocess.run(
            ["make", "--dry-run", target.split()[1]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (target, done.stderr)


@pytest.mark.parametrize("name", sorted(fediverdict.commands))
def test_every_command_is_documented(name):
    """In the README or, for what a reader needs less often, in the changelog."""
    assert re.search(rf"fediverdict [^\n]*\b{name}\b", README) or f"`{name}`" in CHANGELOG
