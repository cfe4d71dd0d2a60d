"""The child that decodes: reads one picture at a time from a socket, with its hands tied.

It holds no secret and no database, may take only so much memory, may write no file, and ends
when its owner does, or when one request takes far too long. A picture that crashes it takes
nothing else along. It keeps the picture that it read until it is told the next one, so that its
owner can look it up first and ask for pixels only if it has to be scanned.
"""

import ctypes
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.decoding.decode import FORMATS, read
from scanner.decoding.facts import facts_of, to_plain
from scanner.decoding.framing import BrokenFrame, lengths, pack, parse
from scanner.decoding.keyed import small_of
from scanner.decoding.one_way import is_shown_one_way
from scanner.decoding.picture import Picture
from scanner.decoding.shown import as_shown
from scanner.errors import OverLimit, ScannerError
from scanner.limits import Limits

PR_SET_PDEATHSIG = 1
"""prctl(2): send this process a signal when the thread that started it ends."""
ALARM_FACTOR = 2
"""How often over the owner's patience the child ends by itself."""


class Child:
    """Answers requests until the other side is gone."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO, limits: Limits, patience: int) -> None:
        self._reader, self._writer, self._limits = reader, writer, limits
        self._patience = patience
        self._picture: Picture | None = None
        self._data = b""
        """The picture's file, until its pixels are asked for."""

    def serve(self) -> None:
        """Say that it is ready, then answer one request after the other."""
        self._say({}, b"")
        while True:
            header, body = lengths(self._reader.read(8), self._limits.image_bytes)
            request = parse(self._reader.read(header))
            data = self._reader.read(body)
            signal.alarm(self._patience)
            answer, pixels = self._answer(request, data)
            signal.alarm(0)
            self._say(answer, pixels)

    def _say(self, answer: dict[str, Any], pixels: bytes) -> None:
        self._writer.write(pack(answer, len(pixels)))
        self._writer.write(pixels)
        self._writer.flush()

    def _answer(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            if request["op"] == "read":
                return self._read(request, data), self._small() if request["small"] else b""
            if request["op"] == "near_code":
                return self._near_code(request["frame"]), b""
            return self._pixels(request)
        except ScannerError as error:
            over = isinstance(error, OverLimit)
            return {"error": "over-limit" if over else "undecodable", "why": str(error)}, b""
        except MemoryError:
            self._picture = None
            return {"error": "over-limit", "why": "it takes more memory than it may"}, b""

    def _read(self, request: dict[str, Any], data: bytes) -> dict[str, Any]:
        self._picture, self._data = None, b""
        self._picture = read(data, self._limits, seed=bytes.fromhex(request["seed"]))
        self._data = data
        return {"facts": to_plain(facts_of(self._picture))}

    def _small(self) -> bytes:
        """Return what the owner makes its sketch of, nothing where viewers may show more than that.

        A JPEG's comes from the full decoder: a crafted one shows what drafting does not.
        """
        picture = self._held()
        if picture.frames_total != 1 or len(picture.frames) != 1:
            return b""
        if not is_shown_one_way(self._data, FORMATS):
            return b""
        try:
            shown = as_shown(picture, self._data, self._limits)
        except ScannerError:
            return b""  # whoever asks for its pixels is told
        self._picture, self._data = shown, b""
        return small_of(shown.frames[0]) if len(shown.frames) == 1 else b""

    def _near_code(self, frame: int) -> dict[str, Any]:
        """Return PDQ and quality of a frame, told by the place of its first view."""
        found = self._held().hashes_of(frame)
        return {"pdq": found.variants[0].hex(), "quality": found.quality}

    def _pixels(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the windows of views from `view` on, until there are `count`, or none is left."""
        picture, parts = self._shown(), list[bytes]()
        preprocess = Preprocess.of(request["preprocess"])
        view, rows, frames = int(request["view"]), 0, list[int]()
        while view < len(picture.frames) and (rows < int(request["count"])):
            pixels: Pixels = preprocess.of_frame(picture.frames[view])
            parts.append(pixels.tobytes())
            frames += [picture.plain[view]] * len(pixels)
            rows, view = rows + len(pixels), view + 1
        return {"frames": frames, "next": view, "left": len(picture.frames) - view}, b"".join(parts)

    def _shown(self) -> Picture:
        """Return the picture with all that viewers show of it, found once."""
        picture, data = self._held(), self._data
        if data:
            self._data = b""
            self._picture = picture = as_shown(picture, data, self._limits)
        return picture

    def _held(self) -> Picture:
        if self._picture is None:
            raise BrokenFrame("no picture was read")
        return self._picture


def tie_hands(memory_bytes: int) -> None:
    """Bound memory, files and signals of this process."""
    with suppress(ValueError, OSError):  # not every system knows each of them
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a stop is the owner's business: it may need us yet
    with suppress(OSError, AttributeError):  # Linux: end with the owner, whatever is being done
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Serve the socket whose number stands first on the command line."""
    number, memory, patience, limits = sys.argv[1:]
    tie_hands(int(memory))
    with socket.socket(fileno=int(number)) as there:
        reader, writer = there.makefile("rb"), there.makefile("wb")
        child = Child(
            reader, writer, Limits.model_validate_json(limits), int(patience) * ALARM_FACTOR
        )
        try:
            child.serve()
        except (BrokenFrame, OSError):
            os._exit(0)  # the owner is gone, or does not want us any more


if __name__ == "__main__":
    main()
