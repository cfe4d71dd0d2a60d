"""Whether an inbox under a flood keeps answering good peers, and what the flood costs it.

`fediverdict serve` in a process of its own follows five peers, which post signed pages at a steady
pace, and gets 20,000 requests from another process, 64 at a time and as fast as it answers:
not signed at all, and signed wrongly, in the names of those peers and of made-up hosts. All come
from the host's own address, the worst case: no network can be told from another (`shedding.py`), so
each forged signature in a peer's name is verified. A part of the flood comes while nobody else
posts; a commit or a fetch in that time is one that the flood caused.
"""

import asyncio
import json
import os
import secrets
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.report import Row, note
from benchmarks.wire.forging import Forged, command, write_plan
from federation.signing import keys
from federation.signing.cavage import sign_request
from federation.wire import composing, strictjson
from fediverdict.demo.instance import Instance
from tests.fakes.peer import Peer

FLOOD, ALONE = 20_000, 4_000
PEERS = 5
PACE_SECONDS = 0.06
"""Between two posts of good peers."""

_PEER: Any = Peer  # the fakes have no types
QUIET_POSTS, FLOODED_POSTS = 150, 1_500
"""Posts of good peers; in the flood as many of them as there is time for."""

ROWS = 20
SETTINGS = """
[federation]
allow_private_addresses = true
poll_seconds = 0.5
activities_per_minute = 10000
[scanner]
enabled = false
"""


@dataclass(frozen=True, slots=True)
class Post:
    """A signed request of a good peer, made beforehand."""

    peer: Any
    headers: dict[str, str]
    body: bytes


def flood_rows() -> Iterator[Row]:
    """Return the figures as rows of the report."""
    found = flood()
    for kind in ("median", "95th percentile"):
        metric, quiet = f"answer to a good peer in a flood, {kind}", found[f"quiet {kind}, ms"]
        value = found[f"flooded {kind}, ms"]
        yield Row(metric, value, "ms", peer="without the flood", peer_value=quiet)
    yield Row("good posts refused in a flood", found["refused"], "posts", 0, "at most")
    yield Row("the flood", found["requests/s"], "requests/s")
    yield Row("processor time of a forged request", found["processor time, ms"], "ms")
    yield Row("fetches that a flood causes", found["fetches"], "fetches", 0, "at most")
    yield Row("writes that a flood causes", found["writes"], "is any", 0, "at most")


def flood() -> dict[str, float]:
    """Measure; names end with their unit where they have one."""
    note(f"an inbox flooded with {FLOOD:,} requests")
    with tempfile.TemporaryDirectory() as held:
        return asyncio.run(_flood(Path(held)))


async def _flood(folder: Path) -> dict[str, float]:
    instance = Instance.create("flooded", folder / "flooded", SETTINGS)
    instance.start()
    peers = [await _PEER(_now, f"peer {number}").start() for number in range(PEERS)]
    try:
        for peer in peers:
            await _let_follow(instance, peer)
        return await _measure(folder, instance, peers)
    finally:
        for peer in peers:
            await peer.stop()
        instance.stop()


async def _let_follow(instance: Instance, peer: Any) -> None:
    """Have the instance follow the clean feed of a peer, up to its Accept."""
    await asyncio.to_thread(
        instance.run, "peers", "follow", f"clean@127.0.0.1:{peer.port}", "--yes"
    )
    asked = await _first(peer, "Follow")
    status = await peer.accept(SimpleNamespace(base=instance.base_url), asked)
    if status != 202:
        raise AssertionError(f"the Accept was answered {status}")


async def _first(peer: Any, kind: str) -> dict[str, Any]:
    """Return the first activity of a kind that a peer gets."""
    for _ in range(600):
        for one in peer.received:
            if one["type"] == kind:
                return dict(one)
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {kind} came")


