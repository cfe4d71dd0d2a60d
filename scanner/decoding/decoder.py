"""The owner's side of one decoder process: starts it, speaks with it, ends it.

Whatever the process does wrong (it dies, is silent for too long, says what cannot be) ends it,
and comes out as one of the scanner's errors. One that never said it is ready is no picture's
fault. It gets no environment but a path and a language, and no file but its end of a socket; it
is in a process group of its own, for Ctrl-C is its owner's business.
"""

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.classifiers.windows import WINDOWS_MAX
from scanner.decoding.facts import HASH_BYTES, Facts, from_plain, is_text
from scanner.decoding.framing import PREFIX, BrokenFrame, lengths, pack, parse
from scanner.decoding.keyed import SMALL_BYTES, keyed
from scanner.errors import DecoderFailed, NoDecoder, OverLimit, Undecodable
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
START_SECONDS = 60
"""How long a process may take until it is ready: a machine may be busy, and slow to read."""
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
        """Start the process, and wait until it is ready; raises NoDecoder."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._start()
        except (OSError, BrokenFrame, asyncio.IncompleteReadError) as error:  # TimeoutError is one
            self.kill()
            said = getattr(error, "strerror", None) or "it ended, or was not ready in time"
            raise NoDecoder(
                f"no decoder process can be started ({said}): look at the limits of memory, files "
                "and processes, and at scanner.decoder_bytes"
            ) from error
        except BaseException:
            self.kill()
            raise

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = self._spawn(theirs)
                self._reader, self._writer = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                raise
        await self._answer(0)

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        numbers = (str(theirs.fileno()), str(self._memory), str(self._seconds))
        return subprocess.Popen(  # noqa: S603  no shell, and no word of a stranger
            (*(sys.executable, "-c", COMMAND, str(ROOT)), *numbers, self._limits.model_dump_json()),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            process_group=0,
            env={**ENVIRONMENT, **{k: os.environ[k] for k in KEPT if k in os.environ}},
        )

    async def read(
        self, data: bytes, sha256: bytes, seed: bytes, secret: bytes | None = None
    ) -> Facts:
        """Return the facts of a picture, which the process keeps until the next one.

        With a `secret` they hold the sketch under it. Raises Undecodable, OverLimit, and
        DecoderFailed where the process is at fault.
        """
        self.pictures += 1
        wants = secret is not None
        request = {"op": "read", "seed": seed.hex(), "small": wants}
        header, small = await self._ask(request, data, SMALL_BYTES if wants else 0)
        try:
            facts = from_plain(header.get("facts"), sha256)
        except DecoderFailed:
            self.kill()
            raise
        if len(small) not in (0, SMALL_BYTES):
            raise self._lied("it gave another thumbnail than it was asked for")
        return replace(facts, keyed=keyed(small, secret)) if secret and small else facts

    async def pixels(
        self, preprocess: Preprocess, view: int, count: int
    ) -> tuple[Pixels, list[int], int, int]:
        """Return windows of the picture's views from `view` on, some `count`.

        With them which frame each one shows, told by the place of its first view (two films of
        one file may number their frames alike), the view to go on with, and the views left.
        """
        bound = (count + WINDOWS_MAX) * preprocess.height * preprocess.width * 3
        request = {"op": "pixels", "preprocess": preprocess.plain(), "view": view, "count": count}
        header, body = await self._ask(request, b"", bound)
        try:
            frames = [int(number) for number in header["frames"]]
            shape = (len(frames), preprocess.height, preprocess.width, 3)
            pixels: Pixels = np.frombuffer(body, np.uint8).reshape(shape)
            after, left = int(header["next"]), int(header["left"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._lied("it gave other pixels than it was asked for") from error
        if not frames or after <= view or left < 0:
            raise self._lied("it gave no pixels")
        return pixels, frames, after, left

    async def near_code(self, frame: int) -> tuple[bytes, int]:
        """Return PDQ (32 bytes) and quality (0..100) of a frame that `pixels` told of."""
        header, _ = await self._ask({"op": "near_code", "frame": frame}, b"")
        try:
            code, quality = bytes.fromhex(header["pdq"]), int(header["quality"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._lied("it gave another code than it was asked for") from error
        if len(code) != HASH_BYTES or not 0 <= quality <= 100:
            raise self._lied("it gave a code that cannot be")
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
        return self._checked(header), body

    async def _exchange(
        self, request: dict[str, Any], data: bytes, bound: int
    ) -> tuple[dict[str, Any], bytes]:
        if self._reader is None or self._writer is None:
            raise BrokenFrame("it was not started")
        self._writer.write(pack(request, len(data)))
        self._writer.write(data)
        await self._writer.drain()
        return await self._answer(bound)

    async def _answer(self, bound: int) -> tuple[dict[str, Any], bytes]:
        """Return what the process says next; raises BrokenFrame."""
        if self._reader is None:
            raise BrokenFrame("it was not started")
        header, body = lengths(await self._reader.readexactly(PREFIX.size), bound)
        answer = parse(await self._reader.readexactly(header))
        return answer, await self._reader.readexactly(body)

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return an answer that is no error; raises what the process says of the picture."""
        kind, why = answer.get("error"), answer.get("why")
        if kind is None:
            return answer
        if not is_text(why):
            raise self._lied("it gave no reason that can be shown")
        raise OverLimit(why) if kind == "over-limit" else Undecodable(why)

    def _lied(self, why: str) -> DecoderFailed:
        """End a process that is not sound, and return the error to raise."""
        self.kill()
        return DecoderFailed(why)
