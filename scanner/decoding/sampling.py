"""Which frames of a film are looked at, and in what order: pure, from a seed that stays secret.

The first frame is always among them, and the last one, which stays on display when a film ends.
What lies between is cut into equal strata and one frame of each is taken, by the seed: nobody
who does not know it can hide a frame between samples. Where frames last differently, half of a
stratum's length is counted in frames and half in time: one bad frame that is shown for seconds
does not vanish among thousands that flash by. The seed of a file is HMAC(instance secret,
sha256); who calls computes it, so that whoever decodes never holds the secret.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

DRAW_BYTES = 8
"""Bytes of one draw: the bias of taking it modulo a stratum's length is under 2^-40 in frames."""
TIMES_MAX = 1 << 32
"""What one frame may last, in any unit; longer ones count as that."""


def positions(seed: bytes, total: int, count: int, times: Sequence[int] = ()) -> tuple[int, ...]:
    """Return `count` of the frames 0..total-1, rising: all, or first, last and one a stratum.

    `times` says how long each frame is shown, in one unit; of another length, it says nothing. A
    frame that fills several strata is taken once, and others in its stead by number alone. The
    same arguments give the same frames.
    """
    if total <= count:
        return tuple(range(total))
    stream = hashlib.shake_256(seed).digest(DRAW_BYTES * count)
    even = [0, *_draws(stream, max(0, count - 2), 1, total - 1), total - 1][:count]
    ends = _ends(total, times) if count > 2 else []
    if not ends:
        return tuple(even)
    places = _draws(stream, count - 2, ends[0], ends[-2])
    chosen = {0, total - 1, *(bisect_right(ends, place) for place in places)}
    spare = iter(sorted(range(count), key=ranks(count).__getitem__))
    while len(chosen) < count:
        chosen.add(even[next(spare)])
    return tuple(sorted(chosen))


def _draws(stream: bytes, count: int, start: int, stop: int) -> list[int]:
    """Return a number of each of `count` equal parts of start..stop-1."""
    width = stop - start
    borders = [start + number * width // max(count, 1) for number in range(count + 1)]
    return [_within(stream, n, borders[n], borders[n + 1]) for n in range(count)]


def _ends(total: int, times: Sequence[int]) -> list[int]:
    """Return where each frame ends, by frames and time in equal parts; nothing if all are equal."""
    if len(times) != total or min(times) == max(times):
        return []
    times = [min(max(0, time), TIMES_MAX) for time in times]
    whole = sum(times) or 1
    return list(accumulate(whole + time * total for time in times))


def ranks(count: int) -> tuple[int, ...]:
    """Return for each of `count` samples its place in an order that spreads over the film.

    The order is that of reversed bits: first, middle, quarters, eighths. Whoever stops early, or
    keeps only the lowest ranks, has seen some of every part.
    """
    bits = max(1, (count - 1).bit_length())
    order = sorted(range(count), key=lambda number: _reversed(number, bits))
    places = [0] * count
    for place, number in enumerate(order):
        places[number] = place
    return tuple(places)


def _within(stream: bytes, number: int, start: int, end: int) -> int:
    draw = stream[number * DRAW_BYTES : (number + 1) * DRAW_BYTES]
    return start + int.from_bytes(draw) % (end - start)


def _reversed(number: int, bits: int) -> int:
    return int(f"{number:0{bits}b}"[::-1], 2)