async def _measure(folder: Path, instance: Instance, peers: Sequence[Any]) -> dict[str, float]:
    inbox = f"{instance.base_url}/inbox"
    plan = folder / "plan.json"
    write_plan(plan, inbox, _forged(inbox, peers))
    await _post(inbox, _posts(inbox, peers, PEERS))
    await asyncio.sleep(2)  # what was posted has been acted on
    cost = await _alone(plan, instance, peers)
    quiet, refused = await _post(inbox, _posts(inbox, peers, QUIET_POSTS))
    posts = _posts(inbox, peers, FLOODED_POSTS)
    flooding = asyncio.create_task(_run(plan, FLOOD - ALONE))
    flooded, more = await _post(inbox, posts, flooding)
    told = await flooding
    note(f"statuses {told['statuses']}, {len(flooded)} good posts meanwhile")
    return {
        **_spread("quiet", quiet),
        **_spread("flooded", flooded),
        "refused": refused + more,
        "requests/s": (FLOOD - ALONE) / told["seconds"],
        **cost,
    }


def _spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    return {
        f"{name} median, ms": 1_000 * statistics.median(seconds),
        f"{name} 95th percentile, ms": 1_000 * statistics.quantiles(seconds, n=20)[-1],
    }


async def _alone(plan: Path, instance: Instance, peers: Sequence[Any]) -> dict[str, float]:
    """Flood while nobody posts; return how often peers were asked, whether anything was written
    (SQLite's `data_version` changes with every commit of another connection), and processor time.
    """
    for peer in peers:
        peer.requests.clear()
    (path,) = instance.folder.glob("**/*.sqlite3")
    with sqlite3.connect(path) as database:
        before = database.execute("PRAGMA data_version").fetchone()
        start = _processor_seconds(instance)
        told = await _run(plan, ALONE)
        seconds = _processor_seconds(instance) - start
        after = database.execute("PRAGMA data_version").fetchone()
    note(f"statuses {told['statuses']} alone")
    return {
        "fetches": sum(len(peer.requests) for peer in peers),
        "writes": int(before != after),
        "processor time, ms": 1_000 * seconds / ALONE,
    }


def _processor_seconds(instance: Instance) -> float:
    """Return what the instance's process has used of processors so far (proc(5), 14 and 15)."""
    fields = Path(f"/proc/{instance.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _run(plan: Path, count: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(*command(plan, count), stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    return dict(json.loads(printed))


async def _post(
    url: str, posts: Sequence[Post], until: asyncio.Task[Any] | None = None
) -> tuple[list[float], int]:
    """Post at a steady pace; return the seconds that answers took, and how many were refused."""
    seconds, refused = [], 0
    for post in posts:
        if until is not None and until.done():
            break
        start = time.perf_counter()
        async with post.peer.session.post(url, data=post.body, headers=post.headers) as answer:
            refused += answer.status != 202
        seconds.append(time.perf_counter() - start)
        await asyncio.sleep(max(0.0, PACE_SECONDS - seconds[-1]))
    return seconds, refused


def _posts(url: str, peers: Sequence[Any], count: int) -> list[Post]:
    """Return signed Creates of the peers' next pages, each peer in turn."""
    return [_signed(url, peers[number % len(peers)]) for number in range(count)]


def _signed(url: str, peer: Any) -> Post:
    create = composing.build_create(_page(peer))
    body = strictjson.to_bytes(create)
    key_id = keys.main_key_id(create["actor"])
    return Post(peer, sign_request("POST", url, body, peer.rsa, key_id, _now()), body)


def _page(peer: Any) -> Any:
    return peer.publish([peer.row(secrets.token_hex(8)) for _ in range(ROWS)])


def _forged(url: str, peers: Sequence[Any]) -> list[Forged]:
    """Return requests not signed, and signed wrongly, for peers and for made-up hosts."""
    wrong = keys.generate_rsa()
    forged = []
    for number, peer in enumerate([*peers] * 8):
        body = strictjson.to_bytes(
            composing.build_create(peer.publish([peer.row("x")], keep=False))
        )
        for name in (str(peer.base), f"https://made-up-{number}.example"):
            told = body.decode().replace(str(peer.base), name)
            actor = json.loads(told)["actor"]
            headers = sign_request(
                "POST", url, told.encode(), wrong, keys.main_key_id(actor), _now()
            )
            forged.append(Forged(headers, told))
            unsigned = {key: value for key, value in headers.items() if key != "Signature"}
            forged.append(Forged(unsigned, told))
    return forged


def _now() -> int:
    return int(time.time())
