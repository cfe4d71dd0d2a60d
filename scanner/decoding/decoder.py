"""The owner's side of one decoder process: starts it, speaks with it, ends it.

Whatever the process does wrong (it dies, is silent for too long, says what cannot be) ends it,
and comes out as one of the scanner's errors. It gets no environment but a path and a language,
and no file but its end of a socket.
"""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.classifiers.windows import WINDOWS_MAX
from scanner.decoding.facts import HASH_BYTES, Facts, from_plain
from scanner.decoding.framing import PREFIX, BrokenFrame, lengths, pack, parse
from scanner.errors import DecoderFailed, OverLimit, Undecodable
from scanner.limits import Limits

ROOT = Path(__file__).parents[2]
COMMAND = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from scanner.decoding.decoder_process import main; main()"
)
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "16777216",  # bytes: a large picture's memory is given back
    "LANG": "C.UTF-8",
}
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Decoder:
    """One process. Its owner asks one thing at a time."""

    def __init__(self, limits: Limits, memory_bytes: int, seconds: int) -> None:
        self._limits, self._memory, self._seconds = limits, memory_bytes, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._lost = False
        self.pictures = 0
        """Pictures it has read."""

    async def start(self) -> None:
        """Start the process; raises DecoderFailed."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawn(theirs)
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
        except OSError as error:
            ours.close()
            raise DecoderFailed(f"no decoder process can be started: {error.strerror}") from error

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        numbers = (str(theirs.fileno()), str(self._memory), str(self._seconds))
        return subprocess.Popen(  # noqa: S603  no shell, and no word of a stranger
            (*(sys.executable, "-c", COMMAND, str(ROOT)), *numbers, self._limits.model_dump_json()),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env={**ENVIRONMENT, **{k: os.environ[k] for k in KEPT if k in os.environ}},
        )

    async def read(self, data: bytes, sha256: bytes, seed: bytes, name: str | None) -> Facts:
        """Return the facts of a picture, which the process keeps until the next one.

        Raises Undecodable, OverLimit, and DecoderFailed where the process is at fault.
        """
        self.pictures += 1
        header, _ = await self._ask({"op": "read", "seed": seed.hex(), "name": name}, data)
        return from_plain(header.get("facts"), sha256)

    async def pixels(
        self, preprocess: Preprocess, view: int, count: int
    ) -> tuple[Pixels, list[int], int, int]:
        """Return windows of the picture's views from `view` on, some `count`.

        With them the number of each one's frame, the view to go on with, and the views left.
        """
        bound = (count + WINDOWS_MAX) * preprocess.height * preprocess.width * 3
        request = {"op": "pixels", "preprocess": preprocess.plain(), "view": view, "count": count}
        header, body = await self._ask(request, b"", bound)
        try:
            frames = [int(number) for number in header["frames"]]
            shape = (len(frames), preprocess.height, preprocess.width, 3)
            pixels: Pixels = np.frombuffer(body, np.uint8).reshape(shape)
            return pixels, frames, int(header["next"]), int(header["left"])
        except (KeyError, TypeError, ValueError) as error:
            raise DecoderFailed("it gave other pixels than it was asked for") from error

    async def near_code(self, frame: int) -> tuple[bytes, int]:
        """Return PDQ (32 bytes) and quality (0..100) of the frame of that number."""
        header, _ = await self._ask({"op": "near_code", "frame": frame}, b"")
        try:
            code, quality = bytes.fromhex(header["pdq"]), int(header["quality"])
        except (KeyError, TypeError, ValueError) as error:
            raise DecoderFailed("it gave another code than it was asked for") from error
        if len(code) != HASH_BYTES or not 0 <= quality <= 100:
            raise DecoderFailed("it gave a code that cannot be")
        return code, quality

    @property
    def process(self) -> int | None:
        """The process id while it lives."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether it can be asked for another picture."""
        return self._process is not None and self._process.poll() is None and not self._lost

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._lost = True
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()  # a killed process is gone at once

    async def _ask(
        self, request: dict[str, Any], data: bytes, bound: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        """Return the answer's header and body; who is cancelled meanwhile loses the process."""
        try:
            async with asyncio.timeout(self._seconds):
                header, body = await self._exchange(request, data, bound)
        except TimeoutError as error:
            self.kill()
            raise Undecodable(f"decoding it takes more than {self._seconds} seconds") from error
        except (BrokenFrame, OSError, asyncio.IncompleteReadError) as error:
            self.kill()
            raise DecoderFailed("the decoder process ended") from error
        except BaseException:
            self.kill()
            raise
        return _checked(header), body

    async def _exchange(
        self, request: dict[str, Any], data: bytes, bound: int
    ) -> tuple[dict[str, Any], bytes]:
        if self._reader is None or self._writer is None:
            raise BrokenFrame("it was not started")
        self._writer.write(pack(request, len(data)))
        self._writer.write(data)
        await self._writer.drain()
        header, body = lengths(await self._reader.readexactly(PREFIX.size), bound)
        answer = parse(await self._reader.readexactly(header))
        return answer, await self._reader.readexactly(body)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that is no error; raises what the process says of the picture."""
    kind, why = answer.get("error"), str(answer.get("why"))
    if kind is None:
        return answer
    raise OverLimit(why) if kind == "over-limit" else Undecodable(why)
