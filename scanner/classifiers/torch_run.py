"""Runs a scoring module on a device by torch: which device, how precise, and the way there.

Pixels travel as uint8 in pinned memory; on CUDA (ROCm is the same to torch) they are copied on
one stream while the batch before them is computed on another, and scores come back once a batch.
A few slots of buffers bound what is under way, whatever the callers do; any number of threads may
call. Only queueing work, and on a CPU computing, happens one at a time. On a CPU and on MPS the
very same steps run without streams. What is computed is the module's business.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from scanner.classifiers.preprocess import Pixels
from scanner.errors import ModelError
from scanner.settings import ScannerSettings

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
SLOTS = 3
"""Batches under way: one computed, one copied, one filled by the caller."""

logger = logging.getLogger(__name__)

Run = Callable[[torch.Tensor], torch.Tensor]
"""(n, height, width, 3) uint8 -> (n, labels) fp32, both on the device."""


def device_of(name: str) -> torch.device:
    """Return the device of that name, or the best there is for `auto`; raises ModelError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, usable in there.items() if usable), "cpu")
    elif not there.get(name, True):
        raise ModelError(f"scanner.device is {name}, which torch does not find; use auto or cpu")
    return torch.device(name)


def precision_of(wanted: str, device: torch.device, small: bool) -> Precision:
    """Return the precision that the setting means for a model on this device.

    Raises ModelError for one that torch does not compute in.
    """
    for name in DTYPES:
        if name == wanted:
            return name
    if wanted != "auto":
        raise ModelError(f"torch does not compute in {wanted}: set scanner.precision to auto")
    if device.type != "cuda" or small:
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def settle(settings: ScannerSettings) -> None:
    """Set what torch keeps for the whole process: its threads, and fp32 that is fp32.

    TF32 would give fp32 scores that differ from card to card.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with suppress(RuntimeError):  # only before torch has worked; one model runs at a time
        torch.set_num_interop_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """Shape of a batch: entries, pixels high and wide, labels."""

    batch: int
    height: int
    width: int
    labels: int

    @property
    def pixels(self) -> tuple[int, int, int, int]:
        """The shape of a batch's pixels."""
        return (self.batch, self.height, self.width, 3)


class _Slot:
    """The buffers of one batch on its way."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        cuda = device.type == "cuda"
        self.count = 0
        self.here = torch.zeros(sizes.pixels, dtype=torch.uint8, pin_memory=cuda)
        self.there = self.here
        if device.type != "cpu":
            self.there = torch.zeros(sizes.pixels, dtype=torch.uint8, device=device)
        self.scores = torch.zeros((sizes.batch, sizes.labels), pin_memory=cuda)
        self.copied: Any = torch.cuda.Event() if cuda else None
        self.done: Any = torch.cuda.Event(blocking=True) if cuda else None
        self._array = self.here.numpy()

    def fill(self, pixels: Pixels) -> None:
        self.count = len(pixels)
        np.copyto(self._array[: self.count], pixels)


class _Lane(Protocol):
    """How a batch gets to the device and back."""

    def start(self, slot: _Slot, size: int, run: Run) -> None:
        """Queue, or do, all work of a slot, on its first `size` entries."""

    def finish(self, slot: _Slot) -> None:
        """Wait until the slot's scores are here."""


class _PlainLane:
    """A CPU, or MPS: the work is done when `start` returns."""

    def start(self, slot: _Slot, size: int, run: Run) -> None:
        if slot.there is not slot.here:
            slot.there[:size].copy_(slot.here[:size])
        slot.scores[: slot.count].copy_(run(slot.there[:size])[: slot.count])

    def finish(self, slot: _Slot) -> None:
        """Everything is here already."""


class _CudaLane:
    """CUDA: copies on one stream, computing on another; `start` only queues."""

    def __init__(self, device: torch.device) -> None:
        self._copying = torch.cuda.Stream(device)
        self._computing = torch.cuda.Stream(device)
        torch.cuda.synchronize(device)  # the weights came by the default stream

    def start(self, slot: _Slot, size: int, run: Run) -> None:
        with torch.cuda.stream(self._copying):
            slot.there[:size].copy_(slot.here[:size], non_blocking=True)
            slot.copied.record(self._copying)
        with torch.cuda.stream(self._computing):
            self._computing.wait_event(slot.copied)
            scores = run(slot.there[:size])
            slot.scores[: slot.count].copy_(scores[: slot.count], non_blocking=True)
            slot.done.record(self._computing)

    def finish(self, slot: _Slot) -> None:
        slot.done.synchronize()


