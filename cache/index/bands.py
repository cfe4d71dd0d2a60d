"""Which keys of which bands must be looked up, so that no code within a radius is missed.

A code is cut into 16 bands of 16 bits. The general pigeonhole principle (Qin et al., GPH, ICDE
2018; for equal thresholds Norouzi et al., CVPR 2012): allow band b a distance of t_b; where the
sum of all t_b + 1 exceeds the radius, a code within the radius keeps to t_b in some band. The
thresholds are raised where it costs the fewest keys.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

BANDS = 16
BAND_BITS = 16
KEYS = 1 << BAND_BITS

MAX_PROBED_RADIUS = 47
"""Bits. Past it the keys are so many that comparing with every code costs less."""


@dataclass(frozen=True, slots=True)
class Probes:
    """Keys to look up: of each its band, and the bits by which it differs from the query's."""

    bands: NDArray[np.int64]
    masks: NDArray[np.uint16]


def thresholds(radius: int) -> list[int]:
    """Return the distance allowed in each band; -1 leaves a band out."""
    allowed = [-1] * BANDS
    for _ in range(radius + 1):
        cheapest = min(range(BANDS), key=lambda band: comb(BAND_BITS, allowed[band] + 1))
        allowed[cheapest] += 1
    return allowed


@cache
def probes(radius: int) -> Probes:
    """Return every key that a code within `radius` bits (0..47) may have in common."""
    found = [
        (band, mask) for band, allowed in enumerate(thresholds(radius)) for mask in _masks(allowed)
    ]
    bands, masks = zip(*found, strict=True)
    return Probes(np.array(bands, dtype=np.int64), np.array(masks, dtype=np.uint16))


def _masks(most: int) -> list[int]:
    return [
        sum(1 << bit for bit in bits)
        for number in range(most + 1)
        for bits in combinations(range(BAND_BITS), number)
    ]
