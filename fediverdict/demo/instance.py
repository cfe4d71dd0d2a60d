"""One instance of Fediverdict as a process of its own, for the demo and the end-to-end tests.

It is driven as a user would: by its command line and its HTTP API, never by its tables.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from fediverdict.errors import UserError

READY_SECONDS = 60.0


class InstanceFailed(UserError):
    """A process of the demo did not do what it was asked; its log says why."""


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Instance:
    """A folder with config, database and log; started and stopped at will."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.name, self.folder, self.port = name, folder, port
        self.base_url = f"http://127.0.0.1:{port}"
        self.config = folder / "config.toml"
        self.log = folder / "serve.log"
        self.token = ""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, name: str, folder: Path, settings: str) -> Self:
        """Write the config, then let `fediverdict init` make database, keys and token."""
        folder.mkdir(parents=True, exist_ok=True)
        instance = cls(name, folder, free_port())
        instance.config.write_text(_head(instance) + settings, "utf-8")
        instance.token = instance.json("init", "--json")["token"]
        return instance

    def handle(self, feed: str) -> str:
        """Return the address of one of its feeds, e.g. clean@127.0.0.1:8701."""
        return f"{feed}@127.0.0.1:{self.port}"

    def run(self, *arguments: str, codes: tuple[int, ...] = (0, 1)) -> str:
        """Run one `fediverdict` command on this instance and return what it printed."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, env=environment()
        )
        if done.returncode not in codes:
            words = " ".join(arguments)
            raise InstanceFailed(f"{self.name}: `{words}` ended {done.returncode}: {done.stderr}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run one command with JSON output and return what it says."""
        return json.loads(self.run(*arguments))

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of one `fediverdict` command on this instance."""
        return [sys.executable, "-m", "fediverdict", "--config", str(self.config), *arguments]

    def start(self) -> None:
        """Start `serve` and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("serve"), stdout=log, stderr=log, env=environment()
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.running:
            with contextlib.suppress(OSError):
                self.request("GET", "/healthz")
                return
            time.sleep(0.05)
        self.stop()
        raise InstanceFailed(f"{self.name} did not start; the end of its log:\n{self.log_end()}")

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of `serve`."""
        if self._process is None:
            raise InstanceFailed(f"{self.name} was not started")
        return self._process.pid

    def stop(self, sign: int = signal.SIGTERM) -> None:
        """End `serve` and wait for it; SIGKILL leaves it no time to tidy up."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(sign)
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log_end(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def request(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Send one API request with the instance's token and return the JSON of the answer."""
        request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
            self.base_url + path, data=body, method=method
        )
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())

    def scan(self, data: bytes) -> dict[str, Any]:
        """Ask this instance for its decision on one picture."""
        answer: dict[str, Any] = self.request("POST", "/api/v1/scan", data)
        return answer


def environment() -> dict[str, str]:
    """Return the environment for a child: ours, with bytecode and without config overrides."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FEDIVERDICT_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | {"PYTHONUNBUFFERED": "1"}


def _head(instance: Instance) -> str:
    return (
        f'[instance]\nbase_url = "{instance.base_url}"\nname = "{instance.name}"\n'
        f"[http]\nport = {instance.port}\n"
    )
