"""A pool of decoder processes: hostile pictures may crash or stall one, and harm nobody.

A picture that ends its process is tried once more, in a fresh one (the fault may have been
another picture's), and is `undecodable` if it does so again. A process that failed, stalled,
or whose owner was cancelled in the middle is replaced. Started only when a picture comes, and
before or after torch alike: they are no forks.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.decoding.decoder import Decoder
from scanner.decoding.facts import Facts
from scanner.errors import DecoderFailed, OverLimit, Undecodable
from scanner.limits import Limits
from scanner.settings import ScannerSettings

TRIES = 2
FAILS = "decoding it ends the decoder process"
PICTURES_A_PROCESS = 20_000
"""After so many pictures a process is replaced, so that no leak adds up."""
DECODERS_MAX = 8
"""Decoders by default at most; more are a setting away."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some windows of a picture, (n, height, width, 3), and which frame each shows: 0 the first."""

    pixels: Pixels
    frames: tuple[int, ...]
    last: bool


class Opened:
    """A decoded picture; its pixels are there while its decoder is held."""

    def __init__(self, facts: Facts, decoder: Decoder, pool: "DecodePool") -> None:
        self.facts = facts
        self._decoder: Decoder | None = decoder
        self._pool = pool

    async def chunks(self, preprocess: Preprocess, count: int) -> AsyncGenerator[Chunk, None]:
        """Give all windows, some `count` at a time; a decoder is asked only as they are taken."""
        view, left, views = 0, 1, None
        while left:
            if self._decoder is None:
                raise DecoderFailed("the picture was given back")
            pixels, frames, view, left = await self._decoder.pixels(preprocess, view, count)
            if views not in (None, view + left):
                raise DecoderFailed("it made more views of a picture that it has read")
            views = view + left
            yield Chunk(pixels, tuple(frames), not left)

    async def near_code(self, frame: int) -> tuple[bytes, int]:
        """Return PDQ (32 bytes) and quality (0..100) of a frame that a chunk told of."""
        if self._decoder is None:
            raise DecoderFailed("the picture was given back")
        return await self._decoder.near_code(frame)

    def give_back(self) -> None:
        """Let the decoder read another picture; no more pixels are wanted of this one."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            self._pool.take_back(decoder)


class DecodePool:
    """Decoders for one event loop."""

    def __init__(
        self, settings: ScannerSettings, limits: Limits, keyed_secret: bytes | None = None
    ) -> None:
        """With a secret, still pictures get their sketch (`keyed`), which costs 10 ms or so."""
        self._settings, self.limits, self._secret = settings, limits, keyed_secret
        self._size = settings.decoders or min(os.cpu_count() or 1, DECODERS_MAX)
        self._places = asyncio.Semaphore(self._size)
        self._all: list[Decoder] = []
        self._idle: list[Decoder] = []

    @asynccontextmanager
    async def open(
        self, data: bytes, sha256: bytes, *, seed: bytes = bytes(32)
    ) -> AsyncIterator[Opened]:
        """Decode a picture, and hold its decoder until the end of the block or `give_back`.

        `seed` chooses the frames of an animation that are seen. Raises Undecodable or OverLimit,
        and NoDecoder where no decoder can be started.
        """
        if len(data) > self.limits.image_bytes:
            raise OverLimit(f"{len(data)} bytes, the limit is {self.limits.image_bytes}")
        await self._places.acquire()
        opened = None
        try:
            opened = await self._read(data, sha256, seed)
            yield opened
        except DecoderFailed as error:
            raise Undecodable(FAILS) from error
        finally:
            if opened is None:
                self._places.release()
            else:
                opened.give_back()

    @property
    def processes(self) -> list[int]:
        """The process ids of the decoders that live."""
        return [decoder.process for decoder in self._all if decoder.process is not None]

    def take_back(self, decoder: Decoder) -> None:
        """Let a decoder have the next picture."""
        self._keep(decoder)
        self._places.release()

    def close(self) -> None:
        """End all processes."""
        while self._all:
            self._drop(self._all[-1])

    async def _read(self, data: bytes, sha256: bytes, seed: bytes) -> Opened:
        for _ in range(TRIES):
            decoder = self._sound() or await self._started()
            try:
                facts = await decoder.read(data, sha256, seed, self._secret)
                return Opened(facts, decoder, self)
            except DecoderFailed:
                self._drop(decoder)
            except BaseException:
                self._keep(decoder)
                raise
        raise Undecodable(FAILS)

    def _sound(self) -> Decoder | None:
        """Return one that waits for a picture and lives; the system may have ended others."""
        while self._idle:
            decoder = self._idle.pop()
            if decoder.alive:
                return decoder
            self._drop(decoder)
        return None

    async def _started(self) -> Decoder:
        settings = self._settings
        decoder = Decoder(self.limits, settings.decoder_bytes, settings.decode_seconds)
        await decoder.start()
        self._all.append(decoder)
        return decoder

    def _keep(self, decoder: Decoder) -> None:
        """Keep a decoder if it is sound and not too old."""
        if decoder.alive and decoder.pictures < PICTURES_A_PROCESS:
            self._idle.append(decoder)
        else:
            self._drop(decoder)

    def _drop(self, decoder: Decoder) -> None:
        decoder.kill()
        if decoder in self._all:
            self._all.remove(decoder)
