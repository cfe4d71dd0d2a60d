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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from scanner.decode import read
from sqlalchemy import Connection, select

import migrations
from benchmarks.report import Report, Row, median_seconds, note
from cache.database import Store
from cache.record import own_issuer
from cache.tables import codes, images
from cache.verdict import Decision
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.parts import build_judge
from scanner.limits import Limits
from scanner.testpatterns import draw_noise

CODES = 10_000
BATCH = 8


def main() -> int:
    """Measure, print, write benchmarks/results/reuse.json; 1 when a goal is missed."""
    data = picture()
    note(f"a picture of 2 megapixels, {len(data) / 1000:.0f} kB; {CODES} codes in the index")
    with tempfile.TemporaryDirectory() as folder:
        judge = prepare(Path(folder))
        exact, perceptual = reuse_seconds(judge, data)
        report = Report("reuse", ("torch", "open_clip_torch"))
        report.add(Row("exact hit", exact * 1e3, "ms a picture"))
        report.add(Row("perceptual pass", perceptual * 1e3, "ms a picture"))
        for name, seconds in (
            ("bundled model", bundled_seconds(judge, data)),
            ("ViT-B-32, random weights", vit_seconds(data)),
        ):
            add_scan(report, name, seconds, exact, perceptual)
        judge.store.close()
    return report.finish()


def add_scan(report: Report, name: str, scan: float, exact: float, perceptual: float) -> None:
    """Add the rows that hold both ways of reuse against one scan."""
    real = name.startswith("ViT")
    peer = f"scan, {name}, batch {BATCH}"
    report.add(Row(peer, scan * 1e3, "ms a picture"))
    report.add(
        Row("scan / exact hit", scan / exact, "times", goal=250 if real else None, peer=peer)
    )
    report.add(
        Row(
            "scan / perceptual pass",
            scan / perceptual,
            "times",
            goal=3 if real else None,
            peer=peer,
        )
    )


def picture() -> bytes:
    """Return a JPEG of 1632 x 1224 pixels that looks like a soft photo, under 400 kB."""
    image = draw_noise(3, (408, 306)).resize((1632, 1224), Image.Resampling.BICUBIC)
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


def reuse_seconds(judge: Judge, data: bytes) -> tuple[float, float]:
    """Return the median seconds of an exact hit, and of the perceptual pass, as served."""
    with asyncio.Runner() as runner:
        answer = runner.run(judge.judge(data))
        if not answer.scanned or answer.decision is not Decision.CLEAN:
            raise RuntimeError(f"the picture should be scanned and clean, not {answer.decision}")
        exact = median_seconds(lambda: runner.run(judge.judge(data)), 300)
        fresh = iter(variants_of(data))
        perceptual = median_seconds(lambda: runner.run(judge.look(next(fresh))), 60)
    return exact, perceptual


def variants_of(data: bytes) -> Iterator[bytes]:
    """Give the same picture in ever other bytes, so that each is decoded and looked up."""
    for number in itertools.count():
        yield data + number.to_bytes(8, "big")


def bundled_seconds(judge: Judge, data: bytes) -> float:
    """Return the median seconds a picture that decoding and the bundled model take at `BATCH`."""
    scanner = judge.scanner
    if scanner is None:
        raise RuntimeError("the benchmark needs the scanner: install the extra clip")
    with asyncio.Runner() as runner:

        def batch() -> None:
            pictures = [read(data, Limits()) for _ in range(BATCH)]
            runner.run(scanner.score(pictures))

        return median_seconds(batch, 9) / BATCH


def vit_seconds(data: bytes) -> float:
    """Return the median seconds a picture that decoding and ViT-B-32 take at `BATCH`."""
    model = open_clip.create_model("ViT-B-32", pretrained=None).eval()
    transform = open_clip.image_transform(model.visual.image_size, is_train=False)

    def batch() -> None:
        frames = [read(data, Limits()).frames[0] for _ in range(BATCH)]
        with torch.inference_mode():
            model.encode_image(torch.stack([transform(frame) for frame in frames]))

    return median_seconds(batch, 9) / BATCH


if __name__ == "__main__":
    sys.exit(main())
