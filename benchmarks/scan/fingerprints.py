"""Decode, PDQ (eight variants) and pHash of one JPEG on one core, in the code that serves."""

from benchmarks.report import Report, Row, median_seconds
from benchmarks.scan.pictures import EIGHT_MEGAPIXELS, TWO_MEGAPIXELS, jpeg, photos
from scanner.decoding.decode import read
from scanner.decoding.pdq import pdq
from scanner.decoding.perceptual import phash
from scanner.decoding.thumbnail import thumbnail
from scanner.limits import Limits

ROUNDS = 25
LARGE_FILE_BYTES = 2_000_000


def main() -> int:
    """Measure, print, write benchmarks/results/scanner_fingerprints.json; 1 if a goal is missed."""
    two = [jpeg(number, TWO_MEGAPIXELS) for number in range(4)]
    eight = [jpeg(number, EIGHT_MEGAPIXELS, LARGE_FILE_BYTES) for number in range(4)]
    small = [thumbnail(photo) for photo in photos()[:4]]
    limits = Limits()
    works = {
        "decode, PDQ and pHash, 2 megapixels": lambda: [read(data, limits) for data in two],
        "decode, PDQ and pHash, 8 megapixels": lambda: [read(data, limits) for data in eight],
        "PDQ of a thumbnail, eight variants": lambda: [pdq(one) for one in small],
        "pHash of a thumbnail": lambda: [phash(one) for one in small],
    }
    goals = dict(zip(works, (14.0, 26.0, 1.5, None), strict=True))
    report = Report("scanner_fingerprints")
    for name, seconds in median_seconds(works, ROUNDS).items():
        report.add(Row(name, seconds / 4 * 1e3, "ms", goal=goals[name], goal_is="at most"))
    return report.finish()
