"""Pictures a second beside fedi-safety's way, on the same model, pictures and machine.

fedi-safety's way, as its source does it: threads that each decode a picture in full, reduce it
to 512 pixels, and pass it through the image tower twice, one picture at a time. Ours is the
whole path: processes that decode, fingerprints, near search, batches, and a verdict stored.
Both sides take turns on pictures that neither has seen; medians over the rounds.
"""

import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from benchmarks.report import Report, Row, note
from benchmarks.scan.instance import instance
from benchmarks.scan.pictures import checkpoint, distinct, quiet_policy
from fediverdict.judge import Judge
from scanner.classifiers.export import export_model
from scanner.policy import load_policy
from scanner.settings import ScannerSettings

ARCHITECTURE = "ViT-B-32"
DEFAULT_THREADS = 10
TRIED_THREADS = (1, 2, 4)
BATCH, TOGETHER = 8, 24
PICTURES, ROUNDS = 48, 5
PRECISIONS: tuple[Literal["fp32", "int8"], ...] = ("fp32", "int8")
TORCH = "fp32 by torch"
GOALS = {"fp32": (3.0, 2.5), "int8": (5.0, 4.0)}
"""Of ONNX Runtime, which is what `scanner.backend = "auto"` takes on a CPU; its fp32 is the same
pipeline as torch's."""


def main() -> int:
    """Measure, print, write benchmarks/results/scanner_fedi_safety.json; 1 if a goal is missed."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        rates = _measure(Path(folder), runner)
    best = max((f"{threads} threads" for threads in TRIED_THREADS), key=lambda name: rates[name])
    report = Report("scanner_fedi_safety", ("torch", "open_clip_torch", "onnxruntime"))
    default = f"{DEFAULT_THREADS} threads"
    for name, rate in rates.items():
        side = "fedi-safety's way" if name.endswith("threads") else "ours"
        report.add(Row(f"{side}, {name}", rate, "pictures a second"))
    for precision, (beside_default, beside_best) in GOALS.items():
        for theirs, goal in ((default, beside_default), (best, beside_best)):
            ratio = rates[precision] / rates[theirs]
            report.add(
                Row(f"ours, {precision} / fedi-safety's way, {theirs}", ratio, "times", goal)
            )
    return report.finish()


def _measure(folder: Path, runner: asyncio.Runner) -> dict[str, float]:
    """Return the pictures a second of each way."""
    weights = checkpoint(folder, ARCHITECTURE)
    common: dict[str, Any] = {
        "model": str(weights),
        "architecture": ARCHITECTURE,
        "batch": BATCH,
        "device": "cpu",
        "policy": str(quiet_policy(folder)),
    }
    settings = ScannerSettings.model_validate(common)
    policy = load_policy(settings.policy)
    exports = {
        kind: str(export_model(settings, policy, kind, folder / f"{kind}.onnx").path)
        for kind in PRECISIONS
    }
    theirs = fedi_safety(weights)
    numbers = count()
    with (
        instance(folder, backend="torch", **common) as torch,
        instance(folder, backend="onnx", onnx=exports["fp32"], **common) as fp32,
        instance(folder, backend="onnx", onnx=exports["int8"], **common) as int8,
    ):
        ways: dict[str, Callable[[list[bytes]], object]] = {
            name: partial(_run, runner, judge)
            for name, judge in {"fp32": fp32, "int8": int8, TORCH: torch}.items()
        }
        for threads in (DEFAULT_THREADS, *TRIED_THREADS):
            ways[f"{threads} threads"] = partial(theirs, threads=threads)
        return _rates(ways, lambda: [distinct(next(numbers)) for _ in range(PICTURES)])


def _rates(
    ways: dict[str, Callable[[list[bytes]], object]], fresh: Callable[[], list[bytes]]
) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            pictures = fresh()
            started = time.perf_counter()
            way(pictures)
            if turn:
                found[name].append(len(pictures) / (time.perf_counter() - started))
        note(f"round {turn} of {ROUNDS}")
    return {name: statistics.median(values) for name, values in found.items()}


def _run(runner: asyncio.Runner, judge: Judge, pictures: list[bytes]) -> None:
    runner.run(ours(judge, pictures))


async def ours(judge: Judge, pictures: list[bytes]) -> None:
    """Judge the pictures, some of them at a time."""
    places = asyncio.Semaphore(TOGETHER)

    async def one(data: bytes) -> None:
        async with places:
            if not (await judge.judge(data)).scanned:
                raise RuntimeError("every picture should be scanned")

    await asyncio.gather(*map(one, pictures))


def fedi_safety(weights: Path) -> Callable[..., object]:
    """Return what judges pictures in fedi-safety's way with so many threads."""
    import open_clip  # noqa: PLC0415
    import torch  # noqa: PLC0415

    model: Any = open_clip.create_model(ARCHITECTURE, pretrained=str(weights)).eval()
    transform: Any = open_clip.image_transform(model.visual.image_size, is_train=False)

    def judge(data: bytes) -> None:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image.thumbnail((512, 512))
        with torch.inference_mode():
            for _ in range(2):  # once for each of its two questions
                model.encode_image(transform(image).unsqueeze(0))

    def run(pictures: list[bytes], threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(judge, pictures))

    return run
