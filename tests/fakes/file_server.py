"""A server of one large file on loopback, with the faults that large downloads meet."""

import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.waiting import PATIENCE


class FileServer:
    """What is served, how it fails, and what was asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.etag: str | None = '"one"'
        self.ranges = True
        self.length = True
        """Whether the answer says how long the file is."""
        self.breaks: list[int] = []
        """Each answer in turn ends after so many bytes; then none does."""
        self.statuses: list[int] = []
        """Each request in turn gets this status; then none does."""
        self.stalls: list[int] = []
        """Each answer in turn falls silent after so many bytes."""
        self.drip_seconds = 0.0
        """Pause after each byte; 0 sends all at once."""
        self.dripped = 0
        """Bytes that were sent with pauses."""
        self.redirect: str | None = None
        self.asked: list[tuple[str, str, str | None]] = []
        """(method, path, Range) of each request."""
        self.headers: dict[str, dict[str, str]] = {}
        """Headers beyond the usual ones, by path."""
        self.port = 0
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/weights.safetensors"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append((handler.command, handler.path, asked))
        if self.statuses:
            self._plain(handler, self.statuses.pop(0))
        elif self.redirect and not handler.path.startswith("/content"):
            self._plain(handler, 302, Location=self.redirect, **self.headers.get(handler.path, {}))
        elif handler.path in self.headers and "X-Missing" in self.headers[handler.path]:
            self._plain(handler, 404, **self.headers[handler.path])
        else:
            self._file(handler, asked)

    def _plain(self, handler, status, **headers):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _file(self, handler, asked):
        start = 0
        fresh = handler.headers.get("If-Range") in {None, self.etag}
        if asked and self.ranges and fresh:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.data):
                self._plain(handler, 416, **{"Content-Range": f"bytes */{len(self.data)}"})
                return
        handler.send_response(206 if start else 200)
        if start:
            end = len(self.data) - 1
            handler.send_header("Content-Range", f"bytes {start}-{end}/{len(self.data)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        for name, value in self.headers.get(handler.path, {}).items():
            handler.send_header(name, value)
        if self.length:
            handler.send_header("Content-Length", str(len(self.data) - start))
        handler.end_headers()
        if handler.command != "HEAD":
            self._body(handler, self.data[start:])

    def _body(self, handler, body):
        if self.stalls:
            handler.wfile.write(body[: self.stalls.pop(0)])
            handler.wfile.flush()
            self.stop.wait(PATIENCE)
            return
        if self.breaks:
            body = body[: self.breaks.pop(0)]
        if not self.drip_seconds:
            handler.wfile.write(body)
            return
        for one in body:
            if self.stop.is_set():
                return
            handler.wfile.write(bytes([one]))
            handler.wfile.flush()
            self.dripped += 1
            time.sleep(self.drip_seconds)


@contextmanager
def serving(data: bytes):
    """Serve the file on loopback for as long as the block runs."""
    state = FileServer(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(ConnectionError):  # the reader has left
                state.answer(self)
            self.close_connection = True

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
