"""kill -9 and Ctrl-C in the middle of `fediverdict scan`, in a process of its own."""

import json
import math
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

import migrations
from cache.storage.database import make_engine
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.waiting import HELD, PATIENCE, wait_until

REPOSITORY = Path(__file__).parents[2]
COUNT = 200
RED_EVERY = 50


class Command:
    """The command line over one database and one folder of pictures."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        self.pictures = folder / "pictures"
        self.log = folder / "scanned"
        self.config = folder / "config.toml"
        scan = f"write_batch = 10\nstop_seconds = {HELD}\n"
        self.config.write_text(f'[database]\nurl = "{url}"\n[scan]\n{scan}')
        self.started: list[subprocess.Popen[str]] = []
        self.pictures.mkdir()
        for number in range(COUNT):
            colour = RED if number % RED_EVERY == 0 else GREEN
            (self.pictures / f"{number:04}.png").write_bytes(png(colour, number, 32))

    def start(self, *arguments, most=math.inf):
        words = (self.log, most, "--config", self.config, *arguments)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.command", *map(str, words)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def query(self, sql):
        engine = make_engine(self.url)
        with engine.connect() as connection:
            found = connection.execute(text(sql)).scalar()
        engine.dispose()
        return found

    def scanned(self):
        return self.log.read_text().split() if self.log.exists() else []

    def until(self, sql, least):
        wait_until(lambda: self.query(sql) >= least, sql)

    def stop(self, process):
        """Send Ctrl-C, and return once the process has said that it stops."""
        process.send_signal(signal.SIGINT)
        ready, _, _ = select.select([process.stderr], [], [], PATIENCE)
        assert ready
        assert "stopping" in process.stderr.readline()

    def go_on(self):
        self.log.with_suffix(".go").touch()

    def end(self):
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


@pytest.fixture
def command(tmp_path, database_url):
    migrations.check(database_url)
    made = Command(tmp_path, database_url)
    yield made
    made.end()


def test_kill_minus_9_loses_nothing_recorded_and_scans_nothing_stored_again(command):
    for wanted in (30, 80):
        process = command.start("scan", command.pictures, most=60)
        command.until("SELECT count(*) FROM sightings", wanted)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    command.go_on()
    stored, logged = command.query("SELECT count(*) FROM verdicts"), len(command.scanned())
    assert 80 <= stored < COUNT
    recorded = command.query("SELECT count(*) FROM sightings")
    assert recorded <= stored
    assert command.query("SELECT state FROM runs") == "running"

    code, out, err = command.run("scan", command.pictures, "--json")
    assert code == 1, err
    assert len(command.scanned()) - logged == COUNT - stored
    assert len(set(command.scanned())) == COUNT
    assert command.query("SELECT count(*) FROM verdicts") == COUNT
    assert command.query("SELECT count(*) FROM sightings") == COUNT
    assert command.query("SELECT count(*) FROM runs") == 1
    assert command.query("SELECT count(*) FROM run_items") == COUNT / RED_EVERY
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["state"] == "done"
    assert COUNT - recorded <= len(lines) - 1 <= COUNT  # what is behind a gap is told again
    assert "Traceback" not in err

    code, out, _ = command.run("scan", command.pictures, "--json")
    assert code == 1
    assert json.loads(out.splitlines()[-1])["summary"]["scanned"] == 0
    assert len(command.scanned()) - logged == COUNT - stored


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(command):
    process = command.start("scan", command.pictures, most=60)
    command.until("SELECT count(*) FROM sightings", 20)
    command.stop(process)
    command.go_on()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert "Traceback" not in err
    done = command.query("SELECT count(*) FROM sightings")
    assert 20 <= done < COUNT
    assert done == command.query("SELECT count(*) FROM verdicts")  # what was in flight as well
    assert f"{done} pictures" in out
    assert "the same command goes on with run 1" in out
    code, out, _ = command.run("scan", command.pictures)
    assert code == 1
    assert f"{COUNT - done} pictures, {COUNT - done} scanned" in out
    assert len(command.scanned()) == COUNT


def test_ctrl_c_twice_ends_at_once_and_keeps_what_was_recorded(command):
    process = command.start("scan", command.pictures, most=60)
    command.until("SELECT count(*) FROM sightings", 10)
    command.stop(process)
    process.send_signal(signal.SIGINT)
    command.go_on()  # a thread that scores is waited for by Python itself
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert "Traceback" not in err
    assert command.query("SELECT state FROM runs") == "stopped"
    done = command.query("SELECT count(*) FROM sightings")
    code, out, _ = command.run("scan", command.pictures, "--json")
    assert code == 1
    assert command.query("SELECT count(*) FROM sightings") == COUNT
    assert len(out.splitlines()) - 1 >= COUNT - done


def test_two_scans_of_one_source_at_once_are_refused(command):
    process = command.start("scan", command.pictures, most=60)
    command.until("SELECT count(*) FROM sightings", 1)
    code, _, err = command.run("scan", command.pictures)
    process.send_signal(signal.SIGINT)
    command.go_on()
    process.communicate(timeout=PATIENCE)
    assert code == 3
    assert "being scanned by another process" in err


def test_watch_judges_what_appears_and_ends_with_0_at_sigterm(command):
    process = command.start("watch", command.pictures, "--json")
    command.until("SELECT count(*) FROM sightings", COUNT)
    (command.pictures / "new.png").write_bytes(png(RED, 1000, 32))
    command.until("SELECT count(*) FROM sightings", COUNT + 1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["decision"] for line in lines} == {"flagged"}
    assert len(lines) == COUNT / RED_EVERY + 1
    assert command.query("SELECT count(*) FROM run_items") == COUNT / RED_EVERY + 1
