"""A `fediverdict` command line in a process of its own, with a scanner that needs no torch.

Each picture that is scored leaves a line in the file named first, on disk before its score is
known; so what was scanned can be counted over processes, however they end.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

from fediverdict import parts
from fediverdict.cli import main
from tests.fakes.scanner import FakeScanner

SECONDS = 0.01


class NotingScanner(FakeScanner):
    """Takes its time for each picture, and notes it."""

    def __init__(self, log, seconds):
        super().__init__()
        self._log, self._seconds = log, seconds

    def _score(self, parts):
        with Path(self._log).open("a", encoding="ascii") as file:
            for pixels in parts:
                time.sleep(self._seconds)
                file.write(hashlib.sha256(pixels.tobytes()).hexdigest() + "\n")
            file.flush()
            os.fsync(file.fileno())
        return super()._score(parts)


if __name__ == "__main__":
    log, seconds, *arguments = sys.argv[1:]
    vars(parts).update(
        is_installed=lambda *_: True, Scanner=lambda *_: NotingScanner(log, float(seconds))
    )
    sys.argv = ["fediverdict", *arguments]
    main()
