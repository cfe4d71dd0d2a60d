"""The installation test card: one fixed picture that every installation flags.

So that anyone can test the whole chain, from the upload to a person's decision, lawfully: it shows
letters and squares and nothing else. The file comes with the program, so that its bytes, and with
them its SHA-256, are the same everywhere; `draw_test_card` is how it was drawn, with numpy alone.
That it is flagged is left to `cache.testcard`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PATH = Path(__file__).parent / "testcard.png"
WIDTH, HEIGHT = 640, 480
SEED = 33
"""Of the squares around the words: of 64 tried, the farthest from every test pattern."""
CELL = 40
"""Pixels of a square."""
LINES = ((36, "FEDIVERDICT", 8), (180, "TEST CARD", 10), (330, "NOT ABUSE, FOR TESTS", 5))
"""Top pixel, words and pixels of a dot, for each line."""
INK, PAPER = (20, 24, 60), (250, 246, 230)
TONES = ((250, 246, 230), (20, 24, 60), (230, 120, 40), (40, 140, 150))
FONT = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "B": "11110 10001 10001 11110 10001 10001 11110",
    "C": "01111 10000 10000 10000 10000 10000 01111",
    "D": "11110 10001 10001 10001 10001 10001 11110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "I": "11111 00100 00100 00100 00100 00100 11111",
    "N": "10001 11001 10101 10011 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "V": "10001 10001 10001 10001 10001 01010 00100",
    ",": "00000 00000 00000 00000 00110 00100 01000",
    " ": "00000 00000 00000 00000 00000 00000 00000",
}
"""Seven rows of five dots a letter."""

Pixels = NDArray[np.uint8]


def card_bytes() -> bytes:
    """Return the file of the test card, a PNG."""
    return PATH.read_bytes()


def draw_test_card(seed: int = SEED) -> Image.Image:
    """Return the card's pixels, drawn anew: squares of four tones, and the words on paper."""
    out = _squares(seed)
    for top, words, dot in LINES:
        _write(out, top, words, dot)
    return Image.fromarray(out)


def _squares(seed: int) -> Pixels:
    """Return squares whose tones come from a linear congruential generator (no library's)."""
    tones: list[int] = []
    state = seed
    for _ in range((WIDTH // CELL) * (HEIGHT // CELL)):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        tones.append(state >> 62)
    grid = np.array(TONES, np.uint8)[np.array(tones).reshape(HEIGHT // CELL, WIDTH // CELL)]
    return np.ascontiguousarray(grid.repeat(CELL, axis=0).repeat(CELL, axis=1))


def _write(out: Pixels, top: int, words: str, dot: int) -> None:
    """Write one line of words, centred, on a band of paper."""
    dots = np.array([[int(bit) for bit in row] for row in _rows(words)])
    inked = dots.repeat(dot, axis=0).repeat(dot, axis=1).astype(bool)
    height, width = inked.shape
    left = (WIDTH - width) // 2
    out[top - 2 * dot : top + height + 2 * dot, left - 2 * dot : left + width + 2 * dot] = PAPER
    out[top : top + height, left : left + width][inked] = INK


def _rows(words: str) -> list[str]:
    letters = [FONT[letter].split() for letter in words]
    return ["0".join(letter[row] for letter in letters) for row in range(7)]
