"""A wire between two processes that can be cut: it forwards TCP from one port to another."""

import asyncio
import contextlib
import threading

from tests.waiting import PATIENCE


class Wire:
    """Listens on `port` and forwards to `target`, both on loopback, until it is cut or closed."""

    def __init__(self, port, target):
        self.port, self.target = port, target
        self._ends = set()
        self._server = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    def cut(self):
        """Refuse connections, and break those that are open."""
        self._call(self._cut())

    def mend(self):
        """Forward again."""
        self._call(self._listen())

    def close(self):
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work):
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=PATIENCE)

    async def _listen(self):
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def _cut(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in list(self._ends):
            end.transport.abort()
        await asyncio.sleep(0.05)

    async def _forward(self, reader, writer):
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        writer.close()

    async def _pump(self, reader, writer):
        self._ends.add(writer)
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._ends.discard(writer)
            writer.close()
