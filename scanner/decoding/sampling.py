"""Which frames of a film are looked at, and in what order: pure, from a seed that stays secret.

The film is cut into equal strata and one frame of each is taken, by the seed: nobody who does
not know it can hide a frame between samples, and no stretch as long as a stratum goes unseen.
The first frame is always among them. The seed of a file is HMAC(instance secret, sha256); who
calls computes it, so that whoever decodes never holds the secret.
"""

import hashlib

DRAW_BYTES = 8
"""Bytes of one draw: the bias of taking it modulo a stratum's length is under 2^-40."""


def positions(seed: bytes, total: int, count: int) -> tuple[int, ...]:
    """Return at most `count` of the frames 0..total-1, rising: all, or one a stratum, 0 first.

    The same seed, total and count give the same frames.
    """
    if total <= count:
        return tuple(range(total))
    borders = [number * total // count for number in range(count + 1)]
    stream = hashlib.shake_256(seed).digest(DRAW_BYTES * count)
    return (0, *(_within(stream, n, borders[n], borders[n + 1]) for n in range(1, count)))


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
