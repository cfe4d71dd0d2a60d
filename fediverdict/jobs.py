"""Answers that are fetched later: whoever asked with `?wait=SECONDS` gets a URL for the rest.

Decides how many are kept and for how long, and who may fetch one: the token that asked. They are
held in memory, so a restart forgets them; what was judged is known all the same, and asking again
costs nothing.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fediverdict.errors import NotDecided
from fediverdict.look import Answer

ID_BYTES = 16


@dataclass(slots=True)
class Job:
    """A picture that is judged, or was, for the token of that name."""

    id: str
    owner: str
    task: asyncio.Task[Answer]
    ended: float | None = field(default=None)  # seconds of the loop's clock


class Jobs:
    """The jobs of one process; belongs to one event loop."""

    def __init__(self, limit: int, keep_seconds: float) -> None:
        self._limit, self._keep_seconds = limit, keep_seconds
        self._jobs: dict[str, Job] = {}  # the oldest first

    def start(self, owner: str, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Job:
        """Begin a job; raises NotDecided when as many as are kept are still under way."""
        self._make_room()
        if len(self._jobs) >= self._limit:
            raise NotDecided(f"{self._limit} pictures are being judged already; ask again.")
        job = Job(secrets.token_urlsafe(ID_BYTES), owner, asyncio.create_task(work()))
        job.task.add_done_callback(lambda _: _end(job))
        self._jobs[job.id] = job
        return job

    def find(self, job_id: str, owner: str) -> Job | None:
        """Return a job of that owner, None where there is none or no more."""
        self._forget_old()
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    def forget(self, job: Job) -> None:
        """Let go of a job whose answer was given at once."""
        self._jobs.pop(job.id, None)

    async def close(self) -> None:
        """Let go of what is under way."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_room(self) -> None:
        """Forget what is old, and of what has ended the oldest, so that one more fits."""
        self._forget_old()
        ended = [job for job in self._jobs.values() if job.ended is not None]
        for job in ended[: max(0, len(self._jobs) + 1 - self._limit)]:
            self.forget(job)

    def _forget_old(self) -> None:
        before = asyncio.get_running_loop().time() - self._keep_seconds
        for job in list(self._jobs.values()):
            if job.ended is not None and job.ended <= before:
                self.forget(job)


def _end(job: Job) -> None:
    job.ended = asyncio.get_running_loop().time()
    if not job.task.cancelled():
        job.task.exception()  # told to whoever fetches it; it may be that nobody does
