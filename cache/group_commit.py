"""Runs writes one after another in a thread of its own, those that wait together in one commit.

Decides which writes share a transaction: those already waiting while an earlier one runs, up to
MAX_GROUP_WRITES of them, none begun later than MAX_GROUP_SECONDS after the first. A write that
fails takes nothing along but itself (its SAVEPOINT); one is answered after the commit that holds
it, so what was answered is on disk. How a transaction begins and ends is left to the caller.

Where the database itself drops the whole transaction (disk full, connection gone), those that
shared it are run again, each alone; so a write must touch nothing but its connection.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

MAX_GROUP_WRITES = 64
MAX_GROUP_SECONDS = 0.05

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins a write transaction; commits it at the end of the block, rolls it back on an error."""


@dataclass(eq=False, slots=True)
class _Write:
    run: Callable[[Connection], Any]
    answer: Future[Any] = field(default_factory=Future)


class _Dropped(Exception):  # no failure of its own: its writes are run again
    """The database dropped the transaction while one of its writes failed."""


class GroupCommit:
    """The writer of a store."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._waiting: deque[_Write] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    def submit(self, run: Callable[[Connection], Any]) -> Future[Any]:
        """Let `run` be called in the writer thread; a write that has not begun can be cancelled."""
        write = _Write(run)
        self._waiting.append(write)
        self._thread.submit(self._group)
        return write.answer

    def close(self) -> None:
        """Finish the writes that wait, then end the thread."""
        self._thread.shutdown(wait=True)

    def _group(self) -> None:
        """Run what waits in one transaction; nothing if an earlier group took it along."""
        first = self._next()
        if first is None:
            return
        taken, results = [first], []
        try:
            with self._transaction() as connection:
                results.append((first, first.run(connection)))
                for write in self._joining():
                    taken.append(write)
                    if (result := self._run_apart(connection, write)) is not None:
                        results.append((write, result[0]))
        except _Dropped:
            for write, _ in results:
                self._run_alone(write)
        except BaseException as error:  # noqa: BLE001  # whoever asked shall have it
            for write in taken:
                _fail(write, error)
        else:
            for write, result in results:
                write.answer.set_result(result)

    def _joining(self) -> Iterator[_Write]:
        deadline = time.monotonic() + MAX_GROUP_SECONDS
        for _ in range(MAX_GROUP_WRITES - 1):
            if time.monotonic() >= deadline or (write := self._next()) is None:
                return
            yield write

    def _next(self) -> _Write | None:
        """Return the next write that nobody cancelled; from now on nobody can."""
        while self._waiting:
            write = self._waiting.popleft()
            if write.answer.set_running_or_notify_cancel():
                return write
        return None

    def _run_apart(self, connection: Connection, write: _Write) -> tuple[Any] | None:
        """Run a write so that it fails alone; None if it did."""
        savepoint = connection.begin_nested()
        try:
            result = write.run(connection)
        except BaseException as error:  # noqa: BLE001  # whoever asked shall have it
            write.answer.set_exception(error)
        else:
            savepoint.commit()
            return (result,)
        try:
            savepoint.rollback()
        except DBAPIError as error:  # SQLite: there is no savepoint any more
            raise _Dropped from error
        if connection.invalidated:
            raise _Dropped
        return None

    def _run_alone(self, write: _Write) -> None:
        try:
            with self._transaction() as connection:
                result = write.run(connection)
        except BaseException as error:  # noqa: BLE001  # whoever asked shall have it
            write.answer.set_exception(error)
        else:
            write.answer.set_result(result)


def _fail(write: _Write, error: BaseException) -> None:
    if not write.answer.done():
        write.answer.set_exception(error)
