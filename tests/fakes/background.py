"""A fake peer that answers while a command runs in this thread: it has a thread of its own."""

import asyncio
import contextlib
import threading

from tests.fakes.peer import Peer


@contextlib.contextmanager
def peer_in_background(clock, name="peer"):
    """Start a `Peer` in a thread of its own and stop it afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    peer = Peer(clock, name)
    try:
        call(peer.start())
        yield peer
        call(peer.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
