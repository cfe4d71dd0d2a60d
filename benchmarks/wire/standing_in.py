"""Peers in a process of their own: as many hosts on loopback as asked for, whose inboxes say 202.

`python -m benchmarks.wire.standing_in 50` prints the ports as a JSON list and serves until its
input ends. `GET /taken` on any of them tells what all took together. They verify nothing: what a
peer does with what it gets is no cost of ours.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from aiohttp import web


@contextmanager
def standing_in(count: int) -> Iterator[list[int]]:
    """Run so many hosts for the block and give their ports."""
    command = [sys.executable, "-m", __spec__.name, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


def taken(port: int) -> dict[str, int]:
    """Return how many signed activities the hosts took, of how many bytes, by how many hosts."""
    with urlopen(f"http://127.0.0.1:{port}/taken") as answer:
        return dict(json.load(answer))


class _Hosts:
    def __init__(self) -> None:
        self._activities, self._bytes = 0, 0
        self._hosts: set[str] = set()

    async def inbox(self, request: web.Request) -> web.Response:
        body = await request.read()
        if "Signature" not in request.headers or "Digest" not in request.headers:
            return web.Response(status=401)
        json.loads(body)
        self._activities += 1
        self._bytes += len(body)
        self._hosts.add(request.host)
        return web.Response(status=202)

    async def taken(self, _: web.Request) -> web.Response:
        told = {"activities": self._activities, "bytes": self._bytes, "hosts": len(self._hosts)}
        return web.json_response(told)


async def _serve(count: int) -> None:
    hosts, app = _Hosts(), web.Application()
    app.router.add_get("/taken", hosts.taken)
    app.router.add_post("/{tail:.*}", hosts.inbox)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for _ in range(count):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps([address[1] for address in runner.addresses]), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
