"""A flood from a process of its own: requests made beforehand, as fast as they are answered.

`python -m benchmarks.wire.forging PLAN.json COUNT` sends COUNT requests of the plan in turn, 64 at
a time, and prints how many got which status, and in how many seconds.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp

AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Forged:
    """One request as it is sent."""

    headers: dict[str, str]
    body: str


def write_plan(path: Path, url: str, requests: list[Forged]) -> None:
    """Write down what is sent."""
    plan = {"url": url, "requests": [asdict(one) for one in requests]}
    path.write_text(json.dumps(plan), "utf-8")


def command(plan: Path, count: int) -> list[str]:
    """Return the command line of a flood."""
    return [sys.executable, "-m", __spec__.name, str(plan), str(count)]


async def _flood(plan: dict[str, Any], count: int) -> dict[str, Any]:
    requests, statuses = cycle(plan["requests"]), Counter[str]()
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    start = time.perf_counter()
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send() -> None:
            for _ in left:
                one = next(requests)
                body, headers = one["body"].encode(), one["headers"]
                async with session.post(plan["url"], data=body, headers=headers) as answer:
                    statuses[str(answer.status)] += 1

        await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return {"statuses": statuses, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    print(json.dumps(asyncio.run(_flood(asked, int(sys.argv[2])))))
