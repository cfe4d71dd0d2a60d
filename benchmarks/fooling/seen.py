"""What is seen in a file: whether the scanner would flag it, and whether it was changed at all."""

import asyncio

import numpy as np
from PIL import Image

from fediverdict.config import Config
from fediverdict.judgement import Judgements
from fediverdict.scanning import Scanner
from scanner.classifiers.classifier import combine
from scanner.decoding.shown import read_shown
from scanner.errors import ScannerError
from scanner.limits import Limits
from scanner.policy import load_policy

CELLS = 64
CHANGED_LEVELS = 16
"""Of 255, in the mean of any of 64x64 cells and in any colour: what an eye may see."""


class Scan:
    """The bundled model, which flags test patterns, with the views that the scanner looks at."""

    def __init__(self) -> None:
        config, policy = Config(), load_policy("test")
        self._judgements = Judgements(config, policy)
        self._classifier = asyncio.run(Scanner(config.scanner, policy, "scan").load())

    def flags(self, data: bytes) -> bool:
        """Tell whether a scan of the file breaks a rule; what cannot be decoded breaks none."""
        try:
            picture = read_shown(data, Limits())
        except ScannerError:
            return False
        windows = [self._classifier.preprocess.of_frame(frame) for frame in picture.frames]
        scores = combine([row for some in windows for row in self._classifier.score(some)])
        return self._judgements.breaks_a_rule(scores, self._classifier.pipeline_id)


def is_changed(known: bytes, data: bytes) -> bool:
    """Tell whether viewers may see something else in a file than in the known one."""
    try:
        before, after = (read_shown(one, Limits()) for one in (known, data))
    except ScannerError:
        return True
    if len(after.frames) > 1 or after.frames_total > 1:
        return True
    return levels_apart(before.frames[0], after.frames[0]) >= CHANGED_LEVELS


def levels_apart(before: Image.Image, after: Image.Image) -> float:
    """Return by how much of 255 two pictures differ in the cell where they do so most."""
    first, second = (_cells(frame) for frame in (before, after))
    return float(np.abs(first - second).max())


def _cells(frame: Image.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    return np.asarray(frame.resize((CELLS, CELLS), Image.Resampling.BOX), np.int16)
