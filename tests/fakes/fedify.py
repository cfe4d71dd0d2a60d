"""Fedify, another implementation of ActivityPub, as a peer on loopback.

It runs in a process of its own (`tests/e2e/fedify/peer.mjs`) and does what it is told; what it
received is what its own verification let through.
"""

import asyncio
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from tests.waiting import PATIENCE

FOLDER = Path(__file__).parent.parent / "e2e" / "fedify"
KNOCKS = {"cavage": "draft-cavage-http-signatures-12", "rfc9421": "rfc9421"}


def why_not():
    """Return why Fedify cannot run here, or None."""
    if shutil.which("node") is None:
        return "there is no `node`"
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    if any(_installed(name) != version for name, version in wanted.items()):
        return "Fedify is not installed: run `make fedify`"
    return None


def _installed(name):
    package = FOLDER / "node_modules" / name / "package.json"
    return json.loads(package.read_text())["version"] if package.is_file() else None


class Fedify:
    """One process; `scheme` is the kind of HTTP signature that it tries first."""

    def __init__(self, scheme):
        self.scheme = scheme
        environment = {**os.environ, "FIRST_KNOCK": KNOCKS[scheme]}
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "peer.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipes = (self._process.stdin, self._process.stdout)
        self.base = self._process.stdout.readline().strip()
        assert self.base, "Fedify did not start"

    def stop(self):
        for pipe in self._pipes:
            pipe.close()
        self._process.terminate()
        self._process.wait(PATIENCE)

    async def tell(self, command, **arguments):
        """Have it do something, and return what came of it."""
        return await asyncio.to_thread(self._tell, {"command": command, **arguments})

    def _tell(self, message):
        request = urllib.request.Request(f"{self.base}/control", json.dumps(message).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "error" not in found, found["error"]
        return found["result"]

    def actor(self, name):
        return f"{self.base}/users/{name}"
