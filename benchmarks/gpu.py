"""Pictures a second on a GPU beside fedi-safety's way, with utilisation and the matmul bound.

`python -m benchmarks.gpu` needs a CUDA device (ROCm is one to torch) and says so where there is
none. ViT-L-14 with random weights: they cost what real ones cost. fedi-safety's way: threads,
each with one picture, which passes the image tower twice, in fp32. Two scopes, both sides in
turns: the model alone, from pixels in memory, and the whole path from JPEG files of 2 megapixels.
The matmul bound is what the device's fastest measured bf16 matrix product would give if a
picture were nothing but its floating-point operations. `--device cpu --architecture ViT-B-32
--pictures 16` exercises the program without a GPU; its figures then say nothing of one.
"""

import argparse
import asyncio
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fediverdict  # noqa: F401  first: it sets how many threads numpy's BLAS takes
from benchmarks.report import Report, Row, note
from benchmarks.scan.fedi_safety import DEFAULT_THREADS
from benchmarks.scan.instance import instance
from benchmarks.scan.pictures import checkpoint, distinct, quiet_policy
from scanner.classifiers.preprocess import Pixels
from scanner.policy import load_policy
from scanner.settings import ScannerSettings

TIMES = 20.0
"""How many times the peer's pictures a second ours are to be."""
ROUNDS = 5
MATMUL = 8192
CALLERS = 2
"""Threads that call the classifier at once, as the scanner's batcher does."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write benchmarks/results/gpu.json; 1 when a goal is missed."""
    import torch  # noqa: PLC0415

    asked = _asked(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        note("benchmarks.gpu: no CUDA device is here, so nothing was measured")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = _measure(Path(folder), asked)
    if asked.device == "cuda":
        return report.finish()
    print(report.table())  # an exercise is no record
    return 0


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--architecture", default="ViT-L-14")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=2048, help="of ours in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    return parser.parse_args(arguments)


def _measure(folder: Path, asked: argparse.Namespace) -> Report:
    weights = checkpoint(folder, asked.architecture)
    common: dict[str, Any] = {
        "model": str(weights),
        "architecture": asked.architecture,
        "device": asked.device,
        "batch": asked.batch,
        "backend": "torch",
    }
    report = Report("gpu", ("torch", "open_clip_torch"))
    theirs = Peer(weights, asked.architecture, asked.device)
    _model_alone(report, ScannerSettings.model_validate(common), theirs, asked)
    _whole_path(report, folder, common, theirs, asked)
    _bound(report, theirs, asked.device)
    return report


class Peer:
    """fedi-safety's way on one device."""

    def __init__(self, weights: Path, architecture: str, device: str) -> None:
        import open_clip  # noqa: PLC0415

        model = open_clip.create_model(architecture, pretrained=str(weights))
        self.model: Any = model.to(device).eval()
        self._device = device
        self._transform: Any = open_clip.image_transform(model.visual.image_size, is_train=False)

    def judge(self, data: bytes) -> None:
        """Decode a picture, and pass it through the image tower once for each question."""
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image.thumbnail((512, 512))
        for _ in range(2):
            self._encode(self._transform(image))

    def encode(self, pixels: Pixels) -> None:
        """The same from pixels of the model's size, (height, width, 3) uint8."""
        import torch  # noqa: PLC0415

        for _ in range(2):
            self._encode(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)

    def _encode(self, image: Any) -> None:
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            self.model.encode_image(image.unsqueeze(0).to(self._device)).cpu()


def _model_alone(
    report: Report, settings: ScannerSettings, theirs: Peer, asked: argparse.Namespace
) -> None:
    from scanner.classifiers.clip import ClipClassifier  # noqa: PLC0415

    classifier = ClipClassifier.load(settings, load_policy("default"))
    note(f"compiled: {classifier.is_compiled}; {classifier.pipeline['precision']}")
    shape = (asked.batch, classifier.preprocess.height, classifier.preprocess.width, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    batches = max(CALLERS, asked.pictures // asked.batch)
    singles = [batch[at % len(batch)] for at in range(_fewer(asked.pictures))]

    def ours() -> None:
        _in_threads(classifier.score, [batch] * batches, CALLERS)

    def peer() -> None:
        _in_threads(theirs.encode, singles, DEFAULT_THREADS)

    counts = {"ours": batches * asked.batch, "theirs": len(singles)}
    _take_turns(report, "model alone", {"ours": ours, "theirs": peer}, counts, asked)


def _whole_path(
    report: Report, folder: Path, common: dict[str, Any], theirs: Peer, asked: argparse.Namespace
) -> None:
    numbers = count()
    cores = os.cpu_count() or 1
    policy = str(quiet_policy(folder))
    settings = {**common, "decoders": cores, "policy": policy}
    with asyncio.Runner() as runner, instance(folder, **settings) as judge:

        async def judge_all(pictures: list[bytes]) -> None:
            places = asyncio.Semaphore(4 * asked.batch)

            async def one(data: bytes) -> None:
                async with places:
                    if not (await judge.judge(data)).scanned:
                        raise RuntimeError("every picture should be scanned")

            await asyncio.gather(*map(one, pictures))

        fresh: dict[str, list[bytes]] = {"ours": [], "theirs": []}
        counts = {"ours": asked.pictures, "theirs": _fewer(asked.pictures)}

        def prepare() -> None:
            for side, pictures in fresh.items():
                pictures[:] = [distinct(next(numbers)) for _ in range(counts[side])]

        works: dict[str, Callable[[], object]] = {
            "ours": lambda: runner.run(judge_all(fresh["ours"])),
            "theirs": lambda: _in_threads(theirs.judge, fresh["theirs"], DEFAULT_THREADS),
        }
        _take_turns(report, "whole path", works, counts, asked, prepare)


def _fewer(pictures: int) -> int:
    """How many of them the slow side gets in a round."""
    return max(DEFAULT_THREADS, pictures // 16)


def _in_threads(work: Callable[[Any], object], items: list[Any], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


def _take_turns(
    report: Report,
    scope: str,
    works: dict[str, Callable[[], object]],
    counts: dict[str, int],
    asked: argparse.Namespace,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Time both sides in turns after a warm-up round, and add their rows."""
    rates: dict[str, list[float]] = {side: [] for side in works}
    busy: dict[str, list[float]] = {side: [] for side in works}
    for turn in range(asked.rounds + 1):
        prepare()
        for side, work in works.items():
            with _utilisation(asked.device) as samples:
                started = time.perf_counter()
                work()
                rate = counts[side] / (time.perf_counter() - started)
            if turn:
                rates[side].append(rate)
                busy[side] += samples
        note(f"{scope}: round {turn} of {asked.rounds}")
    median = {side: statistics.median(found) for side, found in rates.items()}
    for side, rate in median.items():
        report.add(Row(f"{scope}, {side}", rate, "pictures a second"))
        if busy[side]:
            report.add(Row(f"{scope}, {side}, GPU busy", statistics.mean(busy[side]), "%"))
    goal = TIMES if asked.device == "cuda" else None
    report.add(Row(f"{scope}, ours / theirs", median["ours"] / median["theirs"], "times", goal))


@contextmanager
def _utilisation(device: str) -> Iterator[list[float]]:
    """Collect the GPU's utilisation in percent, five times a second, while the block runs."""
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.2):
            found = _percent()
            if found is None:
                return
            samples.append(found)

    thread = threading.Thread(target=sample, daemon=True)
    if device == "cuda":
        thread.start()
    yield samples
    done.set()
    if device == "cuda":
        thread.join()


def _percent() -> float | None:
    """Ask the driver how busy the first GPU is; None where nothing can tell."""
    import torch  # noqa: PLC0415

    try:
        return float(torch.cuda.utilization(0))
    except Exception:  # noqa: BLE001  it needs a package of the maker's
        pass
    command = ["nvidia-smi", "-i", "0", "--query-gpu=utilization.gpu"]
    command.append("--format=csv,noheader,nounits")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
        return float(answer.stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def _bound(report: Report, theirs: Peer, device: str) -> None:
    """Add what the matrix product alone would allow."""
    flops = flops_of_a_picture(theirs.model)
    peak = matmul_flops(device, MATMUL if device == "cuda" else 1024)
    report.add(Row("bf16 matrix product", peak / 1e12, "TFLOP/s"))
    report.add(Row("a picture, once through the image tower", flops / 1e9, "GFLOP"))
    report.add(Row("matmul bound", peak / flops, "pictures a second"))


def flops_of_a_picture(model: Any) -> int:
    """Return the floating-point operations of one pass of the image tower."""
    import torch  # noqa: PLC0415
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    device = next(model.parameters()).device
    side = model.visual.image_size
    height, width = (side, side) if isinstance(side, int) else side
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fused attention is not counted
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.encode_image(torch.zeros((1, 3, height, width), device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def matmul_flops(device: str, side: int) -> float:
    """Return the floating-point operations a second of a bf16 product of two square matrices."""
    import torch  # noqa: PLC0415

    left = torch.randn((side, side), device=device).to(torch.bfloat16)
    right = torch.randn((side, side), device=device).to(torch.bfloat16)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(10):
            started = time.perf_counter()
            for _ in range(10):
                left @ right
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, (time.perf_counter() - started) / 10)
    return 2 * side**3 / best


if __name__ == "__main__":
    sys.exit(main())
