"""What reusing a verdict costs beside a scan, whole path, on the very code that serves.

Three ways for one 2-megapixel JPEG, each timed in this process, medians, side by side:
an exact hit (sha256, look-up, decide), a perceptual pass (decode, PDQ, pHash, near search over
10,000 codes, decide), and a scan (decode and classify at batch 8) by the bundled model and by
ViT-B-32. ViT-B-32 has random weights here: its cost is the real one, its scores mean nothing.
"""

import asyncio
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from sqlalchemy import Connection, select

import migrations
from benchmarks.report import Report, Row, median_seconds, note
from cache.database import Store
from cache.record import own_issuer
from cache.tables import codes, images
from cache.verdict import Decision
from fediverdict.config import Config
from fediverdict.demo.pictures import shown_to_alpha
from fediverdict.judge import Judge
from fediverdict.parts import build_judge
from scanner.decode import read
from scanner.fingerprint import sha256_of
from scanner.limits import Limits

CODES = 10_000
BATCH = 8
ROUNDS = 15
EXACT, PERCEPTUAL = "exact hit", "perceptual pass"
BUNDLED, VIT = "scan, bundled model", "scan, ViT-B-32 with random weights"
PICTURES = {EXACT: 100, PERCEPTUAL: 4, BUNDLED: BATCH, VIT: BATCH}
GOALS: dict[str, dict[str, float | None]] = {
    VIT: {EXACT: 100, PERCEPTUAL: 3},
    BUNDLED: {EXACT: None, PERCEPTUAL: None},
}


def main() -> int:
    """Measure, print, write benchmarks/results/reuse.json; 1 when a goal is missed."""
    data = picture()
    note(f"a picture of 2 megapixels, {len(data) / 1000:.0f} kB; {CODES:,} codes in the index")
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        judge = prepare(Path(folder))
        seconds = median_seconds(works(judge, runner, data), ROUNDS)
        judge.store.close()
    report = Report("reuse", ("torch", "open_clip_torch"))
    per = {name: seconds[name] / count for name, count in PICTURES.items()}
    for name, value in per.items():
        report.add(Row(name, value * 1e3, "ms a picture"))
    for scan, goals in GOALS.items():
        for way, goal in goals.items():
            report.add(Row(f"{scan} / {way}", per[scan] / per[way], "times", goal=goal))
    return report.finish()


def works(judge: Judge, runner: asyncio.Runner, data: bytes) -> dict[str, Callable[[], object]]:
    """Return what takes turns, each on `PICTURES` pictures."""
    answer = runner.run(judge.judge(data))
    if not answer.scanned or answer.decision is not Decision.CLEAN or judge.scanner is None:
        raise RuntimeError(f"the picture should be scanned and clean, not {answer.decision}")
    scanner, vit, fresh = judge.scanner, vit_b_32(), variants_of(data)

    async def exact() -> None:
        for _ in range(PICTURES[EXACT]):
            await judge.judge(data)

    async def perceptual() -> None:
        for _ in range(PICTURES[PERCEPTUAL]):
            other = next(fresh)
            await judge.look(other, sha256_of(other))

    def bundled() -> None:
        pictures = [read(data, Limits()) for _ in range(BATCH)]
        runner.run(scanner.score(pictures))

    def vit_scan() -> None:
        vit([read(data, Limits()).frames[0] for _ in range(BATCH)])

    return {
        EXACT: lambda: runner.run(exact()),
        PERCEPTUAL: lambda: runner.run(perceptual()),
        BUNDLED: bundled,
        VIT: vit_scan,
    }


def picture() -> bytes:
    """Return a photo of the demo as a JPEG of 1632 x 1224 pixels, under 400 kB."""
    photo = next(one for one in shown_to_alpha() if one.name.startswith("photo-"))
    image = Image.open(io.BytesIO(photo.data)).convert("RGB").resize((1632, 1224))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=85)
    return target.getvalue()


def prepare(folder: Path) -> Judge:
    """Return a judge over a fresh SQLite database whose near index holds `CODES` codes."""
    url = f"sqlite:///{folder}/bench.sqlite3"
    migrations.upgrade(url)
    store = Store.open(url)
    judge = build_judge(Config(), store)
    store.write_now(fill)
    return judge


def fill(connection: Connection) -> None:
    """Store `CODES` own codes of random pictures."""
    now = int(time.time())
    issuer = own_issuer(connection, now=now)
    rng = np.random.default_rng(1)
    hashes = [rng.bytes(32) for _ in range(CODES)]
    connection.execute(images.insert(), [{"sha256": sha, "created": now} for sha in hashes])
    rows = connection.execute(select(images.c.id)).scalars().all()
    connection.execute(
        codes.insert(),
        [
            {
                "image_id": image_id,
                "issuer_id": issuer,
                "pdq": rng.bytes(32),
                "pdq_quality": 100,
                "phash": rng.bytes(32),
                "withdrawn": False,
                "changed": number,
            }
            for number, image_id in enumerate(rows, 1)
        ],
    )


def variants_of(data: bytes) -> Iterator[bytes]:
    """Give the same picture in ever other bytes, so that each is decoded and looked up."""
    for number in itertools.count():
        yield data + number.to_bytes(8, "big")


def vit_b_32() -> Callable[[list[Image.Image]], object]:
    """Return what encodes frames by ViT-B-32 with random weights, fp32."""
    model = open_clip.create_model("ViT-B-32", pretrained=None).eval()
    transform = open_clip.image_transform(model.visual.image_size, is_train=False)

    def encode(frames: list[Image.Image]) -> object:
        with torch.inference_mode():
            return model.encode_image(torch.stack([transform(frame) for frame in frames]))

    return encode


if __name__ == "__main__":
    sys.exit(main())
