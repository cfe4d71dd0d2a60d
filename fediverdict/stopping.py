"""How a long command is asked to stop: the first signal lets it finish, the second ends it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)


T = TypeVar("T")


def run_until_stopped(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; one that a second signal ended raises KeyboardInterrupt."""
    try:
        return asyncio.run(main)
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error


@contextmanager
def stop_on_signals(say: Callable[[], None] = lambda: None) -> Iterator[asyncio.Event]:
    """Give an event that Ctrl-C or SIGTERM sets, and `say` so; a second one cancels the task."""
    loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set() and task is not None:
            loop.set_exception_handler(lambda *_: None)  # what is let go has nothing to say
            task.cancel()
        elif not stop.is_set():
            stop.set()
            say()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def stopped_within(seconds: float, stop: asyncio.Event) -> bool:
    """Wait so long, or until `stop` is set; tell whether it is."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
