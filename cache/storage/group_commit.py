"""Runs writes one after another in a thread of its own, those that wait together in one commit.

Decides which writes share a transaction: those already waiting while an earlier one runs, up to
MAX_GROUP_WRITES of them, none begun later than MAX_GROUP_SECONDS after the first. Those of one
kind that stand next to each other are handed over in one call. A write that fails takes nothing
along but itself (its SAVEPOINT); one is answered after the commit that holds it, so what was
answered is on disk. How a transaction begins and ends is left to the caller.

A write may be run again, after a rollback: alone where a call for several failed, and where the
database itself dropped the transaction (disk full, connection gone) together with one that
failed. So it must touch nothing but its connection.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

MAX_GROUP_WRITES = 256
MAX_GROUP_SECONDS = 0.05

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins a write transaction; commits it at the end of the block, rolls it back on an error."""


@dataclass(eq=False, slots=True)
class Write:
    """What is to be run, on which item, and for whom; those of an equal `kind` in one call."""

    run: Callable[[Connection, Sequence[Any]], Any]
    item: Any = None
    kind: object = None  # None: always in a call of its own
    answer: Future[Any] = field(default_factory=Future)


class _Dropped(Exception):  # no failure of its own: its writes are run again
    """The database dropped the transaction while one of its writes failed."""


class GroupCommit:
    """The writer of a store."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._waiting: deque[Write] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    def submit(self, write: Write) -> Future[Any]:
        """Let the write be run in the writer thread; one that has not begun can be cancelled."""
        self._waiting.append(write)
        self._thread.submit(self._run_group)
        return write.answer

    def close(self) -> None:
        """Finish the writes that wait, then end the thread."""
        self._thread.shutdown(wait=True)

    def _run_group(self) -> None:
        """Run what waits in one transaction; nothing if an earlier group took it along."""
        first = self._next(MAX_GROUP_WRITES)
        if first:
            self._commit_together(first, self._joining(MAX_GROUP_WRITES - len(first)))

    def _commit_together(self, first: list[Write], more: Iterable[list[Write]] = ()) -> None:
        begun = list(first)
        results: list[tuple[Write, Any]] = []
        try:
            with self._transaction() as connection:
                results += _run_first(connection, first)
                for call in more:
                    begun += call
                    results += _run(connection, call)
        except _Dropped:
            for write in begun:
                if not write.answer.done():
                    self._commit_together([write])
        except BaseException as error:  # noqa: BLE001  # whoever asked shall have it
            for write in begun:
                if not write.answer.done():
                    write.answer.set_exception(error)
        else:
            for write, result in results:
                write.answer.set_result(result)

    def _joining(self, left: int) -> Iterator[list[Write]]:
        """Give the further calls of a group that begins now, as long as its limits allow."""
        deadline = time.monotonic() + MAX_GROUP_SECONDS
        while time.monotonic() < deadline and (call := self._next(left)):
            yield call
            left -= len(call)

    def _next(self, limit: int) -> list[Write]:
        """Return the next writes for one call, but the cancelled ones; now none can be any more."""
        call: list[Write] = []
        while self._waiting and len(call) < limit:
            head = self._waiting[0]
            if call and (head.kind is None or head.kind != call[0].kind):
                break
            self._waiting.popleft()
            if head.answer.set_running_or_notify_cancel():
                call.append(head)
        return call


def _run_first(connection: Connection, call: list[Write]) -> list[tuple[Write, Any]]:
    """Run the first call of a group; a write alone needs no SAVEPOINT, there is nothing to save."""
    if len(call) > 1:
        return _run(connection, call)
    (write,) = call
    return [(write, write.run(connection, [write.item]))]


def _run(connection: Connection, call: list[Write]) -> list[tuple[Write, Any]]:
    """Run writes in one call, or one by one where that fails; return those that did not."""
    savepoint = connection.begin_nested()
    try:
        result = call[0].run(connection, [write.item for write in call])
    except BaseException as error:  # noqa: BLE001  # whoever asked shall have it
        if len(call) == 1:
            call[0].answer.set_exception(error)
    else:
        savepoint.commit()
        return [(write, result) for write in call]
    try:
        savepoint.rollback()
    except DBAPIError as error:  # SQLite: there is no savepoint any more
        raise _Dropped from error
    if connection.invalidated:
        raise _Dropped
    return [done for write in call for done in _run(connection, [write])] if len(call) > 1 else []
