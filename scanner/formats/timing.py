"""How long an animation shows each of its frames, as its blocks say; no pixel is decoded.

Forgiving: where it is not told for every frame, `sampling` goes by their number alone. What is
told to last no time is shown for a tenth of a second, as browsers do.
"""

from collections.abc import Callable, Iterator

from scanner.formats.boxes import boxes, inner
from scanner.formats.exif import Doubt
from scanner.formats.gif import gif_facts
from scanner.formats.png import SIGNATURE
from scanner.formats.webp import riff_chunks

SHORTEST_MS, INSTEAD_MS = 10, 100
"""Up to this a time is not believed, and what browsers take instead."""
TIMES = (b"trak", b"mdia", b"minf", b"stbl", b"stts")


def frame_times(data: bytes, image_format: str | None, stop: int) -> list[int]:
    """Return how long each frame lasts, in one unit: of a PNG, GIF, WebP or AVIF, to `stop` many.

    Empty where it is not told.
    """
    walk = WALKS.get(image_format or "")
    return [] if walk is None else walk(data, stop)


def _gif(data: bytes, _: int) -> list[int]:
    return [_believed(10 * delay) for delay in gif_facts(data).delays]


def _png(data: bytes, stop: int) -> list[int]:
    times: list[int] = []
    at = len(SIGNATURE)
    while at + 8 <= len(data) and len(times) < stop:
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if name == b"fcTL":
            over, under = (int.from_bytes(data[at + n : at + n + 2]) for n in (28, 30))
            times.append(_believed(1000 * over // (under or 100)))
        at += 12 + length
    return times


def _webp(data: bytes, stop: int) -> list[int]:
    times: list[int] = []
    try:
        for name, body in riff_chunks(data[12:]):
            if name == b"ANMF" and len(times) < stop:
                times.append(_believed(int.from_bytes(body[12:15], "little")))
    except Doubt:
        return times
    return times


def _avif(data: bytes, stop: int) -> list[int]:
    """Return the times of the first film that has any; in its own unit, which all of them share."""
    for movie in boxes(data, 0, len(data)):
        for table in inner(data, movie, *TIMES) if movie.kind == b"moov" else ():
            return list(_runs(data[table.body + 8 : table.end], stop))
    return []


def _runs(table: bytes, stop: int) -> Iterator[int]:
    left = stop
    for at in range(0, len(table) - 7, 8):
        count = min(left, int.from_bytes(table[at : at + 4]))
        yield from [int.from_bytes(table[at + 4 : at + 8])] * count
        left -= count


def _believed(time_ms: int) -> int:
    return time_ms if time_ms > SHORTEST_MS else INSTEAD_MS


WALKS: dict[str, Callable[[bytes, int], list[int]]] = {
    "GIF": _gif,
    "PNG": _png,
    "WEBP": _webp,
    "AVIF": _avif,
}
