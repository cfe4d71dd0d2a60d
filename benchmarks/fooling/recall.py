"""How many copies near matching finds, by transform, and how many strangers it takes for copies.

At the design's radii: near is PDQ <= 31 with 8 variants, probable PDQ <= 40 or pHash <= 47, each
at quality 50 or more; `keyed` is what `decide.near_clean` would reuse, `unkeyed` the same without
the secret sketch.
"""

import multiprocessing
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from PIL import Image

from benchmarks.fooling.pictures import Photo, bits_apart, distinct, told
from benchmarks.fooling.suite import Suite, Table
from benchmarks.fooling.transforms import CAPTIONS, TRANSFORMS, captioned
from benchmarks.report import Row, note
from cache.index import near, twins
from scanner.decoding.keyed import is_copy, keyed, small_of
from scanner.decoding.perceptual import Perceptual, perceptual

PICTURES = 110
TEMPLATES = 20
PROCESSES = 2
SECRET = bytes(range(32))
COLUMNS = ("near %", "near or probable %", "PDQ <= 10 %", "pHash <= 16 %", "unkeyed %", "keyed %")
COPIES = ("JPEG q80", "JPEG q60", "WebP q80", "AVIF q60", "half size", "three quarters")
"""Copies as servers make them: what the goals of recall are about."""


class Print(NamedTuple):
    """What two pictures are compared by."""

    hashes: Perceptual
    sketch: bytes
    aspect: float


def main() -> int:
    """Measure, print, write benchmarks/results/judgement_transforms.json; 1 if a goal is missed."""
    photos = distinct(PICTURES)
    about = {"pictures": told(photos), "transforms": len(TRANSFORMS)}
    suite = Suite("judgement_transforms", about)
    prints = [print_of(photo.image) for photo in photos]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        recall = _recall(pool.imap(_of_transform, TRANSFORMS), prints)
        suite.tables.append(recall)
        suite.tables.append(_templates(photos))
    strangers, pairs = _strangers(photos, prints)
    suite.tables.append(strangers)
    suite.add(Row("pictures", len(photos), "", 100))
    suite.add(Row("transforms", len(TRANSFORMS), "", 40))
    for name in COPIES:
        suite.add(Row(f"near, {name}", recall.rows[name][0], "%", 95))
    for column, what in enumerate(COLUMNS):
        found = strangers.rows["distinct pictures"][column]
        if what in ("near %", "unkeyed %", "keyed %"):
            suite.add(Row(f"false {what[:-2]} among {pairs} pairs", found, "", 0, "at most"))
        elif what == "near or probable %":  # a probable match costs a scan, and is no evidence
            suite.add(Row(f"false {what[:-2]} among {pairs} pairs", found, ""))
    return suite.finish()


def print_of(image: Image.Image) -> Print:
    """Return what the picture is compared by."""
    sketch = keyed(small_of(image), SECRET)
    return Print(perceptual(image), sketch, image.width / image.height)


def _of_transform(name: str) -> list[Print]:
    note(f"  {name}")
    return [print_of(TRANSFORMS[name](photo.image)) for photo in distinct(PICTURES)]


def compared(asked: Print, known: Print) -> tuple[bool, ...]:
    """Tell for each of COLUMNS whether the first is taken for the second."""
    variants, quality = asked.hashes.variants, min(asked.hashes.quality, known.hashes.quality)
    pdq = bits_apart(variants[0], known.hashes.variants[0])
    any_way = min(bits_apart(code, known.hashes.variants[0]) for code in variants)
    phash = bits_apart(asked.hashes.phash, known.hashes.phash)
    matched = quality >= near.MIN_QUALITY
    is_near = matched and any_way <= near.NEAR_BITS
    probable = pdq <= near.PROBABLE_BITS or phash <= near.PROBABLE_PHASH_BITS
    apart = max(asked.aspect, known.aspect) / min(asked.aspect, known.aspect)
    is_twin = (
        quality >= twins.MIN_QUALITY
        and pdq <= twins.PDQ_BITS
        and phash <= twins.PHASH_BITS
        and apart <= 1 + twins.ASPECT_PERCENT / 100
    )
    return (
        is_near,
        is_near or (matched and probable),
        pdq <= twins.PDQ_BITS,
        phash <= twins.PHASH_BITS,
        is_twin,
        is_twin and is_copy(asked.sketch, known.sketch),
    )


def _recall(by_transform: Iterable[list[Print]], prints: Sequence[Print]) -> Table:
    table = Table(f"Copies found, of {len(prints)} pictures each", COLUMNS)
    for name, changed in zip(TRANSFORMS, by_transform, strict=True):
        found = [compared(*pair) for pair in zip(changed, prints, strict=True)]
        table.rows[name] = [100 * sum(column) / len(found) for column in zip(*found, strict=True)]
    return table


def _templates(photos: Sequence[Photo]) -> Table:
    """Return how many memes of one template, with different captions, are taken for each other."""
    found = []
    for photo in photos[:TEMPLATES]:
        memes = [print_of(captioned(text, 0.1, photo.image)) for text in CAPTIONS]
        found += [compared(*pair) for pair in combinations(memes, 2)]
    rows = {"pairs of one template": [100 * sum(c) / len(found) for c in zip(*found, strict=True)]}
    return Table(
        f"Memes of {TEMPLATES} templates, {len(CAPTIONS)} captions each", COLUMNS, {**rows}
    )


def _strangers(photos: Sequence[Photo], prints: Sequence[Print]) -> tuple[Table, int]:
    """Return how many pairs of distinct pictures are taken for copies, and of how many pairs."""
    pairs = list(combinations(range(len(photos)), 2))
    found = [compared(prints[first], prints[second]) for first, second in pairs]
    for (first, second), taken in zip(pairs, found, strict=True):
        if any(taken):
            note(f"  {photos[first].name} and {photos[second].name} are taken for copies")
    counts = [float(sum(column)) for column in zip(*found, strict=True)]
    title = f"Pairs of distinct pictures taken for copies, of {len(pairs)}"
    return Table(
        title, [column.removesuffix(" %") for column in COLUMNS], {"distinct pictures": counts}
    ), len(pairs)