class Runner:
    """Scores pixels by a module on its device; safe to call from threads."""

    def __init__(
        self, module: torch.nn.Module, sizes: Sizes, device: torch.device, compiled: bool
    ) -> None:
        self._module, self._sizes = module, sizes
        self._lock = threading.Lock()
        self._lane: _Lane = _CudaLane(device) if device.type == "cuda" else _PlainLane()
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for _ in range(SLOTS):
            self._free.put(_Slot(sizes, device))
        self._compiled = self._compile() if compiled else None

    @property
    def is_compiled(self) -> bool:
        """Whether full batches run compiled."""
        return self._compiled is not None

    def score(self, pixels: Pixels) -> list[list[float]]:
        """Return the probabilities (n, labels) of (n, height, width, 3) uint8, in order.

        Raises ValueError for pixels of another kind, ModelError when the device fails.
        """
        self._check(pixels)
        rows: list[list[float]] = []
        under_way: deque[_Slot] = deque()
        try:
            for start in range(0, len(pixels), self._sizes.batch):
                slot = self._take(under_way, rows)
                under_way.append(slot)
                slot.fill(pixels[start : start + self._sizes.batch])
                self._start(slot)
            while under_way:
                rows += self._finish(under_way)
        except RuntimeError as error:
            raise _failed(error) from error
        finally:
            self._abandon(under_way)
        return rows

    def _check(self, pixels: Pixels) -> None:
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self._sizes.pixels[1:]:
            raise ValueError(
                f"the model takes uint8 pixels (n, {self._sizes.height}, {self._sizes.width}, 3), "
                f"not {pixels.dtype} {pixels.shape}"
            )

    def _take(self, under_way: deque[_Slot], rows: list[list[float]]) -> _Slot:
        """Return a free slot; our oldest batch is finished first where that makes room.

        Who waits here has no batch under way, so others always come to give theirs back.
        """
        if len(under_way) >= SLOTS - 1:
            rows += self._finish(under_way)
        while under_way:
            try:
                return self._free.get_nowait()
            except queue.Empty:
                rows += self._finish(under_way)
        return self._free.get()

    def _start(self, slot: _Slot) -> None:
        full = self._compiled is not None and 2 * slot.count > self._sizes.batch
        size = self._sizes.batch if full else slot.count
        run = self._compiled if full and self._compiled is not None else self._module
        with self._lock, torch.inference_mode():
            self._lane.start(slot, size, run)

    def _finish(self, under_way: deque[_Slot]) -> list[list[float]]:
        slot = under_way[0]
        self._lane.finish(slot)
        rows: list[list[float]] = slot.scores[: slot.count].tolist()
        under_way.popleft()
        self._free.put(slot)
        return rows

    def _abandon(self, under_way: deque[_Slot]) -> None:
        """Give back what an error left under way."""
        for slot in under_way:
            with suppress(RuntimeError):
                self._lane.finish(slot)
            self._free.put(slot)

    def _compile(self) -> Run | None:
        """Compile for full batches; a batch at most half full is better off uncompiled."""
        compiled: Run = torch.compile(self._module, dynamic=False)
        slot = self._free.get()
        slot.count = self._sizes.batch
        try:
            with torch.inference_mode():
                self._lane.start(slot, slot.count, compiled)
                self._lane.finish(slot)
        except Exception as error:  # noqa: BLE001  its backends raise what they like
            logger.warning("torch.compile does not work here, so it is left out: %s", _first(error))
            return None
        finally:
            self._free.put(slot)
        return compiled


def _failed(error: RuntimeError) -> ModelError:
    if isinstance(error, torch.OutOfMemoryError):
        return ModelError(f"the GPU has no memory left: lower scanner.batch ({_first(error)})")
    return ModelError(f"the device failed: {_first(error)}")


def _first(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
